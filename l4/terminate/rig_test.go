package terminate

import (
	"bufio"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"culvert/balancer"
	"culvert/sniff"
)

// testTimeout bounds every wait for a peer.
const testTimeout = 20 * time.Second

// The names in the certificates of tests. All except elsewhere lead to the
// Server of the rig.
const (
	chat      = "chat.example.com"
	alias     = "alias.example.com"
	elsewhere = "elsewhere.example.com"
)

var authority = sync.OnceValues(func() (*signer, *signer) {
	t := &testing.T{}
	root := newRoot(t, "servers")
	return root, root.newClient(t, "server", withUsage(x509.ExtKeyUsageServerAuth), func(c *x509.Certificate) {
		c.DNSNames = []string{chat, alias, elsewhere}
	})
})

// roots returns the CAs that verify the certificates of tests.
func roots() *x509.CertPool {
	root, _ := authority()
	pool := x509.NewCertPool()
	pool.AddCert(root.Certificate)
	return pool
}

func serverCertificate() tls.Certificate {
	_, cert := authority()
	return cert.tls()
}

// rig is a Server with a listener in front of it and a pool of real servers
// behind it.
type rig struct {
	*Server
	t    testing.TB
	addr string
	pool *balancer.Pool
	up   Upstream // the last SetUpstream; a test may change a copy

	mu       sync.Mutex
	reports  []Request
	outcomes map[string][]error // by server name
	refused  []error
	served   []string
	conns    map[net.Conn]bool
	serving  sync.WaitGroup
}

// rigConn is a client's connection as a Conn.
type rigConn struct {
	*net.TCPConn
	rig *rig
}

func (c *rigConn) Leads(host string) bool {
	name, err := sniff.AppendName(nil, host)
	return err == nil && (string(name) == chat || string(name) == alias)
}

// Peer has the connection's addresses, and an ID that they make.
func (c *rigConn) Peer() Client {
	x := Client{Addr: c.RemoteAddr().(*net.TCPAddr).AddrPort(), Local: c.LocalAddr().(*net.TCPAddr).AddrPort(), ALPN: "first"}
	x.ID = x.Addr.String() + "-" + x.Local.String()
	return x
}

func (c *rigConn) Served(server string) {
	c.rig.mu.Lock()
	defer c.rig.mu.Unlock()
	c.rig.served = append(c.rig.served, server)
}

func (c *rigConn) Refuse(err error) {
	c.rig.mu.Lock()
	c.rig.refused = append(c.rig.refused, err)
	c.rig.mu.Unlock()
	_ = c.Close()
}

func (c *rigConn) Close() error {
	c.rig.mu.Lock()
	delete(c.rig.conns, c.TCPConn)
	c.rig.mu.Unlock()
	return c.TCPConn.Close()
}

// setting is the configuration of a rig.
type setting struct {
	Config
	upstream  func(*Upstream)
	pool      func(*balancer.Config)
	handshake time.Duration // its timeout; 0: testTimeout
}

// startRig runs a rig until the test ends. It then fails the test if a server
// still has an active request.
func startRig(t testing.TB, set setting, servers ...string) *rig {
	t.Helper()
	r := &rig{t: t, outcomes: map[string][]error{}, conns: map[net.Conn]bool{}}
	if set.Handshakes == nil {
		set.Handshakes = NewHandshakeLimiter(2)
	}
	if set.Certificates == nil {
		certs := &Certificates{pairs: []tls.Certificate{serverCertificate()}}
		set.Certificates = func() *Certificates { return certs }
	}
	if set.Report == nil {
		set.Report = r.noteReport
	}
	if set.Log == nil && testing.Verbose() {
		set.Log = slog.New(slog.NewTextHandler(t.Output(), nil))
	}
	r.Server = New(set.Config)
	r.pool = newPool(t, set.pool, servers...)
	start := time.Now()
	r.up = Upstream{
		Pool: r.pool, Dial: dialServer, Outcome: r.noteOutcome,
		Now:            func() time.Duration { return time.Since(start) },
		ConnectTimeout: testTimeout / 2,
	}
	if set.upstream != nil {
		set.upstream(&r.up)
	}
	up := r.up
	r.SetUpstream(&up)
	r.listen(cmp.Or(set.handshake, testTimeout))
	t.Cleanup(r.settle)
	return r
}

func newPool(t testing.TB, change func(*balancer.Config), servers ...string) *balancer.Pool {
	t.Helper()
	cfg := balancer.Config{Name: "pool", Policy: balancer.RoundRobin}
	for _, s := range servers {
		cfg.Servers = append(cfg.Servers, balancer.ServerConfig{Address: s})
	}
	if change != nil {
		change(&cfg)
	}
	pool, err := balancer.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return pool
}

func dialServer(ctx context.Context, s *balancer.Server, _ Client) (net.Conn, error) {
	return (&net.Dialer{}).DialContext(ctx, "tcp", s.Address())
}

