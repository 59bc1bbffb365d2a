package l4

import (
	"cmp"
	"syscall"
	"time"

	"culvert/l4/socket"
)

// startDial begins the search for a server for c, whose pool is known.
func (l *loop) startDial(c *conn) {
	l.announce(c)
	if c.pool.RetryBudget > 0 {
		c.pool.budget.Pay(c.pool.RetryBudget)
	}
	a := c.search
	a.sel.Reset(c.client.Addr())
	a.limit = l.now + c.pool.failoverTimeout()
	if c.pool.failoverTimeout() < 0 {
		a.limit = 0
	}
	l.dial(c)
}

// dial tries one server after another until an attempt is under way or
// nothing is left to try. Each pick leaves out the servers that were tried.
func (l *loop) dial(c *conn) {
	for {
		if r := l.outOfTries(c); r != "" {
			l.giveUp(c, r)
			return
		}
		srv, err := c.pool.Balancer.Pick(&c.search.sel, l.now)
		if err != nil {
			l.giveUp(c, pickReason(c, err))
			return
		}
		if c.search.tries > 0 {
			l.counters.failedOver(c.search.left)
		}
		c.server = srv
		c.search.tries++
		c.search.picked, c.search.since = l.now, l.now
		if l.awaitRateSlot(c) || l.connect(c) {
			return
		}
	}
}

// connect starts an attempt at c.server. It reports false when the attempt failed
// at once and the next server is to be tried.
func (l *loop) connect(c *conn) bool {
	fd, done, errno := l.dialFrom(c)
	switch {
	case exhausted(errno):
		l.noResources(c, errno)
		return true
	case errno != 0:
		l.attemptFailed(c, connectReason(errno))
		return false
	}
	c.ends[server] = end{fd: int32(fd), unix: c.target().Addr().IsUnix()}
	c.dialIteration = l.iteration
	c.phase = phaseDial
	return l.greet(c, done)
}

// greet writes the hello right after connect(2): on a short path the connection
// is established by then, which saves an event.
func (l *loop) greet(c *conn, done bool) bool {
	early := &l.early[c.serverID()]
	switch {
	case done && len(c.search.hello) == 0:
		l.connected(c, 0)
		return true
	case len(c.search.hello) == 0, !done && !early.worthTrying():
		return l.awaitConnect(c)
	}
	n, errno := socket.Write(int(c.ends[server].fd), c.search.hello)
	early.note(errno == 0)
	switch {
	case errno == 0, errno == syscall.EAGAIN && done:
		l.connected(c, n)
		return true
	case errno == syscall.EAGAIN:
		return l.awaitConnect(c)
	}
	l.attemptFailed(c, connectReason(errno))
	return false
}

// noResources ends c and stops accepting for a while.
func (l *loop) noResources(c *conn, e socket.Errno) {
	at := c.from
	l.finish(c, Culvert, ReasonNoResources)
	if !at.closed {
		l.pause(at, shortage{"descriptors", 0, e})
	}
}

// awaitConnect waits for the event that says how connect(2) went.
func (l *loop) awaitConnect(c *conn) bool {
	c.ends[server].blocked = true
	if !l.watchOut(c, server) || !l.watch(c, client) {
		l.noResources(c, syscall.ENOMEM)
		return true
	}
	l.schedule(c)
	return true
}

// dialing handles an event while a connect is under way.
func (l *loop) dialing(c *conn) {
	if l.clientGone(c) {
		return
	}
	e := &c.ends[server]
	if e.err || e.hup {
		errno := socket.Err(int(e.fd))
		if !c.tls && connectReason(errno) == ReasonResetEarly {
			l.connected(c, 0) // it was connected, and may have sent bytes before its reset
			l.serverBroken(c, errno)
			return
		}
		l.failOver(c, connectReason(errno))
		return
	}
	if e.blocked {
		return
	}
	n, errno := 0, socket.Errno(0)
	if len(c.search.hello) > 0 {
		n, errno = socket.Write(int(e.fd), c.search.hello)
	}
	switch errno {
	case 0, syscall.EAGAIN:
		l.connected(c, n)
	default:
		l.failOver(c, connectReason(errno))
	}
}

// connected begins the relay: n bytes of the hello are on their way, and the
// rest is buffered like any bytes that a slow peer did not take.
func (l *loop) connected(c *conn, n int) {
	c.phase = phaseRelay
	c.connectAt = c.since(l.now)
	c.active, c.search.since = l.now, l.now
	up := &c.flows[client]
	up.bytes = uint64(n)
	l.counters.connected(c, n)
	if !l.watch(c, server) || !l.watch(c, client) {
		l.noResources(c, syscall.ENOMEM)
		return
	}
	if rest := c.search.hello[n:]; len(rest) > 0 {
		l.buffer(c, client, rest)
	}
	if !c.tls {
		l.answered(c)
	}
	l.schedule(c)
	if c.ends[client].readable || c.ends[server].readable {
		l.later(c)
	}
}

// target is the present server's address.
func (c *conn) target() *socket.Target { return &c.pool.Targets[c.server.Index()] }

// serverID is the index of the present server in the engine's counters.
func (c *conn) serverID() int { return c.pool.ids[c.server.Index()] }

func (p *Pool) failoverTimeout() time.Duration {
	return cmp.Or(p.FailoverTimeout, DefaultFailoverTimeout)
}
