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

// maxResponseHeader bounds the headers of a response together with those of the
// informational responses before it, in bytes.
const maxResponseHeader = 256 << 10

// serverBuffer is the size in bytes of the buffers for the headers that are read
// from a server and written to it. Bodies use larger buffers.
const serverBuffer = 4 << 10

// serverConn is a connection to a server, used for one request after another.
// The goroutine of the request reads the response; a body is sent by another
// goroutine, so that the server may answer before it has all of the body.
type serverConn struct {
	net.Conn
	below  net.Conn // the connection under TLS, or Conn itself
	limits *Limits
	reader *bufio.Reader
	writer *bufio.Writer
	free   func()    // called when the connection is ready for another request
	since  time.Time // when it became idle

	headerLeft int64     // bytes that may still be read; unbounded for bodies
	heard      bool      // a byte of the response has been read
	failed     error     // last read error; bufio does not report it after part of a line
	writeUntil time.Time // write deadline, accurate to deadlineSlack
	unsent     bool      // a write failed; used only by the goroutine that writes

	mu        sync.Mutex
	readUntil time.Time // read deadline, accurate to deadlineSlack; zero: none
	answered  bool      // the headers of the response have been read

	// State of the current request.
	leave  func() bool // stops watching its context
	body   *sending    // nil: none
	halves atomic.Int32
	unfit  atomic.Bool // not usable for another request
	grace  *time.Timer // bounds a body that is still being sent
}

func newServerConn(conn net.Conn, l *Limits) *serverConn {
	c := &serverConn{Conn: conn, below: conn, limits: l}
	if t, ok := conn.(*tls.Conn); ok {
		c.below = t.NetConn()
	}
	c.reader, c.writer = bufio.NewReaderSize(c, serverBuffer), bufio.NewWriterSize(c, serverBuffer)
	return c
}

// abort closes the connection, which ends all waits on the server.
func (c *serverConn) abort() { _ = c.below.Close() }

// awaitResponse sets the deadline for the headers of the response to
// ResponseTimeout from now.
func (c *serverConn) awaitResponse() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if until := time.Now().Add(c.limits.ResponseTimeout); !c.answered && until.Sub(c.readUntil) > c.deadlineSlack() {
		c.setRead(until)
	}
}

// deadlineSlack is how much too early a deadline may be. It saves setting one
// that is extended all the time.
func (c *serverConn) deadlineSlack() time.Duration {
	return min(time.Second, c.limits.ResponseTimeout/10)
}

func (c *serverConn) setRead(until time.Time) {
	if until != c.readUntil {
		c.readUntil = until
		_ = c.Conn.SetReadDeadline(until)
	}
}

// detach returns the underlying connection, without deadlines, when it is no
// longer used for HTTP.
func (c *serverConn) detach() net.Conn {
	if !c.leave() {
		c.abort()
	}
	_ = c.SetDeadline(time.Time{})
	return c.Conn
}

// quiet reports whether the server has neither closed the connection nor sent
// anything after the last response, which would be taken for the next response.
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
	_, err := c.reader.Peek(1) // returns what was in the same TLS record as the response
	return errors.Is(err, os.ErrDeadlineExceeded)
}

// Read implements io.Reader, for reader.
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

var errResponseHeader = fmt.Errorf("response headers are longer than %d bytes", maxResponseHeader)

// Write implements io.Writer, for writer. Each Write has ResponseTimeout.
func (c *serverConn) Write(b []byte) (int, error) {
	if until := time.Now().Add(c.limits.ResponseTimeout); until.Sub(c.writeUntil) > c.deadlineSlack() {
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

// ReadFrom implements io.ReaderFrom: bodies do not use writer's buffer.
func (c *serverConn) ReadFrom(r io.Reader) (int64, error) {
	b := buffers.Get()
	defer buffers.Put(b)
	return io.CopyBuffer(struct{ io.Writer }{c}, r, b)
}
