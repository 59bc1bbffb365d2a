package l4

import (
	"syscall"

	"culvert/l4/socket"
)

// flow is one direction: from the end it is indexed by to the other.
//
//	open  -> ended   the source's FIN was read, or the source broke
//	ended -> shut    what was pending is written and the FIN passed on
//	open  -> shut    the destination broke: nothing can be delivered
type flow struct {
	state    flowState
	splicing bool // bytes move by pipe, not through the loop's buffer
	watched  bool // in the loop's list of pipes that may be stuck
	full     uint8
	run      uint32   // bytes since the other flow moved any; stops at bigRun
	pending  *pending // bytes that the destination did not take yet
	pipe     *socket.Pipe
	bytes    uint64 // handed to the destination's socket
}

// flowState is sent in a Handover: a value never changes its meaning.
type flowState uint8

const (
	flowOpen  flowState = 0
	flowEnded flowState = 1
	flowShut  flowState = 2
)

// relay moves what can be moved both ways.
func (l *loop) relay(c *conn) {
	if l.clientGone(c) {
		return
	}
	if l.pump(c, server) && l.pump(c, client) {
		l.checkServerReset(c)
	}
}

// pump moves the bytes of flow f until the source is empty, the destination
// full, or the quantum is used up. It reports whether c is still in the relay.
func (l *loop) pump(c *conn, f side) bool {
	fl, src := &c.flows[f], &c.ends[f]
	for budget := quantum; ; {
		if !l.flush(c, f) {
			return c.phase == phaseRelay
		}
		if fl.state == flowEnded {
			return l.endFlow(c, f)
		}
		if fl.state == flowShut || !src.readable {
			return true
		}
		if budget <= 0 {
			l.later(c)
			return true
		}
		n, ok := l.move(c, f)
		if !ok {
			return c.phase == phaseRelay
		}
		budget -= n
	}
}

// move takes bytes from the source of f once and hands them to the
// destination. It reports false when the quantum is used up.
func (l *loop) move(c *conn, f side) (int, bool) {
	if c.flows[f].splicing {
		return l.splice(c, f)
	}
	return l.copy(c, f)
}

// sourceEnded notes the FIN of the source of f.
func (l *loop) sourceEnded(c *conn, f side) bool {
	if f == server && l.earlyEnd(c, c.earlyReason()) {
		return false
	}
	c.noteEnd(f)
	c.flows[f].state = flowEnded
	return true
}

// sourceFailed handles an error of reading the source of f. A server's data
// came before its reset, so the flow ends like any other, and the client gets
// its reset after it.
func (l *loop) sourceFailed(c *conn, f side, e socket.Errno) bool {
	if f == client {
		l.clientBroken(c, e)
		return false
	}
	if l.earlyEnd(c, ReasonResetEarly) {
		return false
	}
	l.serverBroken(c, e)
	c.flows[server].state = flowEnded
	return true
}

// destinationFailed handles an error of writing to the destination of f.
func (l *loop) destinationFailed(c *conn, f side, e socket.Errno) {
	if f == server {
		l.clientBroken(c, e)
		return
	}
	if c.mayReplay() && l.earlyEnd(c, ReasonResetEarly) {
		return
	}
	l.serverBroken(c, e)
	l.later(c) // what the server sent before is still to be read
}

// serverBroken notes that the server's connection is reset or given up: no
// byte can reach it any more.
func (l *loop) serverBroken(c *conn, e socket.Errno) {
	c.ends[server].broken = true
	c.ends[server].readable = true
	c.noteEnd(server)
	if c.ending == nil {
		c.ending = &ending{by: Server, reason: brokenReason(e)}
	}
	l.dropFlow(c, client)
	c.flows[client].state = flowShut
	if c.phase == phaseRelay {
		c.active = l.now
		l.schedule(c) // the half-close timeout
	}
}

