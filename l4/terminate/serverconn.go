package terminate

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"culvert/l4/socket"
)

// maxResponseHeader bounds the headers of a response and of all those that
// announce it, in bytes.
const maxResponseHeader = 256 << 10

// serverBuffer is what is read from a server, and written to it, at once, in
// bytes: the headers. Bodies have larger ones.
const serverBuffer = 4 << 10

// serverConn is a connection to a server, for one request after the other. The
// goroutine that has it reads; a body is sent by a goroutine of its own, so
// that a server may answer before it has all of it.
type serverConn struct {
	net.Conn
	below  net.Conn // what is under TLS; Conn without
	limits *Limits
	reader *bufio.Reader
	writer *bufio.Writer
	free   func()    // takes the connection when it is ready for the next request
	since  time.Time // it is kept

	headerLeft int64     // bytes that may be read; without a bound for bodies
	heard      bool      // a byte of the response has come
	failed     error     // why no more did: a line that is cut short is no error to bufio
	writeUntil time.Time // the deadline that is set; as good as
	unsent     bool      // a write failed; of whoever writes

	mu        sync.Mutex
	readUntil time.Time // likewise; zero: none
	answered  bool      // the headers of the response are there

	// Of the request under way.
	leave  func() bool // stops watching its context
	body   *sending    // nil: none
	halves atomic.Int32
	unfit  atomic.Bool // for another request
	grace  *time.Timer // for a body that is still being sent
}

func newServerConn(conn net.Conn, l *Limits) *serverConn {
	c := &serverConn{Conn: conn, below: conn, limits: l}
	if t, ok := conn.(*tls.Conn); ok {
		c.below = t.NetConn()
	}
	c.reader, c.writer = bufio.NewReaderSize(c, serverBuffer), bufio.NewWriterSize(c, serverBuffer)
	return c
}

// roundTrip sends a request and waits for the response, which may be 101. The
// caller calls settle when it is done with the response; after an error there
// is nothing left to do.
func (c *serverConn) roundTrip(r *http.Request) (*http.Response, error) {
	c.begin(r)
	var res *http.Response
	err := c.send(r)
	if err == nil || c.unsent { // a server that takes no more may have said why
		res, err = c.await(r)
	}
	if err == nil {
		return res, nil
	}
	c.settle(false)
	gone := r.Context().Err()
	if c.body != nil {
		err = c.body.why(err, gone != nil)
	}
	return nil, errors.Join(gone, err)
}

func (c *serverConn) begin(r *http.Request) {
	c.headerLeft, c.heard, c.failed, c.unsent = maxResponseHeader, false, nil, false
	c.answered, c.body, c.grace = false, nil, nil
	c.halves.Store(1)
	c.leave = context.AfterFunc(r.Context(), c.abort)
}

// abort ends everything that waits for the server.
func (c *serverConn) abort() { _ = c.below.Close() }

// send writes the request, or has its body written.
func (c *serverConn) send(r *http.Request) error {
	b, ok := r.Body.(*body)
	if !ok {
		c.awaitResponse()
		return c.write(r)
	}
	c.mu.Lock()
	c.setRead(time.Time{}) // the client may take its time
	c.mu.Unlock()
	c.body = newSending(b, expects(r))
	out := *r
	out.Body = c.body
	c.halves.Store(2)
	go c.sendBody(&out, c.body)
	return nil
}

func (c *serverConn) write(r *http.Request) error {
	if err := r.Write(c.writer); err != nil {
		return err
	}
	return c.writer.Flush()
}

func (c *serverConn) sendBody(r *http.Request, b *sending) {
	defer close(b.sent)
	err := c.write(r)
	c.awaitResponse()
	if err != nil && !c.unsent && b.wanting() {
		c.abort() // the server would wait for the rest
	}
	c.half(err == nil)
}

// await reads the response, and passes on those that only announce it.
func (c *serverConn) await(r *http.Request) (*http.Response, error) {
	for {
		res, err := http.ReadResponse(c.reader, r)
		if err != nil {
			if timedOut(c.failed) {
				err = c.failed
			}
			return nil, err
		}
		switch status := res.StatusCode; {
		case status < 100:
			return nil, fmt.Errorf("the server answers with status %d", status)
		case status >= 200 || status == http.StatusSwitchingProtocols:
			c.begun(res)
			return res, nil
		case status == http.StatusContinue && c.body != nil:
			c.body.agree()
			c.body.asked = true
		}
		if c.body.waits() {
			continue // net/http may be writing a 100 Continue of its own
		}
		if trace := httptrace.ContextClientTrace(r.Context()); trace != nil && trace.Got1xxResponse != nil {
			if err := trace.Got1xxResponse(res.StatusCode, textproto.MIMEHeader(res.Header)); err != nil {
				return nil, err
			}
		}
	}
}

