package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/miekg/dns"

	"culvert/l4/authority"
	"culvert/l4/terminate/mattermosttest"
)

// strictName is a route that refuses clients without a certificate in the
// handshake. The authority that asks for proof has none.
const strictName = "strict.example.com"

// acmeSite is a culvert whose certificates come from Pebble, the authority
// that Let's Encrypt has for tests. One of its routes passes TLS through.
type acmeSite struct {
	*runProcess
	ca     *authority.CA // of Pebble's own server, and of the node's
	pebble *process
	roots  *x509.CertPool // of what Pebble issues
	dir    string
	user   tls.Certificate // a client's
}

// startACME starts Pebble, which finds culvert by DNS, on the one port that
// all routes are on, and culvert.
func startACME(t *testing.T) *acmeSite {
	t.Helper()
	s := &acmeSite{ca: must(authority.New()), dir: t.TempDir(), runProcess: &runProcess{address: freeAddress(t)}}
	api, management := freeAddress(t), freeAddress(t)
	s.startPebble(t, api, management)
	node := must(mattermosttest.NewNode(mattermosttest.Config{SiteURL: "https://" + siteName}, mattermosttest.ServerConfig{Certificate: must(s.ca.Certificate("node.example.com"))}))
	t.Cleanup(node.Close)
	clients := must(authority.New())
	s.user = *must(clients.CertificateOf("mmuser"))
	s.save(t, "clients.pem", clients.PEM())
	s.save(t, "culvert.yaml", fmt.Appendf(nil, `listeners:
  - address: %[1]q
    name: public
    routes:
      - {server_name: node.example.com, pool: sealed}
      - server_name: %[2]s
        pool: plain
        terminate: {acme: &acme}
      - server_name: %[3]s
        pool: plain
        terminate: {acme: &acme, client_certificates: {ca: %[4]s/clients.pem, refuse: handshake}}
pools:
  sealed: {servers: [%[5]q]}
  plain: {servers: ["127.0.0.1:1"]}
log: {access: off}
`, s.address, siteName, strictName, s.dir, node.Addr()))
	text := string(must(os.ReadFile(s.dir + "/culvert.yaml")))
	acme := fmt.Sprintf(`{cache: %[1]s/cache, directory: "https://%[2]s/dir", roots: %[1]s/ca.pem, email: admin@example.com}`, s.dir, api)
	s.save(t, "culvert.yaml", []byte(strings.ReplaceAll(text, "&acme", acme)))
	s.serve(t)
	return s
}

// serve starts culvert, or starts it again.
func (s *acmeSite) serve(t *testing.T) {
	t.Helper()
	s.process = start(t, stderr, nil, "run", s.dir+"/culvert.yaml")
	s.expect("msg=ready")
}

func (s *acmeSite) save(t *testing.T, name string, text []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, name), text, 0o600); err != nil {
		t.Fatal(err)
	}
}

func (s *acmeSite) startPebble(t *testing.T, api, management string) {
	t.Helper()
	own := must(s.ca.Certificate("127.0.0.1"))
	s.save(t, "ca.pem", s.ca.PEM())
	s.save(t, "pebble.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: own.Certificate[0]}))
	s.save(t, "pebble.key", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: must(x509.MarshalPKCS8PrivateKey(own.PrivateKey))}))
	_, port, _ := net.SplitHostPort(s.address)
	s.save(t, "pebble.json", must(json.Marshal(map[string]any{"pebble": map[string]any{
		"listenAddress": api, "managementListenAddress": management,
		"certificate": s.dir + "/pebble.pem", "privateKey": s.dir + "/pebble.key",
		"tlsPort": json.Number(port), "httpPort": 1, // nobody is there: only TLS-ALPN-01 can succeed
	}})))
	cmd := exec.Command("pebble", "-config", s.dir+"/pebble.json", "-dnsserver", resolver(t))
	cmd.Env = append(os.Environ(), "PEBBLE_VA_NOSLEEP=1") // else it waits up to 15 s before it asks for proof
	s.pebble = startCommand(t, cmd, stdout)
	accepts(t, api)
	accepts(t, management)
	client := &http.Client{Timeout: patience, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: s.ca.Pool()}}}
	t.Cleanup(client.CloseIdleConnections)
	res, err := client.Get("https://" + management + "/roots/0")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	s.roots = x509.NewCertPool()
	if !s.roots.AppendCertsFromPEM(must(io.ReadAll(res.Body))) {
		t.Fatal("Pebble has no root")
	}
}

