package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net"
	"net/http"
	"net/http/cookiejar"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"culvert/l4/authority"
	"culvert/l4/terminate/mattermosttest"
)

// trial is a recipe that runs: its nodes, a provider of logins, and culvert.
type trial struct {
	*runProcess
	recipe   *recipe
	dir      string // stands for every directory of the guide
	ca       *authority.CA
	provider *mattermosttest.Provider
	nodes    mattermosttest.Cluster
	consent  bool   // the provider asks with a page
	identity string // whose certificate browsers have, mmuser; "": none

	swaps []string // what the guide says, and what the test has in its place
	next  int      // the block of commands that comes next
}

// startTrial starts nodes of a version with the settings of the recipe, runs
// the commands that come first, and then culvert.
func startTrial(t *testing.T, r *recipe, version int) *trial {
	t.Helper()
	return newTrial(t, r).start(version)
}

// newTrial is a trial that has not begun.
func newTrial(t *testing.T, r *recipe) *trial {
	return &trial{recipe: r, dir: t.TempDir(), ca: must(authority.New()), runProcess: &runProcess{process: &process{t: t}}}
}

func (x *trial) start(version int) *trial {
	x.t.Helper()
	x.writeFiles()
	x.startNodes(version)
	for _, dir := range []string{"/etc/culvert/", "/var/log/culvert/", "/run/culvert/"} {
		x.swaps = append(x.swaps, dir, x.dir+"/")
	}
	for x.next < x.recipe.before {
		x.step()
	}
	x.startCulvert()
	return x
}

// swap puts the test's names, paths and addresses in the place of the guide's.
func (x *trial) swap(text string) string { return strings.NewReplacer(x.swaps...).Replace(text) }

// writeFiles writes the certificates of the two names, and the authority.
func (x *trial) writeFiles() {
	for _, name := range []string{"chat", "apps"} {
		cert := must(x.ca.Certificate(name + ".example.com"))
		key := must(x509.MarshalPKCS8PrivateKey(cert.PrivateKey))
		x.writeFile(name+".pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Certificate[0]}))
		x.writeFile(name+".key", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}))
	}
	x.writeFile("ca.pem", x.ca.PEM())
	const live = "/etc/letsencrypt/live/chat.example.com/"
	x.swaps = append(x.swaps, live+"fullchain.pem", x.dir+"/chat.pem", live+"privkey.pem", x.dir+"/chat.key")
}

func (x *trial) writeFile(name string, text []byte) {
	x.t.Helper()
	if err := os.WriteFile(filepath.Join(x.dir, name), text, 0o600); err != nil {
		x.t.Fatal(err)
	}
}

// config is that of a mattermosttest.Handler with these settings.
func (s *nodeSettings) config(version int) mattermosttest.Config {
	cfg := mattermosttest.Config{
		SiteURL: s.ServiceSettings.SiteURL, Version: version, FutureFeatures: true,
		AllowCorsFrom: s.ServiceSettings.AllowCorsFrom, TrustedProxyIPHeader: s.ServiceSettings.TrustedProxyIPHeader,
	}
	if s.ExperimentalSettings.ClientSideCertEnable {
		cfg.CertificateLogin = s.ExperimentalSettings.ClientSideCertCheck
	}
	return cfg
}

// startNodes starts the provider and two nodes that are set as the recipe
// says. Office 365 is played by the same provider, as GitLab.
func (x *trial) startNodes(version int) {
	x.t.Helper()
	var s nodeSettings
	if err := json.Unmarshal([]byte(x.recipe.settings), &s); err != nil {
		x.t.Fatalf("settings: %v", err)
	}
	if node := `"10.0.0.11` + s.ServiceSettings.ListenAddress + `"`; !strings.Contains(x.recipe.yaml, node) {
		x.t.Errorf("the nodes listen on %s, which the pool has not", node)
	}
	x.provider = mattermosttest.NewProvider(mattermosttest.ProviderConfig{
		ClientID:     cmp.Or(s.GitLabSettings.ID, s.Office365Settings.ID, "id"),
		ClientSecret: cmp.Or(s.GitLabSettings.Secret, s.Office365Settings.Secret, "secret"),
		RedirectURIs: []string{"https://chat.example.com/signup/gitlab/complete"}, Consent: x.consent,
	})
	provider := must(mattermosttest.NewServer(x.provider, mattermosttest.ServerConfig{Certificate: must(x.ca.Certificate("127.0.0.1"))}))
	x.t.Cleanup(provider.Close)
	x.swaps = append(x.swaps, "https://id.example.com", provider.URL(), "office365", "gitlab")
	cfg := s.config(version)
	cfg.GitLab = x.provider.Settings(provider.URL())
	if g := s.GitLabSettings; g.Enable {
		cfg.GitLab.Scope, cfg.GitLab.AuthEndpoint = g.Scope, x.swap(g.AuthEndpoint)
		cfg.GitLab.TokenEndpoint, cfg.GitLab.UserAPIEndpoint = x.swap(g.TokenEndpoint), x.swap(g.UserAPIEndpoint)
	}
	cfg.Client = &http.Client{Timeout: patience, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: x.ca.Pool()}}}
	cfg.Database = &mattermosttest.Database{}
	cfg.Database.AddUser(mattermosttest.User{Username: "mmuser", Email: "mmuser@example.com"})
	var server mattermosttest.ServerConfig
	if s.ServiceSettings.ConnectionSecurity == "TLS" {
		server.Certificate = must(x.ca.Certificate(siteName))
	}
	x.nodes = must(mattermosttest.NewCluster(2, cfg, server))
	x.t.Cleanup(x.nodes.Close)
	for i, node := range x.nodes {
		for _, port := range []string{"443", "8065"} {
			x.swaps = append(x.swaps, fmt.Sprintf("10.0.0.1%d:%s", i+1, port), node.Addr())
		}
	}
}

