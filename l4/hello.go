package l4

import (
	"errors"
	"syscall"

	"culvert/l4/socket"
	"culvert/sniff"
)

// helloSlack is how much more than a whole hello one read may bring: early
// data that the client sent along.
const helloSlack = 4 << 10

// readHello reads until the hello is whole, rejected, or not there yet.
func (l *loop) readHello(c *conn) {
	e := &c.ends[client]
	for e.readable {
		n, errno := socket.Read(int(e.fd), l.buf[:l.helloRoom(c)])
		switch {
		case errno == syscall.EAGAIN:
			e.readable = false
		case errno != 0:
			l.clientBroken(c, errno)
			return
		case n == 0:
			l.finish(c, Client, ReasonHelloClosed)
			return
		default:
			e.readable = n == l.helloRoom(c) || e.fin || e.urgent
			if !l.moreHello(c, l.buf[:n]) {
				return
			}
		}
	}
	l.waitForHello(c)
}

// helloRoom is how many bytes may be read: the cap, and a little that may
// follow the hello.
func (l *loop) helloRoom(c *conn) int {
	room := c.at.maxHello() + helloSlack
	if c.try != nil {
		room -= len(c.try.hello)
	}
	return min(room, len(l.buf))
}

func (l *Listener) maxHello() int {
	if l.MaxHello > 0 {
		return l.MaxHello
	}
	return sniff.DefaultLimit
}

func (a *accepter) maxHello() int { return a.cfg.maxHello() }

// moreHello looks at the bytes so far with b behind them and reports whether
// more are needed.
func (l *loop) moreHello(c *conn, b []byte) bool {
	if c.try == nil {
		c.try = l.newAttempt()
		c.try.parser.Limit = c.at.maxHello()
	}
	a := c.try
	a.hello = appendBounded(a.hello, b, c.at.maxHello()+helloSlack)
	err := a.parser.Parse(a.hello, &l.hello)
	var reject *sniff.Reject
	switch {
	case err == nil:
		l.routeHello(c)
	case errors.Is(err, sniff.ErrNeedMore):
		return l.keepHello(c)
	case errors.As(err, &reject):
		l.rejectHello(c, reject)
	}
	return false
}

// appendBounded is append, except that what comes in one piece takes no more
// memory than it has bytes, and what grows never more than limit, which is as
// much as there can be.
func appendBounded(dst, b []byte, limit int) []byte {
	if need := len(dst) + len(b); need > cap(dst) {
		dst = append(make([]byte, 0, min(max(need, 2*cap(dst)), limit)), dst...)
	}
	return append(dst, b...)
}

// keepHello counts the waiting bytes and the waiting connection against their
// limits, and reports whether the connection may wait.
func (l *loop) keepHello(c *conn) bool {
	if !c.waits && !l.eng.waiting.enter(c.client.Addr()) {
		l.finish(c, Culvert, ReasonHelloLimit)
		return false
	}
	c.waits = true
	grown := cap(c.try.hello) - c.try.kept
	c.try.kept += grown
	if l.eng.kept.Add(int64(grown)) > l.eng.maxKept {
		l.finish(c, Culvert, ReasonMemoryLimit)
		return false
	}
	return true
}

// waitForHello arms the deadline, which counts from accept and is absolute.
func (l *loop) waitForHello(c *conn) {
	if !c.waits && !l.eng.waiting.enter(c.client.Addr()) {
		l.finish(c, Culvert, ReasonHelloLimit)
		return
	}
	c.waits = true
	if !l.watch(c, client) {
		l.noResources(c, syscall.ENOMEM)
		return
	}
	if c.timer.in == nil {
		l.schedule(c)
	}
}

// helloDone ends the waiting: what was counted is given back.
func (l *loop) helloDone(c *conn) {
	if c.waits {
		c.waits = false
		l.eng.waiting.leave(c.client.Addr())
	}
	if c.try != nil && c.try.kept > 0 {
		l.eng.kept.Add(-int64(c.try.kept))
		c.try.kept = 0
	}
}

// rejectHello ends a connection whose first bytes are not a good hello. Bytes
// that are not TLS at all may have a pool of their own.
func (l *loop) rejectHello(c *conn, r *sniff.Reject) {
	if r == sniff.ErrBadName {
		c.name = l.names.get(l.hello.RawName())
	}
	l.helloDone(c)
	if r.Alert != sniff.AlertNone {
		l.refuse(c, r.Alert, Reason(r.Reason))
		return
	}
	if c.at.cfg.Plaintext == nil || r != sniff.ErrNotTLS {
		l.finish(c, Culvert, Reason(r.Reason))
		return
	}
	c.pool = c.at.cfg.Plaintext
	l.startDial(c)
}
