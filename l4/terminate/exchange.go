package terminate

import (
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// Request is the account of one request, made when it is over.
type Request struct {
	Start    time.Time
	Client   string // address and port
	Host     string
	Method   string
	Path     string // raw, without the query, which may hold secrets
	Protocol string // HTTP/1.1, HTTP/2.0
	Status   int    // 0: none was sent
	Refused  string // why culvert refused it: "" when a server answered, or none could
	Server   string
	Tries    int
	BytesIn  int64 // of the body
	BytesOut int64
	Total    time.Duration
	Upgraded bool // a WebSocket: Total is until it was open
}

// exchange is a request with its response under way. It is the ResponseWriter:
// it counts, and gives the client time for each write.
type exchange struct {
	http.ResponseWriter
	server  *Server
	control *http.ResponseController
	report  Request
	client  *clientConn // of HTTP/1
	streams bool        // HTTP/2: a deadline ends the stream, whether something waits or not
	until   time.Time   // the write deadline that is set
	body    *body       // nil: nobody has asked for it
	in      atomic.Int64

	mu   sync.Mutex
	over bool // nothing may touch the connection any more
}

func (s *Server) newExchange(w http.ResponseWriter, r *http.Request) *exchange {
	path, err := rawPath(r)
	if err != nil {
		path = ""
	}
	x := &exchange{
		ResponseWriter: w, server: s, control: http.NewResponseController(w), streams: r.ProtoMajor > 1,
		report: Request{Start: time.Now(), Client: r.RemoteAddr, Host: r.Host, Method: r.Method, Path: path, Protocol: r.Proto},
	}
	if x.streams {
		return x
	}
	if x.client = clientConnOf(r.Context()); x.client != nil {
		x.client.lingers.Store(r.ContentLength != 0)
	}
	x.patience() // with what an earlier exchange left not even a 100 Continue might go out
	if r.ContentLength != 0 {
		x.awaitBody(x.server.limits.BodyTimeout) // also what net/http reads of a body that nobody wanted
	}
	return x
}

// done ends the exchange. The transport may still read the body, which must
// not move the deadlines of the connection's next request.
func (x *exchange) done() {
	x.mu.Lock()
	x.over = true
	x.mu.Unlock()
	if !x.streams && !x.report.Upgraded {
		// For what net/http has not sent yet; it may read the rest of a body
		// before, which has its own time.
		_ = x.control.SetWriteDeadline(time.Now().Add(2 * x.server.limits.BodyTimeout))
	}
	if x.server.cfg.Report == nil {
		return
	}
	x.report.BytesIn = x.in.Load()
	x.report.Total = time.Since(x.report.Start)
	x.server.cfg.Report(&x.report)
}

// Unwrap lets an http.ResponseController through.
func (x *exchange) Unwrap() http.ResponseWriter { return x.ResponseWriter }

// WriteHeader is http.ResponseWriter's.
func (x *exchange) WriteHeader(status int) {
	if status < 200 {
		x.announce(status)
		return
	}
	x.report.Status = status
	if _, ok := x.Header()["Content-Type"]; !ok {
		x.Header()["Content-Type"] = nil // or Go would guess one
	}
	if !x.streams {
		x.patience()
		x.leaveBody()
	}
	x.ResponseWriter.WriteHeader(status)
}

// announce sends a response that only announces the one to come. Over HTTP/2
// net/http may still be writing the headers when it returns, because the client
// has gone, and ReverseProxy clears them; with a length it writes a copy.
func (x *exchange) announce(status int) {
	h := x.Header()
	cleanResponse(h, x.server.cfg.StripResponse)
	if x.streams {
		h.Set("Content-Length", "0")
		defer h.Del("Content-Length")
	}
	x.ResponseWriter.WriteHeader(status)
}

// heardOut notes that the client says nothing more, so that its connection need
// not linger when it is closed.
func (x *exchange) heardOut() {
	if x.client != nil {
		x.client.lingers.Store(false)
	}
}

// leaveBody has the connection closed when the response comes before the body
// was read: net/http would first read on, and a client that waits for the
// response sends nothing.
func (x *exchange) leaveBody() {
	if x.body != nil && !x.body.ended.Load() {
		x.Header().Set("Connection", "close")
	}
}

// Write is http.ResponseWriter's.
func (x *exchange) Write(b []byte) (int, error) {
	if x.report.Status == 0 {
		x.report.Status = http.StatusOK
	}
	x.patience()
	n, err := x.ResponseWriter.Write(b)
	x.report.BytesOut += int64(n)
	return n, err
}

// FlushError is for an http.ResponseController.
func (x *exchange) FlushError() error {
	x.patience()
	err := x.control.Flush()
	x.rest()
	return err
}

// patience moves the write deadline on, when a quarter of it has passed.
func (x *exchange) patience() {
	now, most := time.Now(), x.server.limits.BodyTimeout
	if x.until.Sub(now) > most*3/4 {
		return
	}
	x.until = now.Add(most)
	_ = x.control.SetWriteDeadline(x.until)
}

// rest is for as long as there is nothing to write.
func (x *exchange) rest() {
	if x.streams {
		x.until = time.Time{}
		_ = x.control.SetWriteDeadline(x.until)
	}
}

// awaitBody gives the client time for the next bytes of its body.
func (x *exchange) awaitBody(most time.Duration) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.over {
		_ = x.control.SetReadDeadline(time.Now().Add(most))
	}
	return !x.over
}

