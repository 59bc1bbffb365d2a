package terminate

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"culvert/l4/internal/program"
)

// A gateway is a server that asks for certificates as a route does. Requests
// that it accepts go to an upstream, which here only counts them.
type gateway struct {
	addr     string
	roots    *x509.CertPool
	now      atomic.Pointer[Authorities] // current authorities
	upstream atomic.Int64                // accepted requests
	resumed  atomic.Int64                // handshakes that resumed a session
}

// startGateway serves policy. Its Authorities are a until g.now is changed.
func startGateway(t testing.TB, policy CertPolicy, a *Authorities) *gateway {
	t.Helper()
	root := newRoot(t, "servers")
	cert := root.newClient(t, "gateway", withUsage(x509.ExtKeyUsageServerAuth), func(c *x509.Certificate) { c.DNSNames = []string{"gateway.example"} })
	g := &gateway{roots: x509.NewCertPool()}
	g.roots.AddCert(root.Certificate)
	g.now.Store(a)
	policy.Authorities = g.now.Load

	config := &tls.Config{Certificates: []tls.Certificate{cert.tls()}, NextProtos: []string{"h2", "http/1.1"}}
	config.VerifyConnection = func(state tls.ConnectionState) error {
		if state.DidResume {
			g.resumed.Add(1)
		}
		return nil
	}
	policy.Configure(config)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g.addr = ln.Addr().String()
	server := &http.Server{
		ErrorLog: log.New(io.Discard, "", 0),
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			leaf, err := policy.Refusal(r.TLS, time.Now())
			if err != nil {
				policy.Page(w, r, err)
				return
			}
			g.upstream.Add(1)
			if leaf != nil {
				fmt.Fprintf(w, "hello %s", leaf.Subject.CommonName)
			}
		}),
	}
	go server.Serve(tls.NewListener(ln, config))
	t.Cleanup(func() { server.Close() })
	return g
}

// client returns the configuration of a client with this certificate, or without
// one for nil. It sends the certificate whatever CA names the server sends.
func (g *gateway) client(version uint16, cert *tls.Certificate) *tls.Config {
	return &tls.Config{
		RootCAs: g.roots, ServerName: "gateway.example", MinVersion: version, MaxVersion: version,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			if cert == nil {
				return &tls.Certificate{}, nil
			}
			return cert, nil
		},
	}
}