// listen accepts connections until the test ends.
func (r *rig) listen(handshake time.Duration) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		r.t.Fatal(err)
	}
	r.addr = ln.Addr().String()
	r.serving.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			r.mu.Lock()
			r.conns[c] = true
			r.mu.Unlock()
			r.serving.Go(func() { r.Serve(&rigConn{c.(*net.TCPConn), r}, time.Now().Add(handshake)) })
		}
	})
	r.t.Cleanup(func() { ln.Close() })
}

// settle closes open connections, and fails if a server still has an active
// request.
func (r *rig) settle() {
	r.mu.Lock()
	for c := range r.conns {
		_ = c.Close()
	}
	r.mu.Unlock()
	r.front.Load().shutDown()
	for _, s := range r.pool.Servers() {
		eventually(r.t, "no request is active on "+s.Name(), func() bool { return s.Active() == 0 })
	}
}

func (r *rig) noteReport(q *Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.reports = append(r.reports, *q)
}

func (r *rig) noteOutcome(s *balancer.Server, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.outcomes[s.Name()] = append(r.outcomes[s.Name()], err)
}

// report waits for the Request of the next request that ends.
func (r *rig) report() (q Request) {
	r.t.Helper()
	eventually(r.t, "a request is reported", func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		if len(r.reports) == 0 {
			return false
		}
		q, r.reports = r.reports[0], r.reports[1:]
		return true
	})
	return q
}

func (r *rig) refusals() []error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.refused)
}

// eventually waits until is returns true, and fails the test if it does not in
// time.
func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(testTimeout); !is(); {
		if time.Now().After(end) {
			t.Errorf("not within %v: %s", testTimeout, what)
			return
		}
		time.Sleep(time.Millisecond) // polling interval
	}
}

func (r *rig) tls(protocols ...string) *tls.Config {
	return &tls.Config{RootCAs: roots(), ServerName: chat, NextProtos: protocols}
}

// dial opens a TLS connection to which a test writes raw bytes.
func (r *rig) dial(c *tls.Config) *tls.Conn {
	r.t.Helper()
	d := tls.Dialer{NetDialer: &net.Dialer{Timeout: testTimeout}, Config: c}
	conn, err := d.Dial("tcp", r.addr)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(testTimeout))
	return conn.(*tls.Conn)
}

// The protocols that clients use.
var protocols = []string{"HTTP/1.1", "HTTP/2.0"}

// client returns a client that uses protocol and connects to the rig, whatever
// the host of a request is.
func (r *rig) client(protocol string) *http.Client {
	p := new(http.Protocols)
	p.SetHTTP1(protocol == "HTTP/1.1")
	p.SetHTTP2(protocol == "HTTP/2.0")
	t := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "tcp", r.addr)
		},
		TLSClientConfig:       r.tls(),
		Protocols:             p,
		DisableCompression:    true,
		ExpectContinueTimeout: testTimeout,
	}
	r.t.Cleanup(t.CloseIdleConnections)
	return &http.Client{Transport: t, Timeout: testTimeout, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// answer is a response and its body.
type answer struct {
	*http.Response
	body string
}

// do makes a request and fails the test if there is no complete response.
func (r *rig) do(c *http.Client, q *http.Request) answer {
	r.t.Helper()
	res, err := c.Do(q)
	if err != nil {
		r.t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		r.t.Fatalf("body after %d bytes: %v", len(b), err)
	}
	return answer{res, string(b)}
}

func newRequest(t testing.TB, method, path string, body io.Reader) *http.Request {
	t.Helper()
	q, err := http.NewRequest(method, "https://"+chat+path, body)
	if err != nil {
		t.Fatal(err)
	}
	return q
}

func (r *rig) get(protocol, path string) answer {
	r.t.Helper()
	return r.do(r.client(protocol), newRequest(r.t, "GET", path, nil))
}

// raw sends bytes over HTTP/1.1. It returns the responses until the server closes
// the connection or there are as many as wanted; 0 means all.
func (r *rig) raw(request string, wanted int) []answer {
	r.t.Helper()
	conn := r.dial(r.tls("http/1.1"))
	defer conn.Close()
	go func() { _, _ = io.WriteString(conn, request) }() // may fail before everything is sent
	return readAnswers(r.t, conn, wanted)
}

func readAnswers(t testing.TB, conn io.Reader, wanted int) (all []answer) {
	t.Helper()
	b := bufio.NewReader(conn)
	for wanted == 0 || len(all) < wanted {
		res, err := http.ReadResponse(b, nil)
		switch {
		case err != nil && (errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET)):
			return all
		case err != nil:
			t.Fatalf("after %d responses: %v", len(all), err)
		case res.StatusCode < 200:
			continue
		}
		body, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatalf("body of %s: %v", res.Status, err)
		}
		all = append(all, answer{res, string(body)})
	}
	return all
}

// raced reports whether the race detector is on, which makes everything about
// ten times slower.
var raced = sync.OnceValue(func() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
})
