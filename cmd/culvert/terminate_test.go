package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"

	"culvert/l4/authority"
	"culvert/l4/terminate/mattermosttest"
)

const (
	siteName   = "chat.example.com"
	preauthKey = "X-Mattermost-Preauth-Secret"
	secretOne  = "0123456789abcdef0123456789abcdef"
	secretTwo  = "fedcba9876543210fedcba9876543210"
)

// site is a cluster of two nodes with an OAuth provider, and a culvert before
// it that either passes TLS through or ends it.
type site struct {
	*runProcess
	ca       *authority.CA
	nodes    mattermosttest.Cluster
	provider *mattermosttest.Provider
	dir      string
}

// startSite runs culvert before the nodes; terminate is what its route says
// beside the certificates, and "" for passing through. Clients of the provider
// reach it under a name of its own, past culvert.
func startSite(t *testing.T, terminate string) *site {
	t.Helper()
	s := &site{ca: must(authority.New()), dir: t.TempDir()}
	s.provider = mattermosttest.NewProvider(mattermosttest.ProviderConfig{ClientID: "culvert", ClientSecret: "secret"})
	provider := must(mattermosttest.NewServer(s.provider, mattermosttest.ServerConfig{Certificate: must(s.ca.Certificate("127.0.0.1"))}))
	t.Cleanup(provider.Close)
	cfg := mattermosttest.Config{
		SiteURL: "https://" + siteName, GitLab: s.provider.Settings(provider.URL()), Version: 11,
		Client: &http.Client{Timeout: patience, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: s.ca.Pool()}}},
	}
	var srv mattermosttest.ServerConfig
	if terminate == "" {
		srv.Certificate = must(s.ca.Certificate(siteName))
	}
	s.nodes = must(mattermosttest.NewCluster(2, cfg, srv))
	t.Cleanup(s.nodes.Close)
	s.writeCertificate("site")
	s.writeSecrets("first: " + secretOne)
	if terminate != "" {
		terminate = fmt.Sprintf("\n        terminate: {certificates: [{certificate: %[1]s/site.pem, key: %[1]s/site.key}], %[2]s}", s.dir, strings.ReplaceAll(terminate, "DIR", s.dir))
	}
	s.runProcess = startUpgradable(t, "")
	s.write(terminate, "")
	s.ask("reload")
	s.address = s.listening("site")
	return s
}

// write writes the configuration, with what is added to its top level.
func (s *site) write(terminate, top string) {
	s.t.Helper()
	text := fmt.Sprintf(`listeners:
  - address: "127.0.0.1:0"
    name: site
    routes:
      - server_name: %s
        pool: nodes%s
pools:
  nodes: {servers: [%q, %q], balance: round-robin}
log: {access: %q}
admin: {address: "127.0.0.1:0", socket: %q}
%s
`, siteName, terminate, s.nodes[0].Addr(), s.nodes[1].Addr(), s.log, s.socket, top)
	if err := os.WriteFile(s.file, []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// writeCertificate issues a new certificate for the site, by renaming.
func (s *site) writeCertificate(name string) *x509.Certificate {
	cert := must(s.ca.Certificate(siteName))
	key := must(x509.MarshalPKCS8PrivateKey(cert.PrivateKey))
	s.replace(name+".pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Certificate[0]}))
	s.replace(name+".key", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}))
	return must(x509.ParseCertificate(cert.Certificate[0]))
}

func (s *site) writeSecrets(lines ...string) {
	s.replace("secrets", []byte(strings.Join(lines, "\n")+"\n"))
}

func (s *site) replace(name string, text []byte) {
	path := filepath.Join(s.dir, name)
	if err := os.WriteFile(path+".new", text, 0o600); err != nil {
		panic(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		panic(err)
	}
}

// client is a browser or an app: it finds the site at culvert.
func (s *site) client() *http.Client {
	jar := must(cookiejar.New(nil))
	return &http.Client{Jar: jar, Timeout: patience, Transport: s.transport()}
}

func (s *site) transport() *http.Transport {
	return &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: s.ca.Pool()}, ForceAttemptHTTP2: true,
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			if strings.HasPrefix(addr, siteName+":") {
				addr = s.address
			}
			return new(net.Dialer).DialContext(ctx, network, addr)
		},
	}
}

