package l4

import "syscall"

// awaitRateSlot makes c wait if its server gets no connection just now, and
// reports whether c is dealt with: it waits, or has gone on to another server
// for which the same holds.
func (l *loop) awaitRateSlot(c *conn) bool {
	at, ok := c.server.Slot(l.now)
	switch {
	case !ok, c.search.limit > 0 && at >= c.search.limit:
		l.passOver(c)
		return true
	case at <= l.now:
		return false
	}
	c.phase = phaseRateSlot
	c.search.slotAt = at
	if !l.watch(c, client) {
		l.noResources(c, syscall.ENOMEM)
		return true
	}
	l.schedule(c)
	return true
}

// passOver leaves a server that has no slot for c in time, which does not count as an attempt.
func (l *loop) passOver(c *conn) {
	if c.search.tries > 1 && c.pool.RetryBudget > 0 {
		c.pool.budget.Return()
	}
	l.attemptFailed(c, ReasonRateLimited)
	c.search.tries--
	l.dial(c)
}

// rateSlotCame dials the server that c waited for.
func (l *loop) rateSlotCame(c *conn) {
	c.search.since = l.now
	if !l.connect(c) {
		l.dial(c)
	}
}
