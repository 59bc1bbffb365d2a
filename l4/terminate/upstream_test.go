package terminate

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"culvert/balancer"
)

func TestMayRepeat(t *testing.T) {
	dial, broken, slow := &dialError{errors.New("refused")}, errors.New("reset"), context.DeadlineExceeded
	untouched, touched := &body{}, &body{}
	touched.touched.Store(true)
	for _, tt := range []struct {
		method string
		body   *body
		err    error
		want   bool
	}{
		{"GET", nil, dial, true},
		{"GET", nil, broken, true},
		{"GET", nil, slow, false},
		{"GET", nil, &dialError{slow}, true},
		{"HEAD", nil, broken, true},
		{"OPTIONS", nil, broken, true},
		{"DELETE", nil, broken, true},
		{"PUT", untouched, broken, true},
		{"PUT", touched, broken, false},
		{"GET", touched, broken, false},
		{"POST", nil, dial, true},
		{"POST", nil, broken, false},
		{"POST", nil, slow, false},
		{"POST", untouched, dial, true},
		{"POST", untouched, broken, false},
		{"POST", touched, dial, false},
		{"PATCH", nil, broken, false},
		{"LOCK", nil, broken, false},
		{"", nil, broken, false},
	} {
		if got := mayRepeat(tt.method, tt.body, tt.err); got != tt.want {
			t.Errorf("%s, %v: got %v, want %v", tt.method, tt.err, got, tt.want)
		}
	}
}

// secureServer is a server with TLS. It records the server names that clients
// ask for and the client certificates.
type secureServer struct {
	addr  string
	mu    sync.Mutex
	names []string
	certs []string
}

// startSecure runs a server with a certificate for name. If clients is not nil,
// it requires client certificates signed by it.
func startSecure(t *testing.T, name string, clients *signer) *secureServer {
	t.Helper()
	root, _ := authority()
	cert := root.newClient(t, "", withUsage(x509.ExtKeyUsageServerAuth), func(c *x509.Certificate) { c.DNSNames = []string{name} })
	s := &secureServer{}
	h := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		s.mu.Lock()
		s.names = append(s.names, q.TLS.ServerName)
		for _, c := range q.TLS.PeerCertificates {
			s.certs = append(s.certs, c.Subject.CommonName)
		}
		s.mu.Unlock()
		if q.Header.Get("Upgrade") != "" {
			c, b, _ := w.(http.Hijacker).Hijack()
			defer c.Close()
			_, _ = io.WriteString(c, agreed)
			_, _ = io.Copy(c, b)
			return
		}
		_, _ = io.WriteString(w, q.Proto+" "+q.Host)
	}))
	h.Config.ErrorLog = log.New(io.Discard, "", 0)
	h.EnableHTTP2 = true
	h.TLS = &tls.Config{Certificates: []tls.Certificate{cert.tls()}}
	if clients != nil {
		h.TLS.ClientCAs = x509.NewCertPool()
		h.TLS.ClientCAs.AddCert(clients.Certificate)
		h.TLS.ClientAuth = tls.RequireAndVerifyClientCert
		h.TLS.MaxVersion = tls.VersionTLS12 // with TLS 1.3 the client sees the failure later
	}
	h.StartTLS()
	t.Cleanup(h.Close)
	s.addr = h.Listener.Addr().String()
	return s
}