// get asks the site for a path, with a secret unless it is empty.
func (s *site) get(c *http.Client, path, secret string) *http.Response {
	s.t.Helper()
	req := must(http.NewRequest(http.MethodGet, "https://"+siteName+path, nil))
	if secret != "" {
		req.Header.Set(preauthKey, secret)
	}
	res, err := c.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, res.Body)
	res.Body.Close()
	return res
}

// TestSSOKeepsItsRedirectURI: whether TLS passes through or ends in culvert,
// the redirect_uri of the authorisation and that of the token exchange are
// both the SiteURL's, the cookies are Secure, and the callback may come to the
// other node. Browsers have no pre-auth secret, and need none for this.
func TestSSOKeepsItsRedirectURI(t *testing.T) {
	for name, terminate := range map[string]string{
		"passthrough": "", "terminated": "hsts: 1d", "behind a secret": "preauth: {secrets_file: DIR/secrets, exempt: [gitlab]}",
	} {
		t.Run(name, func(t *testing.T) {
			s := startSite(t, terminate)
			c := s.client()
			var nodes []string
			c.Transport = spy{c.Transport, func(res *http.Response) { nodes = append(nodes, res.Header.Get(mattermosttest.NodeHeader)) }}
			c.Transport.(spy).RoundTripper.(*http.Transport).DisableKeepAlives = true // each request may come to another node
			s.get(c, "/oauth/gitlab/login", "")
			grants := s.provider.Grants()
			want := "https://" + siteName + "/signup/gitlab/complete"
			if len(grants) != 1 || grants[0].AuthorizeURI != want || grants[0].TokenURI != want || grants[0].Refused != "" {
				t.Fatalf("grants %+v, want %s both times", grants, want)
			}
			if len(nodes) < 3 || nodes[0] == nodes[2] {
				t.Errorf("asked the nodes %q: the callback should have come to the other one", nodes)
			}
			names := ""
			for _, cookie := range c.Jar.Cookies(&url.URL{Scheme: "https", Host: siteName, Path: "/"}) {
				names += cookie.Name + " "
			}
			if plain := c.Jar.Cookies(&url.URL{Scheme: "http", Host: siteName, Path: "/"}); !strings.Contains(names, "MMAUTHTOKEN") || len(plain) > 0 {
				t.Errorf("cookies %q, of which %v are not Secure", names, plain)
			}
		})
	}
}

// spy shows each response.
type spy struct {
	http.RoundTripper
	seen func(*http.Response)
}

func (s spy) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := s.RoundTripper.RoundTrip(r)
	if err == nil {
		s.seen(res)
	}
	return res, err
}

// asked is how many requests got to the nodes.
func (s *site) asked() (n int) {
	for _, node := range s.nodes {
		n += len(node.Requests())
	}
	return n
}

func TestPreauthAndItsRotation(t *testing.T) {
	s := startSite(t, "preauth: {secrets_file: DIR/secrets, exempt: [always, sso-redirect]}")
	c := s.client()
	refused := func(secret string) {
		t.Helper()
		before := s.asked()
		res := s.get(c, "/api/v4/system/ping", secret)
		if res.StatusCode != http.StatusForbidden || res.Header.Get("X-Reject-Reason") != "pre-auth" || res.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("secret %q: status %d, %v", secret, res.StatusCode, res.Header)
		}
		if n := s.asked() - before; n != 0 {
			t.Errorf("secret %q: %d requests got to a node", secret, n)
		}
	}
	allowed := func(secret string) {
		t.Helper()
		if res := s.get(c, "/api/v4/system/ping", secret); res.StatusCode != http.StatusOK {
			t.Errorf("secret %q: status %d", secret, res.StatusCode)
		}
	}
	refused("")
	refused(secretTwo)
	allowed(secretOne)
	s.writeSecrets("old: "+secretOne, "new: "+secretTwo)
	s.expect(`msg="changed files are used" what="pre-auth secrets"`)
	allowed(secretOne)
	allowed(secretTwo)
	s.writeSecrets("new: " + secretTwo)
	s.expect(`(?s)(msg="changed files are used" what="pre-auth secrets".*){2}`)
	refused(secretOne)
	allowed(secretTwo)
	s.writeSecrets("short")
	s.expect(`msg="changed files are not used" what="pre-auth secrets".*secrets:1`)
	allowed(secretTwo)
	for _, node := range s.nodes {
		for _, r := range node.Requests() {
			if r.Header.Get(preauthKey) != "" || r.Header.Get("X-Forwarded-Proto") != "https" || r.Host != siteName || r.Header.Get("X-Forwarded-For") != "127.0.0.1" {
				t.Fatalf("a node got %+v", r)
			}
		}
	}
	if text := s.text() + string(must(os.ReadFile(s.log))); strings.Contains(text, secretOne) || strings.Contains(text, secretTwo) {
		t.Error("a secret is in a log")
	}
}