// startCulvert runs the recipe's configuration on ports of its own, and has
// curl and openssl find them under the guide's names.
func (x *trial) startCulvert() {
	x.t.Helper()
	for _, address := range []string{`":80"`, `":443"`, `"203.0.113.10:80"`, `"203.0.113.10:443"`, `"10.0.0.1:443"`, `"127.0.0.1:9180"`} {
		x.swaps = append(x.swaps, address, `"127.0.0.1:0"`)
	}
	x.file, x.socket, x.log = x.dir+"/culvert.yaml", x.dir+"/admin.sock", x.dir+"/access.log"
	x.writeFile("culvert.yaml", []byte(x.swap(x.recipe.yaml)))
	x.process = start(x.t, stderr, []string{"SSL_CERT_FILE=" + x.dir + "/ca.pem"}, "run", x.file)
	x.expect(`msg=ready`)
	curl := fmt.Sprintf("cacert = %q\n", x.dir+"/ca.pem")
	x.swaps = append([]string{"http://127.0.0.1:9180", x.expect(`admin on (http://\S+)"`)[1]}, x.swaps...)
	for name, at := range x.names() {
		curl += fmt.Sprintf("connect-to = %q\n", name+":"+at)
		x.swaps = append([]string{"-connect " + name, "-connect " + at}, x.swaps...)
	}
	x.writeFile(".curlrc", []byte(curl))
}

// names are where the names of the guide lead to, each with its port.
func (x *trial) names() map[string]string {
	x.t.Helper()
	all := map[string]string{}
	for _, l := range []struct{ name, serves string }{
		{"clear", "chat.example.com:80"}, {"public", "chat.example.com:443"},
		{"inside", "chat.example.com:443"}, {"outside", "apps.example.com:443"},
	} {
		if m := regexp.MustCompile(`listening on (\S+)" listener=` + l.name + `\n`).FindStringSubmatch(x.text()); m != nil {
			all[l.serves] = m[1]
		}
	}
	return all
}

// browserIP is where browsers are, which is not where culvert is.
const browserIP = "127.0.0.2"

// browser finds the guide's names at culvert. It has a certificate if identity
// says whose.
func (x *trial) browser() *http.Client {
	names := x.names()
	client := &tls.Config{RootCAs: x.ca.Pool()}
	if x.identity != "" {
		client.Certificates = []tls.Certificate{must(tls.LoadX509KeyPair(x.dir+"/"+x.identity+".pem", x.dir+"/"+x.identity+".key"))}
	}
	transport := &http.Transport{
		TLSClientConfig: client, ForceAttemptHTTP2: true,
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(browserIP)}}
			return d.DialContext(ctx, network, cmp.Or(names[addr], addr))
		},
	}
	x.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Jar: must(cookiejar.New(nil)), Timeout: patience, Transport: transport}
}

// bearer adds a pre-auth secret to what goes to the apps' name.
type bearer struct {
	http.RoundTripper
	secret string
}

func (b bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	if strings.HasPrefix(r.URL.Host, "apps.") {
		r = r.Clone(r.Context())
		r.Header.Set(preauthKey, b.secret)
	}
	return b.RoundTripper.RoundTrip(r)
}

// secret reads one that a command of the guide has made.
func (x *trial) secret(label string) string {
	x.t.Helper()
	text := string(must(os.ReadFile(x.dir + "/preauth")))
	m := regexp.MustCompile(`(?m)^` + label + `: (\S+)$`).FindStringSubmatch(text)
	if m == nil {
		x.t.Fatalf("no secret %s", label)
	}
	return m[1]
}

// leaf is the certificate of identity, in PEM.
func (x *trial) leaf() string {
	block, _ := pem.Decode(must(os.ReadFile(x.dir + "/" + x.identity + ".pem")))
	return string(pem.EncodeToMemory(block))
}

// dialSocket opens a WebSocket as the desktop app does that shows the site at
// name, and closes it.
func (x *trial) dialSocket(name, secret string) error {
	c := x.browser()
	transport := c.Transport.(*http.Transport)
	transport.ForceAttemptHTTP2 = false
	transport.TLSClientConfig.NextProtos = []string{"http/1.1"}
	header := http.Header{"Origin": {"https://" + name}}
	if secret != "" {
		header.Set(preauthKey, secret)
	}
	ctx, cancel := context.WithTimeout(x.t.Context(), patience)
	defer cancel()
	conn, _, err := websocket.Dial(ctx, "wss://"+name+"/api/v4/websocket", &websocket.DialOptions{HTTPClient: &http.Client{Transport: transport}, HTTPHeader: header})
	if err == nil {
		_ = conn.CloseNow()
	}
	return err
}