// With TLS configured, servers get requests over TLS, and only if their
// certificate is valid for the name.
func TestReencryption(t *testing.T) {
	clients := newRoot(t, "clients")
	identity := clients.newClient(t, "culvert").tls()
	other := newRoot(t, "others").newClient(t, "culvert").tls()
	for _, tt := range []struct {
		name    string
		server  func() *secureServer
		tls     *tls.Config
		want    int
		asked   string
		shown   []string
		counted bool // the failure is reported to Outcome
	}{
		{"a name", func() *secureServer { return startSecure(t, "inside", nil) }, &tls.Config{RootCAs: roots(), ServerName: "inside"}, 200, "inside", nil, false},
		{"the client's name", func() *secureServer { return startSecure(t, chat, nil) }, &tls.Config{RootCAs: roots()}, 200, chat, nil, false},
		{"a wrong name", func() *secureServer { return startSecure(t, "inside", nil) }, &tls.Config{RootCAs: roots(), ServerName: "outside"}, 502, "", nil, true},
		{"the client's name is wrong", func() *secureServer { return startSecure(t, "inside", nil) }, &tls.Config{RootCAs: roots()}, 502, "", nil, false},
		{"an unknown authority", func() *secureServer { return startSecure(t, "inside", nil) }, &tls.Config{RootCAs: x509.NewCertPool(), ServerName: "inside"}, 502, "", nil, true},
		{"an unknown authority, the client's name", func() *secureServer { return startSecure(t, chat, nil) }, &tls.Config{RootCAs: x509.NewCertPool()}, 502, "", nil, true},
		{"not verified", func() *secureServer { return startSecure(t, "inside", nil) }, &tls.Config{InsecureSkipVerify: true, ServerName: "outside"}, 200, "outside", nil, false},
		{"a certificate", func() *secureServer { return startSecure(t, "inside", clients) }, &tls.Config{RootCAs: roots(), ServerName: "inside", Certificates: []tls.Certificate{identity}}, 200, "inside", []string{"culvert"}, false},
		{"no certificate", func() *secureServer { return startSecure(t, "inside", clients) }, &tls.Config{RootCAs: roots(), ServerName: "inside"}, 502, "", nil, true},
		{"a wrong certificate", func() *secureServer { return startSecure(t, "inside", clients) }, &tls.Config{RootCAs: roots(), ServerName: "inside", Certificates: []tls.Certificate{other}}, 502, "", nil, true},
		{"a server without TLS", func() *secureServer { return &secureServer{addr: startRecorder(t, nil).addr} }, &tls.Config{RootCAs: roots(), ServerName: "inside"}, 502, "", nil, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			server := tt.server()
			c := tt.tls.Clone()
			c.NextProtos = []string{"http/1.1"}
			r := startRig(t, setting{upstream: func(u *Upstream) { u.TLS = c }}, server.addr)
			got := r.get("HTTP/1.1", "/")
			if got.StatusCode != tt.want || tt.want == 200 && got.body != "HTTP/1.1 "+chat {
				t.Errorf("got %s, %q, want %d", got.Status, got.body, tt.want)
			}
			server.mu.Lock()
			defer server.mu.Unlock()
			if tt.want == 200 && (len(server.names) != 1 || server.names[0] != tt.asked || !slices.Equal(server.certs, tt.shown)) {
				t.Errorf("the server saw the names %v and the certificates %v, want %v, %v", server.names, server.certs, tt.asked, tt.shown)
			}
			r.mu.Lock()
			defer r.mu.Unlock()
			failed := slices.DeleteFunc(slices.Clone(r.outcomes[server.addr]), func(err error) bool { return err == nil })
			if (len(failed) > 0) != tt.counted {
				t.Errorf("got the outcomes %v, want a failure: %v", r.outcomes[server.addr], tt.counted)
			}
		})
	}
}

// If the certificate of a server is not valid, the next server gets the request
// with its complete body.
func TestReencryptionTriesTheNextServer(t *testing.T) {
	wrong, right := startSecure(t, "outside", nil), startSecure(t, "inside", nil)
	r := startRig(t, setting{
		upstream: func(u *Upstream) { u.TLS = &tls.Config{RootCAs: roots(), ServerName: "inside"} },
		pool:     func(c *balancer.Config) { c.Servers[1].Backup = true },
	}, wrong.addr, right.addr)
	if got := r.do(r.client("HTTP/2.0"), newRequest(t, "POST", "/", strings.NewReader("hello"))); got.StatusCode != 200 {
		t.Errorf("got %s", got.Status)
	}
	_, b, res := r.open(handshake("/") + "hello")
	got := make([]byte, 5)
	if _, err := io.ReadFull(b, got); err != nil || res.StatusCode != 101 || string(got) != "hello" {
		t.Errorf("WebSocket: got %s, %q, %v", res.Status, got, err)
	}
	if len(wrong.names) > 0 {
		t.Errorf("the wrong server got requests for %v", wrong.names)
	}
}

// If servers are verified by the name that the client asks for, a client without
// a name is not served, and no failure is reported.
func TestReencryptionWithoutAName(t *testing.T) {
	server := startSecure(t, chat, nil)
	r := startRig(t, setting{upstream: func(u *Upstream) { u.TLS = &tls.Config{RootCAs: roots()} }}, server.addr)
	c := r.tls("http/1.1")
	c.ServerName, c.InsecureSkipVerify = "", true
	conn := r.dial(c)
	_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: "+chat+"\r\nConnection: close\r\n\r\n")
	if got := readAnswers(t, conn, 1); len(got) != 1 || got[0].StatusCode != 502 {
		t.Errorf("got %v, want 502", got)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.outcomes) > 0 {
		t.Errorf("got the outcomes %v", r.outcomes)
	}
}

// counting makes u count its connections; clients returns for whom they are.
func counting(u *Upstream) (clients func() []Client) {
	var mu sync.Mutex
	var all []Client
	dial := u.Dial
	u.Dial = func(ctx context.Context, s *balancer.Server, c Client) (net.Conn, error) {
		mu.Lock()
		all = append(all, c)
		mu.Unlock()
		return dial(ctx, s, c)
	}
	return func() []Client {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(all)
	}
}

