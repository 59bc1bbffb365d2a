package terminate

import (
	"context"
	"net"
	"sync/atomic"
	"time"
)

// Gate bounds how many handshakes compute at once, so that they leave
// processors to others: a handshake holds its place while it signs and
// verifies, not while it waits for its client.
// A nil Gate has room for all.
type Gate struct{ places chan struct{} }

// NewGate returns a Gate with room for n at once, at least one.
func NewGate(n int) *Gate { return &Gate{make(chan struct{}, max(1, n))} }

func (g *Gate) enter(ctx context.Context) error {
	if g == nil {
		return nil
	}
	select {
	case g.places <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (g *Gate) leave() {
	if g != nil {
		<-g.places
	}
}

// gated is the connection under a handshake: it has a place at the gate from
// begin to end, but for the time of a Read. One goroutine uses it until then.
type gated struct {
	net.Conn
	gate *Gate
	ctx  context.Context
	held bool
	in   *roster // nil: nobody asks for certificates

	patience time.Duration // for a write that has no deadline; 0: none. Changed by who has c alone
	bounded  atomic.Bool   // writes have a deadline of somebody's
	lingers  atomic.Bool   // the client may be sending when c is closed
}

// Write is io.Writer's. crypto/tls also writes while it reads, when a client
// asks for new keys, and net/http has a deadline for responses only: a client
// that reads no answer would hold up its own headers' timeout.
func (c *gated) Write(b []byte) (int, error) {
	if c.patience > 0 && !c.bounded.Load() {
		_ = c.Conn.SetWriteDeadline(time.Now().Add(c.patience))
	}
	return c.Conn.Write(b)
}

// SetWriteDeadline is net.Conn's.
func (c *gated) SetWriteDeadline(t time.Time) error {
	c.bounded.Store(!t.IsZero())
	return c.Conn.SetWriteDeadline(t)
}

// SetDeadline is net.Conn's.
func (c *gated) SetDeadline(t time.Time) error {
	c.bounded.Store(!t.IsZero())
	return c.Conn.SetDeadline(t)
}

// Close is net.Conn's.
func (c *gated) Close() error {
	if c.in != nil {
		c.in.remove(c)
	}
	if c.lingers.Load() {
		go c.linger() // net/http closes connections while it holds locks
		return nil
	}
	return c.Conn.Close()
}

func (c *gated) begin() error {
	err := c.gate.enter(c.ctx)
	c.held = err == nil
	return err
}

func (c *gated) end() {
	if c.held {
		c.gate.leave()
	}
	c.held, c.ctx, c.gate = false, nil, nil
}

// Read is io.Reader's.
func (c *gated) Read(b []byte) (n int, err error) {
	if e := c.outside(func() { n, err = c.Conn.Read(b) }); e != nil {
		return 0, e
	}
	return n, err
}

// outside has f wait for somebody without a place at the gate.
func (c *gated) outside(f func()) error {
	if !c.held {
		f()
		return nil
	}
	c.gate.leave()
	f()
	return c.begin()
}
