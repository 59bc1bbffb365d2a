package l4

import (
	"culvert/l4/socket"
)

// failOver leaves the present server for the next one.
func (l *loop) failOver(c *conn, r Reason) {
	l.attemptFailed(c, r)
	l.dial(c)
}

// earlyEnd handles a server that ends before its first byte, or sends none in
// time, and reports whether c goes on to another server. The hello may be sent
// to another server only if nothing else was sent to this one and the client has
// not ended; otherwise the connection ends.
func (l *loop) earlyEnd(c *conn, r Reason) bool {
	switch {
	case c.search == nil:
		return false
	case !c.mayReplay():
		l.noteFailure(c, r)
		l.freeSearch(c)
		return false
	}
	l.failOver(c, r)
	return true
}

// mayReplay reports whether the hello may be sent to another server.
func (c *conn) mayReplay() bool {
	return c.search != nil && c.search.replay && !c.ends[client].fin
}

// earlyReason is the reason for the end of a server's stream without a byte in it. After
// a write that met a reset, read(2) reports it as an ordinary end.
func (c *conn) earlyReason() Reason {
	if c.ends[server].broken {
		return ReasonResetEarly
	}
	return ReasonClosedEarly
}

// noteFailure records that the present attempt failed.
func (l *loop) noteFailure(c *conn, r Reason) {
	l.counters.failed(c, r)
	l.eng.outcome(c.server, r, l.now)
	if c.past == nil {
		c.past = &past{}
	}
	c.past.tries = append(c.past.tries, Try{c.server.Name(), r, l.now - c.search.picked})
}

// attemptFailed records the failure and undoes the attempt: c is as before the
// pick.
func (l *loop) attemptFailed(c *conn, r Reason) {
	l.noteFailure(c, r)
	c.search.why, c.search.left = r, c.serverID()
	l.dropFlow(c, client)
	l.dropFlow(c, server)
	if e := &c.ends[server]; e.fd >= 0 {
		socket.Close(int(e.fd))
	}
	c.ends[server] = noEnd
	c.server.Release()
	c.server = nil
	c.connectAt = 0
	c.phase = phaseDial
}

// outOfTries returns why no further server may be tried, or "".
func (l *loop) outOfTries(c *conn) Reason {
	a := c.search
	switch {
	case a.tries == 0:
		return ""
	case a.limit > 0 && l.now >= a.limit:
		return ReasonFailoverTimeout
	case c.pool.MaxTries() > 0 && a.tries >= c.pool.MaxTries():
		return ReasonTriesExhausted
	case c.pool.RetryBudget > 0 && !c.pool.budget.Take():
		return ReasonRetryBudget
	}
	return ""
}

// giveUp ends a connection for which no server was found. A client whose last
// server sent a reset gets one as well.
func (l *loop) giveUp(c *conn, r Reason) {
	c.ends[client].broken = c.search.why == ReasonResetEarly
	if r == ReasonTriesExhausted && c.search.tries <= 1 {
		r = c.search.why // the only one there was to try
	}
	l.finish(c, Culvert, r)
}
