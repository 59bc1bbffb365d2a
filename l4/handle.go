package l4

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"culvert/l4/socket"
	"culvert/sniff"
)

// Handler serves the connections of a route, or of a listener without routes,
// itself: it terminates TLS, or answers in clear text. Handlers are compared:
// routes with one and the same Handler are one to Handled.Leads.
type Handler interface {
	// Handle is called in a goroutine of its own. The connection lives until
	// h is closed, which may be after Handle has returned.
	Handle(h *Handled)
}

// Handled is the client's side of a connection that a Handler serves: a
// net.Conn whose first bytes are those that were read to route it. It stays in
// the engine's accounts: it counts for all limits, is listed, closed on demand
// and drained, and has its Record when it ends. An upgrade leaves it in the
// process where it is.
type Handled struct {
	net.Conn // deadlines

	Client   netip.AddrPort // as a PROXY header said; zero for a unix peer
	Local    netip.AddrPort // where it connected to, likewise
	Deadline time.Time      // of the hello, and of the handshake with it; zero: none
	ID       string         // of the connection, different from all others on any machine

	eng    *Engine
	loop   *loop
	ref    ref
	table  *Table // nil: the listener has no routes
	route  *Route
	name   string             // as the record has it
	offer  sniff.ProtocolList // of the hello, complete; nil: none, or no hello was read
	prefix []byte             // read, and not taken yet

	mu     sync.Mutex
	closed bool

	up, down atomic.Uint64
	active   atomic.Int64 // the engine's clock at the last byte
	end      atomic.Uint32
	server   atomic.Pointer[string]
}

// Values of Handled.end: how the client ended, as far as a read saw it.
const (
	endNone = iota
	endFIN
	endReset
)

// handle gives c to h. The descriptor leaves the loop for good. offer is the
// ALPN list of c's hello, which is copied; nil without a hello.
func (l *loop) handle(c *conn, h Handler, offer sniff.ProtocolList) {
	e := &c.ends[client]
	fd := int(e.fd)
	if e.watched {
		l.poll.Del(fd)
	}
	x := &Handled{
		Client: c.client, Local: c.localAddr(), ID: l.eng.uniqueID(c.id), name: c.name,
		eng: l.eng, loop: l, ref: c.ref(), table: c.from.cfg.Table, route: c.route, offer: bytes.Clone(offer),
	}
	if c.from.cfg.Table != nil {
		if at := c.helloDeadline(); at != 0 {
			x.Deadline = l.eng.wall(at)
		}
	}
	if c.search != nil {
		x.prefix = bytes.Clone(c.search.hello)
	}
	x.active.Store(int64(l.now))
	l.freeSearch(c)
	*e = noEnd
	c.handled, c.phase, c.active = x, phaseHandled, l.now
	l.schedule(c)
	go x.run(fd, &c.from.cfg.TCP, h)
}

// run makes the descriptor a net.Conn and calls the handler.
func (x *Handled) run(fd int, o *socket.Options, h Handler) {
	conn, err := socket.Conn(fd, o)
	x.mu.Lock()
	x.Conn = conn
	gone := x.closed
	x.mu.Unlock()
	if err != nil || gone {
		if err == nil {
			_ = conn.Close()
		}
		x.finish(ReasonNoResources)
		return
	}
	h.Handle(x)
}

// Read is io.Reader's.
func (x *Handled) Read(b []byte) (n int, err error) {
	if len(x.prefix) > 0 {
		n = copy(b, x.prefix)
		x.prefix = x.prefix[n:]
		if len(x.prefix) == 0 {
			x.prefix = nil
		}
	} else {
		n, err = x.Conn.Read(b)
	}
	x.up.Add(uint64(n))
	x.active.Store(int64(x.eng.now()))
	switch {
	case errors.Is(err, io.EOF):
		x.noteEnd(0)
	case errors.Is(err, syscall.ECONNRESET):
		x.noteEnd(syscall.ECONNRESET)
	}
	return n, err
}