// get makes one request on a new connection. The error is a failed handshake,
// which a client of TLS 1.3 notices when it reads.
func (g *gateway) get(config *tls.Config, method string) (response *http.Response, body string, err error) {
	conn, err := (&tls.Dialer{NetDialer: &net.Dialer{Timeout: 10 * time.Second}, Config: config}).Dial("tcp", g.addr)
	if err != nil {
		return nil, "", err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	fmt.Fprintf(conn, "%s / HTTP/1.1\r\nHost: gateway.example\r\n\r\n", method)
	r := bufio.NewReader(conn)
	response, err = http.ReadResponse(r, &http.Request{Method: method})
	if err != nil {
		return nil, "", err
	}
	text, err := io.ReadAll(response.Body)
	if err == nil && response.Close {
		_, err = r.ReadByte() // expects the end of the connection
		if err == io.EOF {
			err = nil
		}
	}
	return response, string(text), err
}

var tlsVersions = []uint16{tls.VersionTLS12, tls.VersionTLS13}

// eachMode runs a test in page and strict mode with TLS 1.2 and 1.3.
func eachMode(t *testing.T, f func(t *testing.T, strict bool, version uint16)) {
	for _, strict := range []bool{false, true} {
		for _, version := range tlsVersions {
			name := map[bool]string{false: "page", true: "strict"}[strict] + ", " + tls.VersionName(version)
			t.Run(name, func(t *testing.T) { f(t, strict, version) })
		}
	}
}

// wantRefused fails unless the client got a page or, in strict mode, an alert.
func (g *gateway) wantRefused(t *testing.T, strict bool, config *tls.Config, text string) {
	t.Helper()
	before := g.upstream.Load()
	response, body, err := g.get(config, "GET")
	switch {
	case strict && err == nil:
		t.Errorf("status %d, want a failed handshake", response.StatusCode)
	case strict && isTimeout(err):
		t.Errorf("got %v, want an alert", err)
	case !strict && err != nil:
		t.Errorf("got %v, want a page", err)
	case !strict && (response.StatusCode != 400 || !strings.Contains(body, text) || !response.Close):
		t.Errorf("got status %d, close %v, %q; want 400, true, %q", response.StatusCode, response.Close, body, text)
	}
	if n := g.upstream.Load() - before; n != 0 {
		t.Errorf("%d requests reached the upstream", n)
	}
}

func isTimeout(err error) bool {
	var e net.Error
	return errors.As(err, &e) && e.Timeout()
}

func (g *gateway) wantAccepted(t *testing.T, config *tls.Config, want string) *http.Response {
	t.Helper()
	before := g.upstream.Load()
	response, body, err := g.get(config, "GET")
	if err != nil || response.StatusCode != 200 || body != want {
		t.Fatalf("got %v, %q, %v; want 200, %q", response, body, err, want)
	}
	if n := g.upstream.Load() - before; n != 1 {
		t.Errorf("%d requests reached the upstream, want 1", n)
	}
	return response
}

func TestCertPolicyInHandshakes(t *testing.T) {
	root := newRoot(t, "root")
	ca, gone := root.newCA(t, "issuing"), root.newCA(t, "gone")
	alice, bob := ca.newClient(t, "alice"), root.newClient(t, "bob")
	a := mustLoad(t, pemOf(root, ca),
		root.crl(t, crl{revoked: []*signer{bob, gone}}), ca.crl(t, crl{}))
	stale := newRoot(t, "stale")
	b := mustLoad(t, pemOf(stale), staleCRL(t, stale))
	const notForUs = "not issued for this site"

	tests := []struct {
		name  string
		auth  *Authorities
		cert  *signer
		extra []*signer
		want  string // text of the page; "" if the client is accepted
	}{
		{name: "good", auth: a, cert: alice},
		{name: "good, with its intermediate", auth: a, cert: alice, extra: []*signer{ca}},
		{name: "none", auth: a, want: "is required"},
		{name: "another CA", auth: a, cert: newRoot(t, "other").newClient(t, "alice"), want: notForUs},
		{name: "CA of the same name, another key", auth: a, cert: newRoot(t, "root").newClient(t, "alice"), want: notForUs},
		{name: "self-signed", auth: a, cert: newRoot(t, "alice"), want: notForUs},
		{name: "for servers", auth: a, cert: root.newClient(t, "s", withUsage(x509.ExtKeyUsageServerAuth)), want: notForUs},
		{name: "expired", auth: a, cert: root.newClient(t, "c", validFrom(-2*time.Hour, -time.Hour)), want: "has expired"},
		{name: "not yet valid", auth: a, cert: root.newClient(t, "c", validFrom(time.Hour, 2*time.Hour)), want: "not valid yet"},
		{name: "revoked", auth: a, cert: bob, want: "was revoked"},
		{name: "intermediate revoked", auth: a, cert: gone.newClient(t, "c"), extra: []*signer{gone}, want: "was revoked"},
		{name: "list stale", auth: b, cert: stale.newClient(t, "c"), want: "at the moment"},
		{name: "no authorities", auth: nil, cert: alice, want: notForUs},
	}
	eachMode(t, func(t *testing.T, strict bool, version uint16) {
		g := startGateway(t, CertPolicy{Strict: strict}, a)
		for _, tt := range tests {
			t.Run(tt.name, func(t *testing.T) {
				g.now.Store(tt.auth)
				config := g.client(version, nil)
				if tt.cert != nil {
					cert := tt.cert.tls(tt.extra...)
					config = g.client(version, &cert)
				}
				if tt.want == "" {
					g.wantAccepted(t, config, "hello "+tt.cert.Subject.CommonName)
					return
				}
				g.wantRefused(t, strict, config, tt.want)
			})
		}
	})
}

func TestCertPolicyOptional(t *testing.T) {
	root := newRoot(t, "root")
	good, bad := root.newClient(t, "alice").tls(), newRoot(t, "other").newClient(t, "mallory").tls()
	eachMode(t, func(t *testing.T, strict bool, version uint16) {
		g := startGateway(t, CertPolicy{Strict: strict, Optional: true}, mustLoad(t, pemOf(root)))
		g.wantAccepted(t, g.client(version, nil), "")
		g.wantAccepted(t, g.client(version, &good), "hello alice")
		g.wantRefused(t, strict, g.client(version, &bad), "not accepted")
	})
}

// Handshakes send exactly the names of the current CAs, also after the file has
// changed.
func TestCertPolicySendsNamesOfCurrentCAs(t *testing.T) {
	root := newRoot(t, "root")
	ca := root.newCA(t, "issuing")
	first, next := mustLoad(t, pemOf(root, ca)), newRoot(t, "next")
	second := mustLoad(t, pemOf(next))
	for _, version := range tlsVersions {
		g := startGateway(t, CertPolicy{Optional: true}, first)
		var got [][]byte
		config := g.client(version, nil)
		config.GetClientCertificate = func(r *tls.CertificateRequestInfo) (*tls.Certificate, error) {
			got = r.AcceptableCAs
			return &tls.Certificate{}, nil
		}
		g.wantAccepted(t, config, "")
		if len(got) != 2 || !bytes.Equal(got[0], root.RawSubject) || !bytes.Equal(got[1], ca.RawSubject) {
			t.Errorf("%s: got %q, want root and issuing", tls.VersionName(version), got)
		}
		for _, a := range []*Authorities{second, first, second} {
			g.now.Store(a)
			g.wantAccepted(t, config, "")
			if want := a == second; (len(got) == 1 && bytes.Equal(got[0], next.RawSubject)) != want {
				t.Errorf("%s: got %q, contains next, want %v", tls.VersionName(version), got, want)
			}
		}
	}
}

// A VerifyConnection that is configured already is still called.
func TestCertPolicyKeepsVerifyConnection(t *testing.T) {
	root := newRoot(t, "root")
	mine := errors.New("mine")
	c := &tls.Config{VerifyConnection: func(tls.ConnectionState) error { return mine }}
	a := mustLoad(t, pemOf(root))
	(&CertPolicy{Strict: true, Authorities: func() *Authorities { return a }}).Configure(c)
	state := tls.ConnectionState{PeerCertificates: chainOf(root.newClient(t, "alice"))}
	if err := c.VerifyConnection(state); !errors.Is(err, mine) {
		t.Errorf("got %v, want the error of the configured VerifyConnection", err)
	}
}

func TestCertPolicyRefusal(t *testing.T) {
	root := newRoot(t, "root")
	alice := root.newClient(t, "alice")
	a := mustLoad(t, pemOf(root))
	with := func() *Authorities { return a }
	state := &tls.ConnectionState{PeerCertificates: chainOf(alice)}
	tests := []struct {
		name   string
		policy CertPolicy
		state  *tls.ConnectionState
		after  time.Duration
		leaf   *x509.Certificate
		want   error
	}{
		{name: "good", policy: CertPolicy{Authorities: with}, state: state, leaf: alice.Certificate},
		{name: "expired after the handshake", policy: CertPolicy{Authorities: with}, state: state, after: 2 * time.Hour, want: ErrExpired},
		{name: "none", policy: CertPolicy{Authorities: with}, state: &tls.ConnectionState{}, want: ErrNoCertificate},
		{name: "no certificate, optional", policy: CertPolicy{Authorities: with, Optional: true}, state: &tls.ConnectionState{}},
		{name: "no TLS", policy: CertPolicy{Authorities: with}, want: ErrNoCertificate},
		{name: "no Authorities function", state: state, want: ErrUntrusted},
		{name: "nil Authorities, optional", policy: CertPolicy{Optional: true, Authorities: func() *Authorities { return nil }}, state: state, want: ErrUntrusted},
		{name: "the result of an earlier handshake is ignored", policy: CertPolicy{Authorities: with}, state: &tls.ConnectionState{
			PeerCertificates: chainOf(newRoot(t, "mallory")), VerifiedChains: [][]*x509.Certificate{chainOf(alice, root)}}, want: ErrUntrusted},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			leaf, err := tt.policy.Refusal(tt.state, time.Now().Add(tt.after))
			if leaf != tt.leaf || !errors.Is(err, tt.want) {
				t.Errorf("got %v, %v, want %v, %v", leaf, err, tt.leaf, tt.want)
			}
		})
	}
}

