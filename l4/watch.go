package l4

import (
	"time"

	"culvert/l4/socket"
)

// watchFlags are watched from the start. OUT joins them when a write is first
// blocked, and then stays: the kernel raises no event for it before a write
// was refused.
const watchFlags = socket.In | socket.RdHup | socket.Pri | socket.Edge

// watch puts end s in the epoll set, once. It reports false when the kernel
// has no memory for it, or no room (fs.epoll.max_user_watches).
func (l *loop) watch(c *conn, s side) bool {
	e := &c.ends[s]
	if e.watched {
		return true
	}
	if l.poll.Add(int(e.fd), watchFlags, c.tag(s)) != 0 {
		return false
	}
	e.watched = true
	return true
}

// watchOut makes sure that end s reports when it can be written to.
func (l *loop) watchOut(c *conn, s side) bool {
	e := &c.ends[s]
	if e.out {
		return true
	}
	control := l.poll.Add
	if e.watched {
		control = l.poll.Mod
	}
	if control(int(e.fd), watchFlags|socket.Out, c.tag(s)) != 0 {
		return false
	}
	e.watched, e.out = true, true
	return true
}

// schedule puts c in the wheel for the deadline of its phase. It is called
// when the phase changes, not when bytes move: a deadline that moved on is
// found out when the old one comes.
func (l *loop) schedule(c *conn) {
	c.timer.remove()
	at, w := l.due(c)
	if at != 0 {
		w.add(c, at)
	}
}

// due returns when c's patience ends, 0 for never, and the wheel for it.
func (l *loop) due(c *conn) (time.Duration, *wheel) {
	switch c.phase {
	case phaseHello:
		return c.helloDeadline(), &l.coarse
	case phaseDial:
		return c.attemptDeadline(orDefault(c.pool.ConnectTimeout, DefaultConnectTimeout)), &l.fine
	case phaseRelay:
		if c.awaitsFirstByte() {
			return c.attemptDeadline(orDefault(c.pool.FirstByteTimeout, DefaultFirstByteTimeout)), &l.fine
		}
		at, _ := c.relayDeadline()
		if young := c.settleAt(); !c.old && (at == 0 || young < at) {
			at = young
		}
		return at, &l.coarse
	case phaseGoodbye:
		return c.bye.until, &l.coarse
	case phaseAwaitAck:
		return l.now, &l.fine
	}
	return 0, nil
}

// awaitsFirstByte reports whether the server has to answer within a time.
func (c *conn) awaitsFirstByte() bool { return c.try != nil && c.pool.FirstByteTimeout >= 0 }

// attemptDeadline bounds one step of an attempt, within the time for all.
func (c *conn) attemptDeadline(step time.Duration) time.Duration {
	limit := c.try.limit
	if step < 0 {
		return limit
	}
	if at := c.try.since + step; limit == 0 || at < limit {
		return at
	}
	return limit
}

// expired is called when c's slot in a wheel came up: the deadline has
// passed, or it has moved on and c goes in again.
func (l *loop) expired(c *conn) {
	at, w := l.due(c)
	switch {
	case at == 0:
		return
	case l.now < at:
		w.add(c, at)
		return
	}
	switch c.phase {
	case phaseHello:
		l.finish(c, Culvert, ReasonHelloTimeout)
	case phaseDial:
		l.failOver(c, ReasonConnectTimeout)
	case phaseRelay:
		if !c.old && !c.awaitsFirstByte() && l.now >= c.settleAt() {
			l.settle(c)
			return
		}
		l.silent(c)
	case phaseGoodbye:
		l.finish(c, c.bye.by, c.bye.reason)
	case phaseAwaitAck:
		l.awaitAck(c)
	}
}

// settleAfter is the age at which a connection is worth the calls that set
// the options of the server's socket.
const settleAfter = time.Second

func (c *conn) settleAt() time.Duration {
	return c.start + time.Duration(c.connectAt)*time.Microsecond + settleAfter
}

// settle makes a connection ready for a long life.
func (l *loop) settle(c *conn) {
	c.old = true
	c.target().Settle(int(c.ends[server].fd), &c.pool.TCP)
	l.schedule(c)
}

// silent ends a relay whose deadline has passed, unless its server has yet to
// say its first byte and another one may be asked.
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