func TestCertificateRotation(t *testing.T) {
	s := startSite(t, "hsts: 1d")
	serial := func() string {
		t.Helper()
		conn, err := tls.Dial("tcp", s.address, &tls.Config{RootCAs: s.ca.Pool(), ServerName: siteName})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		return conn.ConnectionState().PeerCertificates[0].SerialNumber.String()
	}
	first := serial()
	next := s.writeCertificate("site").SerialNumber.String()
	eventually(t, "the new certificate is used", func() bool { return serial() == next })
	if first == next {
		t.Error("it is the same")
	}
	s.replace("site.key", []byte("nonsense"))
	s.expect(`msg="changed files are not used" what=certificates`)
	if got := serial(); got != next {
		t.Errorf("with half of a pair: certificate %s, want %s", got, next)
	}
}

// openSocket opens a WebSocket of the site.
func (s *site) openSocket() *websocket.Conn {
	s.t.Helper()
	t := s.transport()
	t.ForceAttemptHTTP2 = false
	t.TLSClientConfig.NextProtos = []string{"http/1.1"}
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	c, _, err := websocket.Dial(ctx, "wss://"+siteName+"/api/v4/websocket", &websocket.DialOptions{
		HTTPClient: &http.Client{Transport: t}, HTTPHeader: http.Header{"Origin": {"https://" + siteName}},
	})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = c.CloseNow() })
	return c
}

// speaks makes sure that a WebSocket works.
func (s *site) speaks(c *websocket.Conn) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	if err := c.Write(ctx, websocket.MessageText, []byte(`{"action":"ping","seq":7}`)); err != nil {
		s.t.Fatal(err)
	}
	for {
		_, b, err := c.Read(ctx)
		if err != nil {
			s.t.Fatal(err)
		}
		if strings.Contains(string(b), `"seq_reply":7`) {
			return
		}
	}
}

// TestWebSocketsOutliveReloads: also when their route is another afterwards. A
// long run takes an hour.
func TestWebSocketsOutliveReloads(t *testing.T) {
	s := startSite(t, "hsts: 1d")
	sockets := make([]*websocket.Conn, long(20, 5000))
	for i := range sockets {
		sockets[i] = s.openSocket()
	}
	start, reloads := time.Now(), long(5, 100)
	for i := range reloads {
		time.Sleep(time.Until(start.Add(time.Duration(i) * time.Duration(long(0, int(time.Hour))) / time.Duration(reloads))))
		s.rewrite(fmt.Sprintf("hsts: %dd", i+1), fmt.Sprintf("hsts: %dd", i+2))
		s.ask("reload")
		for _, socket := range sockets {
			s.speaks(socket)
		}
		if got, want := s.get(s.client(), "/", "").Header.Get("Strict-Transport-Security"), fmt.Sprintf("max-age=%d", (i+2)*86400); got != want {
			t.Errorf("after reload %d: %s, want %s", i, got, want)
		}
	}
}