func TestCertPage(t *testing.T) {
	all := []error{ErrNoCertificate, ErrUntrusted, ErrExpired, ErrNotYetValid, ErrRevoked, ErrStaleCRL, errors.New("other")}
	for _, unauthorized := range []bool{false, true} {
		want := map[bool]int{false: 400, true: 401}[unauthorized]
		pages := make(map[string]bool)
		for _, err := range all {
			for _, method := range []string{"GET", "POST", "HEAD"} {
				w := httptest.NewRecorder()
				(&CertPolicy{Unauthorized: unauthorized}).Page(w, httptest.NewRequest(method, "/", nil), fmt.Errorf("%w: <script>secret", err))
				h, body := w.Result().Header, w.Body.String()
				if w.Code != want || h.Get("Cache-Control") != "no-store" || h.Get("Connection") != "close" || h.Get("Content-Type") != "text/html; charset=utf-8" {
					t.Errorf("%s, %v: got status %d and %v", method, err, w.Code, h)
				}
				if h.Get("X-Reject-Reason") != "" || h.Get("WWW-Authenticate") != "" {
					t.Errorf("%s, %v: got %v, which apps would misinterpret", method, err, h)
				}
				if strings.Contains(body, "secret") {
					t.Errorf("%v: the page reveals the text of the error: %q", err, body)
				}
				if (method == "HEAD") != (body == "") {
					t.Errorf("%s: got the body %q", method, body)
				}
				pages[body] = true
			}
		}
		if len(pages) != 7 { // no certificate, untrusted and other share pages; four more; HEAD
			t.Errorf("got %d pages, want 7", len(pages))
		}
	}
}