// noteEnd records how the client ended; later calls change nothing.
func (x *Handled) noteEnd(e socket.Errno) {
	switch e {
	case 0:
		x.end.CompareAndSwap(endNone, endFIN)
	case syscall.ECONNRESET:
		x.end.CompareAndSwap(endNone, endReset)
	}
}

// Write is io.Writer's.
func (x *Handled) Write(b []byte) (int, error) {
	n, err := x.Conn.Write(b)
	x.down.Add(uint64(n))
	x.active.Store(int64(x.eng.now()))
	return n, err
}

// RemoteAddr is Client, where it has one.
func (x *Handled) RemoteAddr() net.Addr {
	if x.Client.IsValid() {
		return net.TCPAddrFromAddrPort(x.Client)
	}
	return x.Conn.RemoteAddr()
}

// LocalAddr is Local, where there is one.
func (x *Handled) LocalAddr() net.Addr {
	if x.Local.IsValid() {
		return net.TCPAddrFromAddrPort(x.Local)
	}
	return x.Conn.LocalAddr()
}

// CloseWrite sends a FIN.
func (x *Handled) CloseWrite() error {
	if half, ok := x.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}

// Close closes the connection. The record says that the client ended it if a
// read saw that, else that culvert did.
func (x *Handled) Close() error {
	if !x.cut() {
		return net.ErrClosed
	}
	x.finish(ReasonClosed)
	return nil
}

// Fail is Close with the reason why the connection could not be served.
func (x *Handled) Fail(r Reason) {
	if x.cut() {
		x.finish(r)
	}
}

// Caller returns what a PROXY header to a server says of the client.
func (x *Handled) Caller() Caller {
	return Caller{Client: x.Client, Local: x.Local, Name: x.name, ALPN: string(x.offer.First()), ID: x.ID}
}

// Served records the server that answered last.
func (x *Handled) Served(server string) { x.server.Store(&server) }

func (x *Handled) servedBy() string {
	if s := x.server.Load(); s != nil {
		return *s
	}
	return ""
}

// lastActive is when the last byte moved, on the engine's clock.
func (x *Handled) lastActive() time.Duration { return time.Duration(x.active.Load()) }

// describe fills in what the handler knows and the loop does not.
func (x *Handled) describe(to *Connection) {
	to.Server = x.servedBy()
	to.Idle = x.eng.now() - x.lastActive()
	to.BytesUp, to.BytesDown = x.up.Load(), x.down.Load()
}

// Leads reports whether a hello that names host, and is else like this one,
// would have come to the same Handler. A host that is not a host name leads to none.
func (x *Handled) Leads(host string) bool {
	if x.table == nil {
		return false
	}
	name, err := sniff.AppendName(nil, host)
	if err != nil {
		return false
	}
	to := x.table.Lookup(name, x.offer).Route
	return to == x.route || to.Handler != nil && to.Handler == x.route.Handler
}

// cut closes the socket. It reports false if that was done before.
func (x *Handled) cut() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.closed {
		return false
	}
	x.closed = true
	if x.Conn == nil {
		return true
	}
	x.noteEnd(socket.Ended(x.Conn)) // a close_notify that was not read comes before the FIN
	_ = x.Conn.Close()
	return true
}

// finish tells the loop that the connection has ended, unless the loop did
// that itself.
func (x *Handled) finish(why Reason) {
	by := Culvert
	switch {
	case why != ReasonClosed:
	case x.end.Load() == endFIN:
		by = Client
	case x.end.Load() == endReset:
		by, why = Client, ReasonReset
	}
	x.loop.post(func(l *loop) {
		if c := x.ref.alive(); c != nil {
			l.finish(c, by, why)
		}
	})
}

// settleHandled adds the handler's counts to c, and closes the connection if it is
// still open.
func (c *conn) settleHandled() {
	x := c.handled
	if x == nil {
		return
	}
	c.flows[client].bytes, c.flows[server].bytes = x.up.Load(), x.down.Load()
	x.cut()
}