// Requests share connections to a server unless they are of different clients and
// the server is told the client, or ask for different names and the server is
// verified by that name.
func TestConnectionsThatAreShared(t *testing.T) {
	plain := startRecorder(t, nil)
	root, _ := authority()
	cert := root.newClient(t, "", withUsage(x509.ExtKeyUsageServerAuth), func(c *x509.Certificate) { c.DNSNames = []string{chat, alias, "inside"} })
	h := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		_, _ = io.WriteString(w, q.TLS.ServerName)
	}))
	h.TLS = &tls.Config{Certificates: []tls.Certificate{cert.tls()}}
	h.StartTLS()
	defer h.Close()
	secure := h.Listener.Addr().String()
	for _, tt := range []struct {
		name   string
		server string
		change func(*Upstream)
		want   int // expected number of connections
		names  []string
	}{
		{"plain", plain.addr, func(*Upstream) {}, 1, nil},
		{"one for a client", plain.addr, func(u *Upstream) { u.PerClient = true }, 4, nil},
		{"TLS", secure, func(u *Upstream) { u.TLS = &tls.Config{RootCAs: roots(), ServerName: "inside"} }, 1, []string{"inside", "inside", "inside", "inside"}},
		{"TLS by the client's name", secure, func(u *Upstream) { u.TLS = &tls.Config{RootCAs: roots()} }, 2, []string{chat, alias, chat, alias}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var dialed func() []Client
			r := startRig(t, setting{upstream: func(u *Upstream) { tt.change(u); dialed = counting(u) }}, tt.server)
			for i := range 4 {
				c := r.tls("http/1.1")
				name := []string{chat, alias}[i%2]
				c.ServerName = name
				conn := r.dial(c)
				for range 3 {
					_, _ = io.WriteString(conn, "GET /a HTTP/1.1\r\nHost: "+name+"\r\n\r\n")
					got := readAnswers(t, conn, 1)
					if len(got) != 1 || got[0].StatusCode != 200 || tt.names != nil && got[0].body != tt.names[i] {
						t.Fatalf("got %+v", got)
					}
				}
				conn.Close()
			}
			all := dialed()
			if len(all) != tt.want {
				t.Errorf("got %d connections, want %d", len(all), tt.want)
			}
			local := netip.MustParseAddrPort(r.addr)
			for _, c := range all {
				if c.Local != local || c.Addr.Addr() != local.Addr() || c.Addr.Port() == 0 || c.Name != chat && c.Name != alias {
					t.Errorf("got a connection for %+v", c)
				}
			}
		})
	}
}

// SetUpstream applies to new requests; requests in progress stay where they are.
func TestSetUpstream(t *testing.T) {
	arrived, finish := make(chan bool, 1), make(chan bool)
	one := startRecorder(t, func(w http.ResponseWriter, _ *http.Request) {
		arrived <- true
		<-finish
		_, _ = io.WriteString(w, "one")
	})
	two := startRecorder(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "two") })
	r := startRig(t, setting{}, one.addr)
	client := r.client("HTTP/2.0")
	first := make(chan string, 1)
	go func() {
		res, err := client.Get("https://" + chat + "/")
		if err != nil {
			first <- err.Error()
			return
		}
		defer res.Body.Close()
		b, _ := io.ReadAll(res.Body)
		first <- string(b)
	}()
	within(t, "the first request has reached the server", arrived)
	next := r.up
	next.Pool = newPool(t, nil, two.addr)
	r.SetUpstream(&next)
	if got := r.do(client, newRequest(t, "GET", "/", nil)); got.body != "two" {
		t.Errorf("got %q, want two", got.body)
	}
	close(finish)
	if got := within(t, "the first request is answered", first); got != "one" {
		t.Errorf("got %q, want one", got)
	}
	eventually(t, "the server has no active request", func() bool { return next.Pool.Servers()[0].Active() == 0 })
}

// After a change to TLS, idle connections without TLS are not used any more.
func TestSetUpstreamWithTLS(t *testing.T) {
	plain := startRecorder(t, nil)
	r := startRig(t, setting{}, plain.addr)
	if got := r.get("HTTP/1.1", "/"); got.StatusCode != 200 {
		t.Fatalf("got %s", got.Status)
	}
	plain.take()
	next := r.up
	next.TLS = &tls.Config{RootCAs: roots(), ServerName: "inside"}
	r.SetUpstream(&next)
	if got := r.get("HTTP/1.1", "/"); got.StatusCode != 502 || len(plain.take()) > 0 {
		t.Errorf("got %s, want 502", got.Status)
	}
}

// If a client leaves while its server is being dialed, no failure is reported.
func TestOutcomeOfAbortedDial(t *testing.T) {
	dialing := make(chan bool, 1)
	r := startRig(t, setting{upstream: func(u *Upstream) {
		u.Dial = func(ctx context.Context, _ *balancer.Server, _ Client) (net.Conn, error) {
			dialing <- true
			<-ctx.Done()
			return nil, ctx.Err()
		}
	}}, closedAddr(t))
	conn := r.dial(r.tls("http/1.1"))
	_, _ = io.WriteString(conn, handshake("/"))
	within(t, "a server is dialed", dialing)
	conn.Close()
	if q := r.report(); q.Refused != "client_gone" {
		t.Errorf("got the report %+v", q)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if diff := cmp.Diff(map[string][]error{}, r.outcomes); diff != "" {
		t.Errorf("outcomes (-want +got):\n%s", diff)
	}
}