// clientBroken ends everything at once: nothing can reach the client, and the
// server learns it in the same way.
func (l *loop) clientBroken(c *conn, e socket.Errno) {
	c.ends[client].broken = true
	c.ends[server].broken = true
	l.finish(c, Client, brokenReason(e))
}

// clientGone looks at an error that an event reported for the client, also
// while nothing is read from it.
func (l *loop) clientGone(c *conn) bool {
	e := &c.ends[client]
	if !e.err {
		return false
	}
	e.err = false
	errno := socket.Err(int(e.fd))
	if errno == 0 {
		return false
	}
	l.clientBroken(c, errno)
	return true
}

// checkServerReset finds a reset that comes after the server's FIN, when
// nothing reads from it any more.
func (l *loop) checkServerReset(c *conn) {
	e := &c.ends[server]
	if c.flows[server].state != flowShut {
		return
	}
	if e.err && !e.broken {
		e.err = false
		if errno := socket.Err(int(e.fd)); errno != 0 {
			l.serverBroken(c, errno)
		}
	}
	if e.broken {
		l.resetClient(c)
	}
}

// noteEnd records which side ended first.
func (c *conn) noteEnd(by side) {
	if c.first == Culvert {
		c.first = by.party()
	}
}

// endFlow passes the end of f's source on, after all its bytes, and reports
// whether c is still in the relay.
func (l *loop) endFlow(c *conn, f side) bool {
	c.flows[f].state = flowShut
	switch {
	case f == server && c.ends[server].broken:
		l.resetClient(c)
		return false
	case c.flows[f.other()].state == flowShut:
		l.finish(c, c.first, ReasonClosed)
		return false
	case c.session().KeepHalfClose == SwitchOff:
		l.closeBoth(c, f)
		return false
	}
	if c.search != nil {
		c.search.replay = false // the client has ended
	}
	socket.ShutdownWrite(int(c.ends[f.other()].fd))
	c.active = l.now // what follows has the half-close timeout from here
	l.schedule(c)
	return true
}

// closeBoth ends a connection that does not keep half-closes: f's source has
// ended and its bytes are delivered. Input that the client sent meanwhile, of
// which no event need have told yet, would turn the close into a reset that
// could overtake those bytes, so it is looked for and read first.
func (l *loop) closeBoth(c *conn, f side) {
	if f == server {
		if _, e := socket.Peek(int(c.ends[client].fd), l.buf[:1]); e != syscall.EAGAIN {
			l.linger(c, c.first, ReasonClosed)
			return
		}
	}
	l.finish(c, c.first, ReasonClosed)
}

// progress notes that n bytes of f were handed on.
func (l *loop) progress(c *conn, f side, n int) {
	fl := &c.flows[f]
	fl.bytes += uint64(n)
	fl.run = min(fl.run+uint32(n), bigRun)
	c.flows[f.other()].run = 0
	c.active = l.now
	l.counters.moved(c, f, n)
}

// firstByte ends the search for a server: it has answered.
func (l *loop) firstByte(c *conn) {
	c.firstAt = c.since(l.now)
	l.answered(c)
	l.schedule(c)
}

// flush writes what is pending in f and reports whether nothing is left and
// c is still in the relay.
func (l *loop) flush(c *conn, f side) bool {
	fl := &c.flows[f]
	if fl.pending == nil && fl.pipe == nil {
		return true
	}
	if c.ends[f.other()].blocked {
		return false
	}
	if fl.pending != nil {
		return l.flushPending(c, f)
	}
	return l.flushPipe(c, f)
}

// dropFlow throws away what is pending in f.
func (l *loop) dropFlow(c *conn, f side) {
	fl := &c.flows[f]
	l.dropPending(fl)
	if fl.pipe != nil {
		l.pipes.put(fl.pipe)
	}
	*fl = flow{bytes: fl.bytes}
}

// block notes that end s takes no more until OUT is reported. The end is
// watched already, and changing that needs no memory: it does not fail.
func (l *loop) block(c *conn, s side) {
	c.ends[s].blocked = true
	l.watchOut(c, s)
}
