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

// exchange is a request and its response. As the ResponseWriter of the request
// it counts bytes and extends the write deadline for each write.
type exchange struct {
	http.ResponseWriter
	server  *Server
	control *http.ResponseController
	report  Request
	client  *clientConn // nil for HTTP/2
	streams bool        // HTTP/2: an expired deadline ends the stream even if nothing is being written
	until   time.Time   // current write deadline
	body    *body       // nil: bodyOf was not called
	in      atomic.Int64

	mu   sync.Mutex
	over bool // set by done: the connection must not be touched any more
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
	x.extendWrite() // otherwise the deadline of an earlier exchange could expire before even a 100 Continue
	if r.ContentLength != 0 {
		x.extendRead(x.server.limits.BodyTimeout) // also bounds what net/http reads of a body that is not used
	}
	return x
}

// done ends the exchange. The goroutine that sends the body may still read it,
// and must not change the deadlines of the next request on the connection.
func (x *exchange) done() {
	x.mu.Lock()
	x.over = true
	x.mu.Unlock()
	if !x.streams && !x.report.Upgraded {
		// For what net/http has not sent yet. It may read the rest of the body
		// first, which has a time limit of its own.
		_ = x.control.SetWriteDeadline(time.Now().Add(2 * x.server.limits.BodyTimeout))
	}
	if x.server.cfg.Report == nil {
		return
	}
	x.report.BytesIn = x.in.Load()
	x.report.Total = time.Since(x.report.Start)
	x.server.cfg.Report(&x.report)
}

// Unwrap is called by http.ResponseController.
func (x *exchange) Unwrap() http.ResponseWriter { return x.ResponseWriter }

// WriteHeader implements http.ResponseWriter.
func (x *exchange) WriteHeader(status int) {
	if status < 200 {
		x.announce(status)
		return
	}
	x.report.Status = status
	if _, ok := x.Header()["Content-Type"]; !ok {
		x.Header()["Content-Type"] = nil // otherwise net/http would guess one
	}
	if !x.streams {
		x.extendWrite()
		x.closeIfUnread()
	}
	x.ResponseWriter.WriteHeader(status)
}

// announce sends an informational (1xx) response. Over HTTP/2, when the client
// has gone, net/http may still be reading the header map after it returns, while
// ReverseProxy clears it. With a Content-Length, net/http writes a copy.
func (x *exchange) announce(status int) {
	h := x.Header()
	cleanResponse(h, x.server.cfg.StripResponse)
	if x.streams {
		h.Set("Content-Length", "0")
		defer h.Del("Content-Length")
	}
	x.ResponseWriter.WriteHeader(status)
}

// noLinger notes that the client sends nothing more, so that closing its
// connection needs no lingering.
func (x *exchange) noLinger() {
	if x.client != nil {
		x.client.lingers.Store(false)
	}
}

// closeIfUnread has the connection closed after a response that is sent before
// the body was read. net/http would otherwise read the rest first, and a client
// that waits for the response does not send it.
func (x *exchange) closeIfUnread() {
	if x.body != nil && !x.body.ended.Load() {
		x.Header().Set("Connection", "close")
	}
}

// Write implements http.ResponseWriter.
func (x *exchange) Write(b []byte) (int, error) {
	if x.report.Status == 0 {
		x.report.Status = http.StatusOK
	}
	x.extendWrite()
	n, err := x.ResponseWriter.Write(b)
	x.report.BytesOut += int64(n)
	return n, err
}

// FlushError is called by http.ResponseController.
func (x *exchange) FlushError() error {
	x.extendWrite()
	err := x.control.Flush()
	x.clearWrite()
	return err
}

// extendWrite extends the write deadline to BodyTimeout from now, if at least a
// quarter of that has passed since it was set.
func (x *exchange) extendWrite() {
	now, timeout := time.Now(), x.server.limits.BodyTimeout
	if x.until.Sub(now) > timeout*3/4 {
		return
	}
	x.until = now.Add(timeout)
	_ = x.control.SetWriteDeadline(x.until)
}

// clearWrite removes the write deadline of an HTTP/2 stream while there is
// nothing to write.
func (x *exchange) clearWrite() {
	if x.streams {
		x.until = time.Time{}
		_ = x.control.SetWriteDeadline(x.until)
	}
}

// extendRead sets the read deadline for the next bytes of the body. It returns
// false after done.
func (x *exchange) extendRead(timeout time.Duration) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.over {
		_ = x.control.SetReadDeadline(time.Now().Add(timeout))
	}
	return !x.over
}

// clearRead removes the read deadline while the body is not being read. net/http
// keeps reading, to notice when the client leaves, and the deadline would
// apply to that.
func (x *exchange) clearRead() {
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.over {
		_ = x.control.SetReadDeadline(time.Time{})
	}
}

// refuse answers a request without contacting a server.
func (x *exchange) refuse(status int, why string) {
	x.report.Refused = why
	x.answer(status)
}

// abandon ends the exchange with a client that has gone. It does not return.
func (x *exchange) abandon() {
	x.report.Refused = "client_gone"
	x.noLinger()
	panic(http.ErrAbortHandler)
}

// answer sends a short response of culvert's own. more are additional headers,
// names and values alternating.
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

// body is the body of a request. Its size is bounded, its bytes are counted, and
// every Read has a deadline. Close does nothing, so that a request can be sent
// to another server; net/http closes the underlying body.
type body struct {
	io.Reader
	x       *exchange
	touched atomic.Bool // a Read was attempted
	ended   atomic.Bool // it was read to its end
	failed  atomic.Pointer[bodyError]
	waited  time.Duration // total time spent waiting for the client
}

// bodyError is a failure to read the body, caused by the client.
type bodyError struct{ err error }

func (e *bodyError) Error() string { return "read the body: " + e.err.Error() }
func (e *bodyError) Unwrap() error { return e.err }

func (x *exchange) bodyOf(r *http.Request) *body {
	x.body = &body{Reader: http.MaxBytesReader(nil, r.Body, x.server.limits.MaxBody), x: x}
	return x.body
}

func (b *body) Read(p []byte) (int, error) {
	b.touched.Store(true)
	if !b.x.extendRead(b.readTimeout()) {
		return 0, http.ErrBodyReadAfterClose
	}
	start := time.Now()
	n, err := b.Reader.Read(p)
	b.waited += time.Since(start)
	b.x.in.Add(int64(n))
	if err == io.EOF {
		b.ended.Store(true)
		b.x.noLinger()
	}
	if err == io.EOF || b.x.streams {
		b.x.clearRead()
	}
	if err != nil && err != io.EOF {
		failed := &bodyError{err}
		b.failed.Store(failed)
		return n, failed
	}
	return n, err
}

// readTimeout is how long the client may take to send its next bytes: what is
// left of BodyTimeout, which is for the whole body, plus the time that the bytes
// so far take at MinBodyRate, but at most BodyTimeout. So a client that sends a
// byte now and then cannot hold resources for days. Time that the server takes
// to accept the body does not count.
func (b *body) readTimeout() time.Duration {
	l := &b.x.server.limits
	earned := float64(b.x.in.Load()) / float64(l.MinBodyRate) * float64(time.Second)
	return min(l.BodyTimeout, l.BodyTimeout+time.Duration(earned)-b.waited)
}

// Close implements io.Closer. It does nothing.
func (b *body) Close() error { return nil }
