package terminate

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
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

// abort ends everything that waits for the server.
func (c *serverConn) abort() { _ = c.below.Close() }

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

// detach returns what is left of c for an exchange that HTTP has nothing to do
// with any more: the connection, without bounds on waiting.
func (c *serverConn) detach() net.Conn {
	if !c.leave() {
		c.abort()
	}
	_ = c.SetDeadline(time.Time{})
	return c.Conn
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
	if err != nil {
		c.unsent = true
		c.unfit.Store(true)
	}
	return n, err
}

// ReadFrom is io.ReaderFrom's: bodies go past writer's buffer.
func (c *serverConn) ReadFrom(r io.Reader) (int64, error) {
	b := buffers.Get()
	defer buffers.Put(b)
	return io.CopyBuffer(struct{ io.Writer }{c}, r, b)
}