func TestCertPageForHead(t *testing.T) {
	g := startGateway(t, CertPolicy{Unauthorized: true}, mustLoad(t, pemOf(newRoot(t, "root"))))
	response, body, err := g.get(g.client(tls.VersionTLS13, nil), "HEAD")
	if err != nil {
		t.Fatal(err)
	}
	if response.StatusCode != 401 || body != "" || response.ContentLength < 100 || !response.Close {
		t.Errorf("got %v, %q, want 401 with the length of the page and no body", response, body)
	}
}

func TestCertPageOverHTTP2(t *testing.T) {
	root := newRoot(t, "root")
	g := startGateway(t, CertPolicy{}, mustLoad(t, pemOf(root)))
	cert := root.newClient(t, "alice").tls()
	for _, tt := range []struct {
		cert *tls.Certificate
		want int
	}{{nil, 400}, {&cert, 200}} {
		transport := &http.Transport{TLSClientConfig: g.client(tls.VersionTLS13, tt.cert), ForceAttemptHTTP2: true}
		response, err := (&http.Client{Transport: transport, Timeout: 10 * time.Second}).Get("https://" + g.addr)
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, response.Body)
		response.Body.Close()
		transport.CloseIdleConnections()
		if response.ProtoMajor != 2 || response.StatusCode != tt.want {
			t.Errorf("got %s %d, want HTTP/2 and %d", response.Proto, response.StatusCode, tt.want)
		}
	}
}

// openssl s_client sends the configured certificate whatever CA names the server
// sends.
func TestCertPolicyWithOpenSSL(t *testing.T) {
	program.Need(t, "openssl")
	root := newRoot(t, "root")
	alice := root.newClient(t, "alice")
	before := mustLoad(t, pemOf(root), root.crl(t, crl{}))
	after := mustLoad(t, pemOf(root), root.crl(t, crl{number: 2, revoked: []*signer{alice}}))
	key, err := x509.MarshalPKCS8PrivateKey(alice.key)
	if err != nil {
		t.Fatal(err)
	}
	withCert := []string{"-cert", tempFile(t, "cert.pem", pemOf(alice)), "-key", tempFile(t, "key.pem", asPEM("PRIVATE KEY", key))}
	stranger := newRoot(t, "alice")
	strangerKey, err := x509.MarshalPKCS8PrivateKey(stranger.key)
	if err != nil {
		t.Fatal(err)
	}
	withOther := []string{"-cert", tempFile(t, "cert.pem", pemOf(stranger)), "-key", tempFile(t, "key.pem", asPEM("PRIVATE KEY", strangerKey))}

	eachMode(t, func(t *testing.T, strict bool, version uint16) {
		g := startGateway(t, CertPolicy{Strict: strict}, before)
		client := func(args ...string) string {
			args = append([]string{"s_client", "-connect", g.addr, "-ign_eof", map[uint16]string{tls.VersionTLS12: "-tls1_2", tls.VersionTLS13: "-tls1_3"}[version]}, args...)
			cmd := exec.CommandContext(t.Context(), "openssl", args...)
			cmd.Stdin = strings.NewReader("GET / HTTP/1.1\r\nHost: gateway.example\r\nConnection: close\r\n\r\n")
			out, _ := cmd.CombinedOutput() // the exit status does not matter here
			return string(out)
		}
		refused := func(out string) bool {
			page := strings.Contains(out, "HTTP/1.1 400") && strings.Contains(out, "no-store")
			return !strings.Contains(out, "200 OK") && page != strict
		}
		if out := client(); !refused(out) {
			t.Errorf("without a certificate: %s", out)
		}
		if out := client(withOther...); !refused(out) {
			t.Errorf("with a certificate of another CA: %s", out)
		}
		session := filepath.Join(t.TempDir(), "session")
		if out := client(append(withCert, "-sess_out", session)...); !strings.Contains(out, "hello alice") {
			t.Fatalf("with the certificate: %s", out)
		}
		if out := client("-sess_in", session); !strings.Contains(out, "hello alice") || !strings.Contains(out, "Reused") {
			t.Fatalf("with the session: %s", out)
		}
		g.now.Store(after)
		resumed := g.resumed.Load()
		if out := client("-sess_in", session); !refused(out) {
			t.Errorf("with the session, revoked: %s", out)
		}
		if g.resumed.Load() != resumed+1 {
			t.Error("the session was not resumed, so revocation was not tested")
		}
	})
}