// restBody is for as long as nobody waits for the body: net/http goes on to
// read, to see when the client leaves, and takes a deadline for that.
func (x *exchange) restBody() {
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.over {
		_ = x.control.SetReadDeadline(time.Time{})
	}
}

// refuse answers without asking a server.
func (x *exchange) refuse(status int, why string) {
	x.report.Refused = why
	x.answer(status)
}

// abandon ends the exchange of a client that has gone.
func (x *exchange) abandon() {
	x.report.Refused = "client_gone"
	x.heardOut()
	panic(http.ErrAbortHandler)
}

// answer sends a page of culvert's own, with more headers: names and values in
// turn.
func (x *exchange) answer(status int, more ...string) {
	h := x.Header()
	clear(h)
	for ; len(more) > 0; more = more[2:] {
		h.Set(more[0], more[1])
	}
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	x.WriteHeader(status)
	if x.report.Method != http.MethodHead {
		_, _ = io.WriteString(x, http.StatusText(status)+"\n")
	}
}

// body is a request's body: bounded, counted, and read with a deadline each
// time. Close leaves it open, so that a request can be tried again; net/http
// closes the one inside.
type body struct {
	io.Reader
	x       *exchange
	touched atomic.Bool // a byte was asked for
	ended   atomic.Bool // all of it was read
	failed  atomic.Pointer[bodyError]
	waited  time.Duration // for the client, in all
}

// bodyError is why a body could not be read: the client's doing.
type bodyError struct{ err error }

func (e *bodyError) Error() string { return "read the body: " + e.err.Error() }
func (e *bodyError) Unwrap() error { return e.err }

func (x *exchange) bodyOf(r *http.Request) *body {
	x.body = &body{Reader: http.MaxBytesReader(nil, r.Body, x.server.limits.MaxBody), x: x}
	return x.body
}

func (b *body) Read(p []byte) (int, error) {
	b.touched.Store(true)
	if !b.x.awaitBody(b.patience()) {
		return 0, http.ErrBodyReadAfterClose
	}
	start := time.Now()
	n, err := b.Reader.Read(p)
	b.waited += time.Since(start)
	b.x.in.Add(int64(n))
	if err == io.EOF {
		b.ended.Store(true)
		b.x.heardOut()
	}
	if err == io.EOF || b.x.streams {
		b.x.restBody()
	}
	if err != nil && err != io.EOF {
		failed := &bodyError{err}
		b.failed.Store(failed)
		return n, failed
	}
	return n, err
}

// patience is how long the client may take for its next bytes. It has
// BodyTimeout in all, and more as it sends, at the least rate: a byte now and
// then keeps nothing busy for days. What the server takes does not count.
func (b *body) patience() time.Duration {
	l := &b.x.server.limits
	earned := float64(b.x.in.Load()) / float64(l.MinBodyRate) * float64(time.Second)
	return min(l.BodyTimeout, l.BodyTimeout+time.Duration(earned)-b.waited)
}

// Close does nothing.
func (b *body) Close() error { return nil }
