package l4

import (
	"net/netip"
	"syscall"

	"culvert/l4/socket"
)

// acceptBatch is how many connections one iteration takes from one listener.
const acceptBatch = 32

// accept takes connections until the queue is empty, the batch is full, or a
// limit is reached. At a limit the listener pauses: clients wait in the
// kernel's queue, as with nginx and HAProxy. It reports whether the batch was
// full.
func (l *loop) accept(a *accepter) bool {
	if a.closed {
		return false
	}
	for range acceptBatch {
		if !l.eng.reserve(a) {
			l.pause(a, l.eng.fullBy(a))
			return false
		}
		fd, peer, e := a.sock.Accept()
		if e != 0 {
			l.eng.unreserve(a.shared)
			if l.acceptFailed(a, e) {
				return false
			}
			continue
		}
		l.counters.accepted(a.shared.id)
		l.welcome(a, fd, peer)
		if a.paused {
			return false // no descriptor was left to dial with
		}
	}
	return true
}

// acceptFailed reports whether accepting ends for now. Errors of a single
// connection do not end it (accept(2), "Error handling").
func (l *loop) acceptFailed(a *accepter, e socket.Errno) bool {
	switch {
	case e == syscall.EAGAIN:
		return true
	case exhausted(e):
		l.pause(a, shortage{"descriptors", 0, e})
		return true
	case e == syscall.EBADF, e == syscall.EINVAL, e == syscall.ENOTSOCK, e == syscall.EOPNOTSUPP:
		l.eng.log().Error("accept failed for good", "listener", a.cfg.Name, "error", e)
		a.close()
		return true
	}
	return false
}

// welcome makes a conn of an accepted socket and starts its first phase.
func (l *loop) welcome(a *accepter, fd int, peer netip.AddrPort) {
	c := l.admit()
	c.from, c.client = a, peer
	c.ends[client].fd, c.ends[client].unix = int32(fd), a.cfg.Address.IsUnix()
	c.header = a.cfg.Proxied
	if c.header && !c.trusted() {
		l.finish(c, Culvert, ReasonProxyUntrusted)
		return
	}
	if a.cfg.Table == nil && !c.header {
		l.begin(c)
		return
	}
	c.phase = phaseHello
	c.ends[client].readable = true // mostly true, by TCP_DEFER_ACCEPT
	l.readHello(c)
}

// begin starts the dial, or the handler, of a listener without routes: after
// accept, or after the PROXY header.
func (l *loop) begin(c *conn) {
	if h := c.from.cfg.Handler; h != nil {
		l.handle(c, h, nil)
		return
	}
	if c.search == nil {
		c.search = l.newSearch()
	}
	c.pool = c.from.cfg.Pool
	l.startDial(c)
}