// resolver is a DNS server for which every name is 127.0.0.1.
func resolver(t *testing.T) string {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &dns.Server{PacketConn: conn, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		if name := q.Question[0].Name; q.Question[0].Qtype == dns.TypeA {
			m.Answer = append(m.Answer, must(dns.NewRR(name+" 60 IN A 127.0.0.1")))
		}
		_ = w.WriteMsg(m)
	})}
	go func() { _ = s.ActivateAndServe() }()
	t.Cleanup(func() { conn.Close() })
	return conn.LocalAddr().String()
}

// serial is that of the certificate a client gets, which must be one that
// Pebble has issued for the name.
func (s *acmeSite) serial(name string, client ...tls.Certificate) (string, error) {
	d := &tls.Dialer{NetDialer: &net.Dialer{Timeout: patience}, Config: &tls.Config{RootCAs: s.roots, ServerName: name, Certificates: client, NextProtos: []string{"h2"}}}
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	conn, err := d.DialContext(ctx, "tcp", s.address)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if _, err := conn.Write(nil); err != nil {
		return "", err
	}
	return conn.(*tls.Conn).ConnectionState().PeerCertificates[0].SerialNumber.String(), nil
}

var issued = regexp.MustCompile(`Issued certificate serial \w+ for order`)

// issued counts the certificates that Pebble has issued.
func (s *acmeSite) issued() int { return len(issued.FindAllString(s.pebble.text(), -1)) }

// TestACMEWithPebble: certificates are got by proof over the port that all
// routes are on, kept, and used again by the next process; a route that
// refuses who has no certificate gets one all the same.
func TestACMEWithPebble(t *testing.T) {
	need(t, "pebble")
	s := startACME(t)
	first, err := s.serial(siteName)
	if err != nil {
		t.Fatal(err)
	}
	strict, err := s.serial(strictName, s.user)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.serial("node.example.com"); err == nil || !strings.Contains(err.Error(), "unknown authority") {
		t.Errorf("the node that TLS passes through to: %v, want its own certificate", err)
	}
	if n := s.issued(); n != 2 {
		t.Errorf("%d certificates were issued, want 2", n)
	}
	s.refusesStrangers()

	s.signal(syscall.SIGTERM)
	if got := s.status(); got != 0 {
		t.Errorf("exit status %d", got)
	}
	s.serve(t)
	for name, want := range map[string]string{siteName: first, strictName: strict} {
		if got, err := s.serial(name, s.user); got != want {
			t.Errorf("%s after a restart: certificate %s, %v, want %s", name, got, err, want)
		}
	}
	if n := s.issued(); n != 2 {
		t.Errorf("%d certificates were issued after a restart, want 2", n)
	}
	s.isPrivate()
}

// refusesStrangers: what the authority may do, others may not.
func (s *acmeSite) refusesStrangers() {
	s.t.Helper()
	for name, protocols := range map[string][]string{"a browser": {"h2"}, "one that pretends": {"acme-tls/1"}, "one that offers both": {"acme-tls/1", "h2"}} {
		conn, err := tls.Dial("tcp", s.address, &tls.Config{ServerName: strictName, NextProtos: protocols, InsecureSkipVerify: true})
		if err != nil {
			continue
		}
		_, _ = fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: %s\r\n\r\n", strictName)
		if got, _ := io.ReadAll(conn); len(got) > 0 {
			s.t.Errorf("%s got %q", name, got)
		}
		conn.Close()
	}
}

// isPrivate: nobody else may read the keys.
func (s *acmeSite) isPrivate() {
	s.t.Helper()
	files, err := os.ReadDir(s.dir + "/cache")
	if err != nil || len(files) < 3 {
		s.t.Errorf("cache: %d files, %v, want the account's key and two certificates", len(files), err)
	}
	for _, f := range files {
		if info, err := f.Info(); err != nil || info.Mode().Perm()&0o077 != 0 {
			s.t.Errorf("%s: mode %v, %v", f.Name(), info.Mode(), err)
		}
	}
}
