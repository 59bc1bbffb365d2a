package l4

import (
	"cmp"
	"time"
)

// schedule puts c in the wheel for the deadline of its phase. It is called
// when the phase changes, not when bytes move: that a deadline has moved on is
// found out when the old one comes.
func (l *loop) schedule(c *conn) {
	c.timer.remove()
	if at, w := l.deadlineOf(c); at != 0 {
		w.add(c, at)
	}
}

// deadlineOf returns when c times out, 0 for never, and the wheel for it.
func (l *loop) deadlineOf(c *conn) (time.Duration, *wheel) {
	if f := l.spec(c).deadline; f != nil {
		return f(l, c)
	}
	return 0, nil
}

// awaitsFirstByte reports whether the server has a deadline for its first byte.
func (c *conn) awaitsFirstByte() bool { return c.search != nil && c.pool.FirstByteTimeout >= 0 }

// attemptDeadline bounds one step of an attempt, within the time for all.
func (c *conn) attemptDeadline(step time.Duration) time.Duration {
	limit := c.search.limit
	if step < 0 {
		return limit
	}
	if at := c.search.since + step; limit == 0 || at < limit {
		return at
	}
	return limit
}

// expired is called when c's slot in a wheel came up: the deadline has
// passed, or it has moved on and c goes in again.
func (l *loop) expired(c *conn) {
	at, w := l.deadlineOf(c)
	switch {
	case at == 0:
		return
	case l.now < at:
		w.add(c, at)
		return
	}
	l.spec(c).expired(l, c)
}

// silent ends a relay whose deadline has passed, unless no byte has come from
// the server and another one may be tried.
func (l *loop) silent(c *conn) {
	if !c.awaitsFirstByte() {
		_, why := c.relayDeadline()
		l.finish(c, Culvert, why)
		return
	}
	if !l.earlyEnd(c, ReasonFirstByteTimeout) {
		l.finish(c, Culvert, ReasonFirstByteTimeout)
	}
}

// firstBytesDeadline is when the PROXY header and the hello must be complete, as
// far as the listener expects them; 0: never.
func (c *conn) firstBytesDeadline() time.Duration {
	at := time.Duration(0)
	if c.from.cfg.Table != nil {
		at = c.helloDeadline()
	}
	if c.header {
		if h := c.headerDeadline(); at == 0 || h != 0 && h < at {
			at = h
		}
	}
	return at
}

// helloDeadline is when the hello must be complete.
func (c *conn) helloDeadline() time.Duration {
	return c.fromStart(cmp.Or(c.from.cfg.HelloTimeout, DefaultHelloTimeout))
}

// headerDeadline is when a PROXY header must be complete.
func (c *conn) headerDeadline() time.Duration {
	return c.fromStart(cmp.Or(c.from.cfg.ProxyTimeout, DefaultProxyTimeout))
}

// fromStart is when a wait ends that began at accept; 0, never, for a negative
// wait.
func (c *conn) fromStart(wait time.Duration) time.Duration {
	if wait < 0 {
		return 0
	}
	return c.start + wait
}

// relayDeadline is when the relay ends if nothing happens: 0 is never.
func (c *conn) relayDeadline() (time.Duration, Reason) {
	s := c.session()
	silence, why := s.IdleTimeout, ReasonIdleTimeout
	if c.halfClosed() {
		silence, why = s.HalfCloseTimeout, ReasonHalfCloseTimeout
	}
	at := time.Duration(0)
	if silence > 0 {
		at = c.active + silence
	}
	if end := c.start + s.Lifetime; s.Lifetime > 0 && (at == 0 || end < at) {
		at, why = end, ReasonLifetime
	}
	return at, why
}

// halfClosed reports whether one direction has ended and the other has not.
func (c *conn) halfClosed() bool {
	return (c.flows[client].state == flowShut) != (c.flows[server].state == flowShut)
}
