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

// A gateway is a server that asks for certificates as a route does: what it
// lets through goes to an upstream, which is a counter here.
type gateway struct {
	addr     string
	roots    *x509.CertPool
	now      atomic.Pointer[Authorities] // what counts
	upstream atomic.Int64                // requests let through
	resumed  atomic.Int64                // handshakes that tried to resume a session and could
}

// startGateway serves policy, whose Authorities are a until g.now says another.
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

// client returns what a client with these certificates has, none for nil. It
// sends the first whatever the server hints at.
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

// get makes one request on a new connection. An error is a handshake that
// failed: with TLS 1.3 the client finds out when it reads.
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
		_, err = r.ReadByte() // nothing, and then the end
		if err == io.EOF {
			err = nil
		}
	}
	return response, string(text), err
}

var tlsVersions = []uint16{tls.VersionTLS12, tls.VersionTLS13}

// eachMode runs a test for page and strict mode with both versions.
func eachMode(t *testing.T, f func(t *testing.T, strict bool, version uint16)) {
	for _, strict := range []bool{false, true} {
		for _, version := range tlsVersions {
			name := map[bool]string{false: "page", true: "strict"}[strict] + ", " + tls.VersionName(version)
			t.Run(name, func(t *testing.T) { f(t, strict, version) })
		}
	}
}

// wantRefused fails unless the client got a page, or in strict mode nothing.
func (g *gateway) wantRefused(t *testing.T, strict bool, config *tls.Config, text string) {
	t.Helper()
	before := g.upstream.Load()
	response, body, err := g.get(config, "GET")
	switch {
	case strict && err == nil:
		t.Errorf("status %d, want a handshake that fails", response.StatusCode)
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
		want  string // what the page says; "" for a client that is let in
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

// The hint is every CA of the file, and nothing else; also when the file has
// changed.
func TestCertPolicyHint(t *testing.T) {
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
				t.Errorf("%s: got %q, want next: %v", tls.VersionName(version), got, want)
			}
		}
	}
}

// VerifyConnection of the one who configures TLS stays in force.
func TestCertPolicyKeepsVerifyConnection(t *testing.T) {
	root := newRoot(t, "root")
	mine := errors.New("mine")
	c := &tls.Config{VerifyConnection: func(tls.ConnectionState) error { return mine }}
	a := mustLoad(t, pemOf(root))
	(&CertPolicy{Strict: true, Authorities: func() *Authorities { return a }}).Configure(c)
	state := tls.ConnectionState{PeerCertificates: chainOf(root.newClient(t, "alice"))}
	if err := c.VerifyConnection(state); !errors.Is(err, mine) {
		t.Errorf("got %v, want the error of the first", err)
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
		{name: "expired since", policy: CertPolicy{Authorities: with}, state: state, after: 2 * time.Hour, want: ErrExpired},
		{name: "none", policy: CertPolicy{Authorities: with}, state: &tls.ConnectionState{}, want: ErrNoCertificate},
		{name: "none, optional", policy: CertPolicy{Authorities: with, Optional: true}, state: &tls.ConnectionState{}},
		{name: "no TLS", policy: CertPolicy{Authorities: with}, want: ErrNoCertificate},
		{name: "nobody said who counts", state: state, want: ErrUntrusted},
		{name: "nobody counts, optional", policy: CertPolicy{Optional: true, Authorities: func() *Authorities { return nil }}, state: state, want: ErrUntrusted},
		{name: "what an earlier handshake found does not count", policy: CertPolicy{Authorities: with}, state: &tls.ConnectionState{
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
					t.Errorf("%s, %v: got %v, which apps take for something else", method, err, h)
				}
				if strings.Contains(body, "secret") {
					t.Errorf("%v: the page tells what the error says: %q", err, body)
				}
				if (method == "HEAD") != (body == "") {
					t.Errorf("%s: got the body %q", method, body)
				}
				pages[body] = true
			}
		}
		if len(pages) != 7 { // none, untrusted and other, and four more, and that of HEAD
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
		t.Errorf("got %v, %q, want 401, the length of the page, and the end", response, body)
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

// OpenSSL as the client: it sends what it is told, whatever the hint.
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
			out, _ := cmd.CombinedOutput() // its status is not about what matters here
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
			t.Errorf("with another's certificate: %s", out)
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
			t.Error("the session was not resumed: this tests nothing")
		}
	})
}
