package doctor

import (
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"culvert/cmd/internal/config"
	"culvert/cmd/internal/yaml"
	"culvert/l4/terminate/mattermosttest"
)

const siteName = "chat.example.com"

// authority issues certificates with the properties that a test needs.
type authority struct {
	t    *testing.T
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
	file string
}

func newAuthority(t *testing.T) *authority {
	a := &authority{t: t, key: must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))}
	a.cert = template("test CA", 365)
	a.cert.IsCA, a.cert.BasicConstraintsValid, a.cert.KeyUsage = true, true, x509.KeyUsageCertSign
	der := must(x509.CreateCertificate(rand.Reader, a.cert, a.cert, &a.key.PublicKey, a.key))
	a.cert = must(x509.ParseCertificate(der))
	a.file = a.write("ca.pem", "CERTIFICATE", der)
	return a
}

func template(name string, days int) *x509.Certificate {
	end := time.Now().Add(time.Duration(days) * 24 * time.Hour).Add(time.Hour)
	return &x509.Certificate{
		SerialNumber: must(rand.Int(rand.Reader, big.NewInt(1<<62))), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().AddDate(-1, 0, 0), NotAfter: end,
	}
}

func (a *authority) write(name, kind string, der []byte) string {
	path := filepath.Join(a.t.TempDir(), name)
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		a.t.Fatal(err)
	}
	return path
}

// issue makes a certificate that expires in days; a negative number makes an
// expired one.
func (a *authority) issue(days int, names ...string) *tls.Certificate {
	c := template("server", days)
	c.DNSNames = names
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	der := must(x509.CreateCertificate(rand.Reader, c, a.cert, &key.PublicKey, a.key))
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// pair writes a certificate and its key, and returns their keys of a route's
// configuration.
func (a *authority) pair(names ...string) string {
	c := a.issue(90, names...)
	key := must(x509.MarshalPKCS8PrivateKey(c.PrivateKey))
	return fmt.Sprintf("certificates: [{certificate: %s, key: %s}]", a.write("a.pem", "CERTIFICATE", c.Certificate[0]), a.write("a.key", "PRIVATE KEY", key))
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// node is a server of a test.
type node struct {
	mattermosttest.Config
	cert *tls.Certificate // nil: plain HTTP
	wrap func(http.Handler) http.Handler
	ill  bool
	dead bool
}

// start starts n and returns its address.
func (n node) start(t *testing.T) string {
	t.Helper()
	m := must(mattermosttest.NewHandler(n.Config))
	if n.ill {
		m.SetHealth(mattermosttest.Unhealthy)
	}
	var h http.Handler = m
	if n.wrap != nil {
		h = n.wrap(h)
	}
	s := must(mattermosttest.NewServer(h, mattermosttest.ServerConfig{Certificate: n.cert}))
	t.Cleanup(m.Close)
	t.Cleanup(s.Close)
	if n.dead {
		s.Close()
	}
	return s.Addr()
}

// rig is the file of a deployment, and its nodes.
type rig struct {
	ca    *authority
	nodes []node
	route string // beside server_name and pool
	pool  string // beside servers
	more  string // listeners' routes, "; " and pools
}

// newRig returns a deployment of two nodes without findings.
func newRig(t *testing.T) *rig {
	r := &rig{ca: newAuthority(t)}
	cert := r.ca.issue(90, siteName)
	cfg := mattermosttest.Config{SiteURL: "https://" + siteName, GitLab: mattermosttest.GitLabSettings{Enable: true, ID: "culvert", AuthEndpoint: "https://idp.example.com/authorize"}}
	r.nodes = []node{{Config: cfg, cert: cert}, {Config: cfg, cert: cert}}
	r.pool = fmt.Sprintf(", health: {check: mattermost, server_name: %s, verify: %s}", siteName, r.ca.file)
	return r
}

// terminate makes culvert terminate TLS, before nodes that accept plain HTTP.
func (r *rig) terminate(more string) {
	r.route = ", terminate: {" + r.ca.pair(siteName) + more + "}"
	r.pool = ", health: {check: mattermost, tls: off}"
	for i := range r.nodes {
		r.nodes[i].cert = nil
	}
}

func (r *rig) each(change func(*node)) {
	for i := range r.nodes {
		change(&r.nodes[i])
	}
}

// file returns the configuration file.
func (r *rig) file(t *testing.T) string {
	var servers []string
	for i, n := range r.nodes {
		servers = append(servers, fmt.Sprintf("{address: '%s', name: chat-%d}", n.start(t), i+1))
	}
	routes, pools, _ := strings.Cut(cmp.Or(r.more, "; "), "; ")
	return fmt.Sprintf("listeners:\n- address: '127.0.0.1:0'\n  name: site\n  routes:\n  - {server_name: %s, pool: chat%s}\n%s\npools:\n  chat: {servers: [%s]%s}\n%s\n",
		siteName, r.route, routes, strings.Join(servers, ", "), r.pool, pools)
}

// examine examines the deployment.
func (r *rig) examine(t *testing.T, d Doctor) *Report {
	t.Helper()
	text := r.file(t)
	f, err := parse([]byte(text))
	if err != nil {
		t.Fatalf("%v\nin\n%s", err, text)
	}
	report, err := d.Examine(t.Context(), must(f.Build(context.Background(), nil)))
	if err != nil {
		t.Fatal(err)
	}
	return report
}

// text returns the report as Print writes it.
func (r *Report) text() string {
	var b strings.Builder
	_ = r.Print(&b)
	return b.String()
}

// parse reads a configuration.
func parse(text []byte) (*config.Config, error) {
	c, _, err := yaml.Parse("f", text)
	return c, err
}

func parsed(t *testing.T, text []byte) *config.Config {
	t.Helper()
	c, err := parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return c
}
