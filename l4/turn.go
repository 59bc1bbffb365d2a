package l4

import "syscall"

// awaitTurn makes c wait if its server gets no connection just now, and
// reports whether c is dealt with: it waits, or has gone on to another server
// for which the same holds.
func (l *loop) awaitTurn(c *conn) bool {
	at, ok := c.server.Turn(l.now)
	switch {
	case !ok, c.search.limit > 0 && at >= c.search.limit:
		l.passOver(c)
		return true
	case at <= l.now:
		return false
	}
	c.phase = phaseRateSlot
	c.search.turn = at
	if !l.watch(c, client) {
		l.noResources(c, syscall.ENOMEM)
		return true
	}
	l.schedule(c)
	return true
}

// passOver leaves a server that has no turn for c, which was no attempt.
func (l *loop) passOver(c *conn) {
	if c.search.tries > 1 && c.pool.RetryBudget > 0 {
		c.pool.budget.Return()
	}
	l.attemptFailed(c, ReasonRateLimited)
	c.search.tries--
	l.dial(c)
}

// turnCame dials the server that c waited for.
func (l *loop) turnCame(c *conn) {
	c.search.since = l.now
	if !l.connect(c) {
		l.dial(c)
	}
}
