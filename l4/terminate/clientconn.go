package terminate

import (
	"context"
	"net"
	"sync/atomic"
	"time"
)

// clientConn is a client's connection as crypto/tls reads and writes it.
//
// From beginHandshake to endHandshake it holds a slot of the limiter, except
// while a Read waits for the client; only the goroutine of the handshake uses
// it until then. Afterwards it bounds writes that have no deadline, and
// decides whether Close lingers.
type clientConn struct {
	net.Conn
	limiter *HandshakeLimiter // nil after the handshake
	ctx     context.Context   // ends a wait for a slot; nil after the handshake
	holds   bool              // a slot
	open    *openConns        // where Close removes it; nil: the route asks for no certificate

	writeTimeout time.Duration // for each write without a deadline; 0: none. Set only while no other goroutine uses c
	hasDeadline  atomic.Bool   // the user of c has set a deadline for writes
	lingers      atomic.Bool   // the client may still be sending: Close lingers
}

// Write implements io.Writer. crypto/tls also writes during a Read, when the
// client asks for new keys, and net/http sets write deadlines only for
// responses. Without a deadline here, a client that does not read would block
// the Read that waits for its headers beyond their timeout.
func (c *clientConn) Write(b []byte) (int, error) {
	if c.writeTimeout > 0 && !c.hasDeadline.Load() {
		_ = c.Conn.SetWriteDeadline(time.Now().Add(c.writeTimeout))
	}
	return c.Conn.Write(b)
}

// SetWriteDeadline implements net.Conn.
func (c *clientConn) SetWriteDeadline(t time.Time) error {
	c.hasDeadline.Store(!t.IsZero())
	return c.Conn.SetWriteDeadline(t)
}

// SetDeadline implements net.Conn.
func (c *clientConn) SetDeadline(t time.Time) error {
	c.hasDeadline.Store(!t.IsZero())
	return c.Conn.SetDeadline(t)
}

// Close implements net.Conn.
func (c *clientConn) Close() error {
	if c.open != nil {
		c.open.remove(c)
	}
	if c.lingers.Load() {
		go c.linger() // net/http holds locks while it closes connections
		return nil
	}
	return c.Conn.Close()
}

// Read implements io.Reader.
func (c *clientConn) Read(b []byte) (n int, err error) {
	if e := c.withoutSlot(func() { n, err = c.Conn.Read(b) }); e != nil {
		return 0, e
	}
	return n, err
}

// beginHandshake waits for a slot, at most until ctx is done.
func (c *clientConn) beginHandshake() error {
	err := c.limiter.acquire(c.ctx)
	c.holds = err == nil
	return err
}

func (c *clientConn) endHandshake() {
	if c.holds {
		c.limiter.release()
	}
	c.holds, c.ctx, c.limiter = false, nil, nil
}

// withoutSlot calls wait, which waits for a peer, and gives back the slot for
// that time. After an error, c holds no slot because ctx was done before one was
// free, and the handshake must end.
func (c *clientConn) withoutSlot(wait func()) error {
	if !c.holds {
		wait()
		return nil
	}
	c.limiter.release()
	wait()
	return c.beginHandshake()
}
