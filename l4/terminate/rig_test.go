package terminate

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"culvert/balancer"
	"culvert/sniff"
)

// patience bounds every wait on a peer.
const patience = 20 * time.Second

// The names that the certificates of tests have. All but elsewhere lead to the
// rig's Server.
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

// roots verifies the certificates of tests.
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

// rig is a listener that gives its connections to a Server, with a pool of
// real servers behind it.
type rig struct {
	*Server
	t    testing.TB
	addr string
	pool *balancer.Pool
	up   Upstream // what SetUpstream was told; a test may change a copy

	mu       sync.Mutex
	reports  []Request
	outcomes map[string][]error // by server
	refused  []error
	served   []string
	conns    map[net.Conn]bool
	serving  sync.WaitGroup
}

// rigConn is a client's connection as the package wants it.
type rigConn struct {
	*net.TCPConn
	rig *rig
}

func (c *rigConn) Leads(host string) bool {
	name, err := sniff.AppendName(nil, host)
	return err == nil && (string(name) == chat || string(name) == alias)
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

// setting is what a test wants of a rig.
type setting struct {
	Config
	upstream  func(*Upstream)
	pool      func(*balancer.Config)
	handshake time.Duration // time for it; 0: patience
}

// startRig serves what set says until the test ends. Then no server may have a
// place taken, whatever happened.
func startRig(t testing.TB, set setting, servers ...string) *rig {
	t.Helper()
	r := &rig{t: t, outcomes: map[string][]error{}, conns: map[net.Conn]bool{}}
	if set.Gate == nil {
		set.Gate = NewGate(2)
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
		ConnectTimeout: patience / 2,
	}
	if set.upstream != nil {
		set.upstream(&r.up)
	}
	up := r.up
	r.SetUpstream(&up)
	r.listen(cmp.Or(set.handshake, patience))
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

// settle cuts what is left and fails when a place is still taken.
func (r *rig) settle() {
	r.mu.Lock()
	for c := range r.conns {
		_ = c.Close()
	}
	r.mu.Unlock()
	r.front.Load().shutDown()
	r.Server.Close()
	for _, s := range r.pool.Servers() {
		eventually(r.t, "the places on "+s.Name()+" are free", func() bool { return s.Active() == 0 })
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

// report waits for the account of the next request.
func (r *rig) report() (q Request) {
	r.t.Helper()
	eventually(r.t, "a request is accounted for", func() bool {
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

// eventually waits for what must happen soon.
func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !is(); {
		if time.Now().After(end) {
			t.Errorf("not in %v: %s", patience, what)
			return
		}
		time.Sleep(time.Millisecond) // between looks
	}
}

func (r *rig) tls(protocols ...string) *tls.Config {
	return &tls.Config{RootCAs: roots(), ServerName: chat, NextProtos: protocols}
}

// dial makes a TLS connection that a test writes raw bytes to.
func (r *rig) dial(c *tls.Config) *tls.Conn {
	r.t.Helper()
	d := tls.Dialer{NetDialer: &net.Dialer{Timeout: patience}, Config: c}
	conn, err := d.Dial("tcp", r.addr)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(patience))
	return conn.(*tls.Conn)
}

// The protocols that a client may speak.
var protocols = []string{"HTTP/1.1", "HTTP/2.0"}

// client speaks protocol with the rig, whatever the address of a request.
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
		ExpectContinueTimeout: patience,
	}
	r.t.Cleanup(t.CloseIdleConnections)
	return &http.Client{Transport: t, Timeout: patience, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// answer is a response with its body read.
type answer struct {
	*http.Response
	body string
}

// do makes a request, whose answer must come.
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

// raw sends bytes over HTTP/1.1 and returns the responses that come until the
// server closes, or until there are as many as wanted; 0 is all.
func (r *rig) raw(request string, wanted int) []answer {
	r.t.Helper()
	conn := r.dial(r.tls("http/1.1"))
	defer conn.Close()
	go func() { _, _ = io.WriteString(conn, request) }() // which may end before all is sent
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

// seen is a request as a server got it.
type seen struct {
	Method, Target, Host, Proto, Body string
	Length                            int64
	Encoding                          []string
	Header                            http.Header
	Cut                               bool // the body did not come to its end
}

// recorder is a server that keeps the requests it gets and answers with what
// it was asked for.
type recorder struct {
	addr string
	mu   sync.Mutex
	all  []seen
	raw  bytes.Buffer // what came, as it came
}

// startRecorder serves until the test ends. An answer of handle's takes the
// place of the usual one; it may be nil.
func startRecorder(t testing.TB, handle http.HandlerFunc) *recorder {
	t.Helper()
	r := &recorder{}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		b, err := io.ReadAll(q.Body)
		r.mu.Lock()
		r.all = append(r.all, seen{q.Method, q.RequestURI, q.Host, q.Proto, string(b), q.ContentLength, q.TransferEncoding, q.Header.Clone(), err != nil})
		r.mu.Unlock()
		if handle != nil {
			handle(w, q)
			return
		}
		w.Header().Set("Content-Type", "text/plain")
		fmt.Fprintf(w, "%s %s", q.Method, q.RequestURI)
	}))
	s.Config.DisableGeneralOptionsHandler = true
	s.Listener = &teeListener{s.Listener, r}
	s.Start()
	t.Cleanup(s.Close)
	r.addr = s.Listener.Addr().String()
	return r
}

type teeListener struct {
	net.Listener
	to *recorder
}

func (l *teeListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &teeConn{c, l.to}, nil
}

type teeConn struct {
	net.Conn
	to *recorder
}

func (c *teeConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.to.mu.Lock()
	defer c.to.mu.Unlock()
	if c.to.raw.Len() < 16<<20 {
		c.to.raw.Write(b[:n])
	}
	return n, err
}

// take returns the requests since the last call.
func (r *recorder) take() []seen {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := r.all
	r.all = nil
	r.raw.Reset()
	return all
}

// wire returns the bytes since the last take.
func (r *recorder) wire() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.raw.String()
}

// startScript is a server that treats each connection as script does, and
// closes it then.
func startScript(t testing.TB, script func(c net.Conn, r *bufio.Reader)) (addr string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	var mu sync.Mutex
	var conns []net.Conn
	running.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns = append(conns, c)
			mu.Unlock()
			running.Go(func() {
				defer c.Close()
				script(c, bufio.NewReader(c))
			})
		}
	})
	t.Cleanup(func() {
		ln.Close()
		mu.Lock()
		for _, c := range conns {
			c.Close()
		}
		mu.Unlock()
		running.Wait()
	})
	return ln.Addr().String()
}