// TestTerminatedStayAtAnUpgrade: the new process serves new clients, the old
// one goes on with a WebSocket until it ends.
func TestTerminatedStayAtAnUpgrade(t *testing.T) {
	s := startSite(t, "hsts: 1d")
	socket := s.openSocket()
	s.speaks(socket)
	old := s.current()
	if err := syscall.Kill(old, syscall.SIGUSR2); err != nil {
		t.Fatal(err)
	}
	s.expect(`msg="connections whose TLS ends in this process stay with it" connections=1`)
	s.expect(`msg="took over"`)
	s.speaks(socket)
	if res := s.get(s.client(), "/api/v4/system/ping", ""); res.StatusCode != http.StatusOK {
		t.Errorf("a new client: status %d", res.StatusCode)
	}
	s.speaks(socket)
	_ = socket.CloseNow()
	awaitExit(t, old)
}

// TestServersAreLeft: a node that is gone is nobody's trouble.
func TestServersAreLeft(t *testing.T) {
	s := startSite(t, "hsts: 1d")
	s.nodes[0].Close()
	c := s.client()
	for range 6 {
		if res := s.get(c, "/api/v4/system/ping", ""); res.StatusCode != http.StatusOK {
			t.Errorf("status %d", res.StatusCode)
		}
	}
	s.nodes[1].Close()
	if res := s.get(c, "/api/v4/system/ping", ""); res.StatusCode/100 != 5 {
		t.Errorf("with no node left: status %d", res.StatusCode)
	}
}

// TestRedirect: who comes in clear text is sent to https.
func TestRedirect(t *testing.T) {
	s := startSite(t, "hsts: 1d")
	s.rewrite("listeners:\n", "listeners:\n  - {address: \"127.0.0.1:0\", name: clear, redirect: https}\n")
	s.ask("reload")
	c := &http.Client{Timeout: patience, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	req := must(http.NewRequest(http.MethodGet, "http://"+s.listening("clear")+"/team/channel?x=1", nil))
	req.Host = siteName + ":80"
	res, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if got, want := res.Header.Get("Location"), "https://"+siteName+"/team/channel?x=1"; res.StatusCode != http.StatusMovedPermanently || got != want {
		t.Errorf("status %d to %s, want %s", res.StatusCode, got, want)
	}
}

// TestRequestsAreLogged: a line a request, and one for the connection.
func TestRequestsAreLogged(t *testing.T) {
	s := startSite(t, "preauth: {secrets_file: DIR/secrets}")
	c := s.client()
	s.get(c, "/api/v4/system/ping?token=hidden", secretOne)
	s.get(c, "/refused", "")
	c.CloseIdleConnections()
	eventually(t, "three lines are there", func() bool { return len(s.records()) == 3 })
	all := s.records()
	if r := all[0]; r["msg"] != "request" || r["status"] != 200.0 || r["path"] != "/api/v4/system/ping" || r["refused"] != "" || r["protocol"] != "HTTP/2.0" {
		t.Errorf("logged %v", r)
	}
	if r := all[1]; r["status"] != 403.0 || r["refused"] != "preauth" || r["server"] != "" {
		t.Errorf("logged %v", r)
	}
	if r := all[2]; r["msg"] != "connection" || r["route"] != siteName || r["server"] == "" {
		t.Errorf("logged %v", r)
	}
}

// TestExplainTerminated: explain says where TLS ends, and of a redirect that
// it is one.
func TestExplainTerminated(t *testing.T) {
	s := startSite(t, "hsts: 1d")
	s.rewrite("listeners:\n", "listeners:\n  - {address: \"127.0.0.1:0\", name: clear, redirect: https}\n")
	for args, want := range map[string]string{
		"--listener site --sni " + siteName: "TLS ends in culvert",
		"--listener clear":                  "sent to the same address with https",
	} {
		out, status := culvert(t, append([]string{"explain", s.file, "--client", "192.0.2.7"}, strings.Fields(args)...)...)
		if status != 0 || !strings.Contains(out, want) {
			t.Errorf("%s: status %d\n%s", args, status, out)
		}
	}
	if out, status := culvert(t, "check", s.file); status != 0 {
		t.Errorf("check: status %d\n%s", status, out)
	}
}