// begun notes that a response has begun, the rest of which has all the time
// that it needs.
func (c *serverConn) begun(res *http.Response) {
	c.headerLeft = math.MaxInt64
	if res.Close {
		c.unfit.Store(true)
	}
	if c.body != nil {
		c.body.decline()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.answered = true
	if res.ContentLength < 0 || res.ContentLength > int64(c.reader.Buffered()) {
		c.setRead(time.Time{})
	}
}

// awaitResponse bounds the time until the response begins, from now on.
func (c *serverConn) awaitResponse() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if until := time.Now().Add(c.limits.ResponseTimeout); !c.answered && until.Sub(c.readUntil) > c.exactness() {
		c.setRead(until)
	}
}

// exactness is by how much a deadline that is moved on all the time may be too
// early.
func (c *serverConn) exactness() time.Duration { return min(time.Second, c.limits.ResponseTimeout/10) }

func (c *serverConn) setRead(until time.Time) {
	if until != c.readUntil {
		c.readUntil = until
		_ = c.Conn.SetReadDeadline(until)
	}
}

// settle ends the response's half of an exchange; see half. A response that
// was not read to its end takes the connection with it.
func (c *serverConn) settle(ok bool) {
	switch {
	case !ok:
		c.abort()
		if c.body != nil {
			c.body.stop() // whoever tries again has it alone
		}
	case c.halves.Load() > 1:
		c.grace = time.AfterFunc(sendingLeft, c.abort)
	}
	c.half(ok)
}

// sendingLeft is how long a body may go on when the response has ended: a
// server answers when it has all of it, so it mostly has been sent just now.
const sendingLeft = 50 * time.Millisecond

// half ends one half of an exchange, the request's or the response's. If it is
// the last, and both went well, the connection is free for the next request.
func (c *serverConn) half(ok bool) {
	if !ok {
		c.unfit.Store(true)
	}
	if c.halves.Add(-1) > 0 {
		return
	}
	aborted := !c.leave()
	if c.grace != nil {
		aborted = !c.grace.Stop() || aborted
	}
	if aborted || c.unfit.Load() || c.reader.Buffered() > 0 {
		c.abort()
		return
	}
	c.free()
}

// detach returns what is left of c for an exchange that HTTP has nothing to do
// with any more: the connection, without bounds on waiting.
func (c *serverConn) detach() net.Conn {
	if !c.leave() {
		c.abort()
	}
	_ = c.SetDeadline(time.Time{})
	return c.Conn
}

// wasStale reports whether a request failed because the server had closed the
// connection meanwhile, as it may when it is idle. Such a request may be sent
// again.
func (c *serverConn) wasStale(r *http.Request, err error) bool {
	return !c.heard && c.body == nil && idempotent(r.Method) && r.Context().Err() == nil && !timedOut(err)
}

// quiet reports whether the server has neither closed the connection nor said
// anything since the last response, which would be taken for the next one.
func (c *serverConn) quiet() bool {
	if !socket.Quiet(c.below) {
		return false
	}
	if c.Conn == c.below {
		return true
	}
	c.mu.Lock()
	c.setRead(time.Unix(1, 0))
	c.mu.Unlock()
	_, err := c.reader.Peek(1) // what came in the same record as the response
	return errors.Is(err, os.ErrDeadlineExceeded)
}

// Read is io.Reader's, for reader.
func (c *serverConn) Read(b []byte) (int, error) {
	if c.headerLeft <= 0 {
		return 0, errResponseHeader
	}
	n, err := c.Conn.Read(b[:min(int64(len(b)), c.headerLeft)])
	c.headerLeft -= int64(n)
	c.heard = c.heard || n > 0
	if err != nil {
		c.failed = err
	}
	return n, err
}

var errResponseHeader = fmt.Errorf("the headers of the response have more than %d bytes", maxResponseHeader)

// Write is io.Writer's, for writer. Each has ResponseTimeout: servers may be slow.
func (c *serverConn) Write(b []byte) (int, error) {
	if until := time.Now().Add(c.limits.ResponseTimeout); until.Sub(c.writeUntil) > c.exactness() {
		c.writeUntil = until
		_ = c.Conn.SetWriteDeadline(until)
	}
	n, err := c.Conn.Write(b)
	c.unsent = c.unsent || err != nil
	return n, err
}

// ReadFrom is io.ReaderFrom's: bodies go past writer's buffer.
func (c *serverConn) ReadFrom(r io.Reader) (int64, error) {
	b := buffers.Get()
	defer buffers.Put(b)
	return io.CopyBuffer(struct{ io.Writer }{c}, r, b)
}