// readHead reads a request up to its body.
func readHead(r *bufio.Reader) (head string, err error) {
	var b strings.Builder
	for {
		line, err := r.ReadString('\n')
		b.WriteString(line)
		if err != nil || line == "\r\n" {
			return b.String(), err
		}
	}
}

// raced reports that the race detector is on: everything takes ten times as
// long.
var raced = sync.OnceValue(func() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
})

// nobodyAt is an address at which nobody listens.
func nobodyAt(t testing.TB) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

// need skips the test when a program is not installed. In CI everything is.
func need(t testing.TB, program string) {
	t.Helper()
	if _, err := exec.LookPath(program); err == nil {
		return
	}
	if os.Getenv("CI") == "true" {
		t.Fatalf("%s is missing", program)
	}
	t.Skipf("%s is missing", program)
}

// startProgram runs a server until the test ends, and waits until it listens.
func startProgram(t testing.TB, addr, name string, args ...string) {
	t.Helper()
	need(t, name)
	var out bytes.Buffer
	cmd := exec.Command(name, args...)
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("%s: %s", name, out.Bytes())
		}
	})
	eventually(t, name+" listens", func() bool {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
}

// startNginx puts nginx in front of a server and returns its address.
func startNginx(t testing.TB, server string) string {
	t.Helper()
	addr, dir := nobodyAt(t), t.TempDir()
	conf := fmt.Sprintf(`pid nginx.pid;
error_log stderr;
worker_processes 1;
events { worker_connections 1024; }
http {
	client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
	access_log off;
	upstream u { server %s; keepalive 8; }
	server {
		listen %s;
		location / { proxy_pass http://u; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $http_host; }
	}
}`, server, addr)
	if os.Getuid() == 0 {
		conf = "user root;\n" + conf
	}
	if err := os.WriteFile(filepath.Join(dir, "nginx.conf"), []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	startProgram(t, addr, "nginx", "-p", dir, "-c", "nginx.conf", "-g", "daemon off;")
	return addr
}

// startHaproxy puts haproxy in front of a server and returns its address.
func startHaproxy(t testing.TB, server string) string {
	t.Helper()
	addr := nobodyAt(t)
	file := filepath.Join(t.TempDir(), "haproxy.cfg")
	conf := fmt.Sprintf(`defaults
	mode http
	timeout connect 5s
	timeout client 30s
	timeout server 30s
	http-reuse always
frontend f
	bind %s
	default_backend b
backend b
	server s %s
`, addr, server)
	if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	startProgram(t, addr, "haproxy", "-db", "-f", file)
	return addr
}

// http2Client speaks HTTP/2 frame by frame.
type http2Client struct {
	t    testing.TB
	conn *tls.Conn
	*http2.Framer
	fields *hpack.Decoder
}

// http2 connects and exchanges settings.
func (r *rig) http2() *http2Client {
	r.t.Helper()
	conn := r.dial(r.tls("h2"))
	if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
		r.t.Fatal(err)
	}
	h := &http2Client{r.t, conn, http2.NewFramer(conn, conn), hpack.NewDecoder(4096, nil)}
	h.AllowIllegalWrites = true
	if err := h.WriteSettings(); err != nil {
		r.t.Fatal(err)
	}
	return h
}

// block encodes names and values, in turn, as they stand.
func block(fields ...string) []byte {
	var b bytes.Buffer
	e := hpack.NewEncoder(&b)
	for i := 0; i < len(fields); i += 2 {
		_ = e.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
	}
	return b.Bytes()
}

// request sends the head of a request, which is all of it if end.
func (h *http2Client) request(stream uint32, end bool, fields ...string) {
	h.t.Helper()
	err := h.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: block(fields...), EndHeaders: true, EndStream: end})
	if err != nil {
		h.t.Fatal(err)
	}
}

// status waits for the status of the response on a stream. It is "" when the
// stream or the connection ends without one.
func (h *http2Client) status(stream uint32) string {
	h.t.Helper()
	for {
		f, err := h.ReadFrame()
		if err != nil {
			if e := net.Error(nil); errors.As(err, &e) && e.Timeout() {
				h.t.Fatal("no answer: ", err)
			}
			return ""
		}
		switch f := f.(type) {
		case *http2.RSTStreamFrame:
			if f.StreamID == stream {
				return ""
			}
		case *http2.HeadersFrame:
			fields, err := h.fields.DecodeFull(f.HeaderBlockFragment())
			if err != nil {
				h.t.Fatal(err)
			}
			if f.StreamID == stream && fields[0].Name == ":status" {
				return fields[0].Value
			}
		}
	}
}
