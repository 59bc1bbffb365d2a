package l4

import (
	"errors"
	"syscall"
	"time"

	"culvert/balancer"
	"culvert/l4/socket"
)

// startDial begins the search for a server for c, whose pool is known.
func (l *loop) startDial(c *conn) {
	a := c.try
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
		srv, err := c.pool.Balancer.Pick(&c.try.sel, l.now)
		if err != nil {
			l.giveUp(c, pickReason(c, err))
			return
		}
		if c.try.tries > 0 {
			l.counters.failedOver(c.try.left)
		}
		c.server = srv
		c.try.tries++
		c.try.picked, c.try.since = l.now, l.now
		if l.connect(c) {
			return
		}
	}
}

// outOfTries returns why no further server may be tried, or "".
func (l *loop) outOfTries(c *conn) Reason {
	a := c.try
	switch {
	case a.tries == 0:
		return ""
	case a.limit > 0 && l.now >= a.limit:
		return ReasonFailoverTimeout
	case c.pool.Tries >= 0 && a.tries >= orDefault(c.pool.Tries, DefaultTries):
		return ReasonTriesExhausted
	}
	return ""
}

// pickReason words an error of Pick.
func pickReason(c *conn, err error) Reason {
	switch {
	case errors.Is(err, balancer.ErrAllDown):
		return ReasonNoServerUp
	case errors.Is(err, balancer.ErrAllFull):
		return ReasonServersFull
	}
	return ReasonTriesExhausted
}

// connect starts an attempt at c.server and reports whether it stands, or c
// ended.
func (l *loop) connect(c *conn) bool {
	fd, done, errno := socket.Dial(c.target())
	switch {
	case exhausted(errno):
		l.noResources(c, errno)
		return true
	case errno != 0:
		l.attemptFailed(c, connectReason(errno))
		return false
	}
	c.ends[server] = end{fd: int32(fd)}
	c.phase = phaseDial
	return l.greet(c, done)
}

// greet writes the hello at once: on a short path the connection is
// established by then, and an event is saved.
func (l *loop) greet(c *conn, done bool) bool {
	early := &l.early[c.serverID()]
	switch {
	case done && len(c.try.hello) == 0:
		l.connected(c, 0)
		return true
	case len(c.try.hello) == 0, !done && !early.worthTrying():
		return l.awaitConnect(c)
	}
	n, errno := socket.Write(int(c.ends[server].fd), c.try.hello)
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

// exhausted reports whether the machine or the process has run out of what
// every connection needs: no server's fault, and no other server would do.
func exhausted(e socket.Errno) bool {
	return e == syscall.EMFILE || e == syscall.ENFILE || e == syscall.ENOBUFS || e == syscall.ENOMEM
}

// noResources ends c and stops accepting for a while.
func (l *loop) noResources(c *conn, e socket.Errno) {
	at := c.at
	l.finish(c, Culvert, ReasonNoResources)
	if !at.closed {
		l.eng.warn("out of descriptors or memory, pausing the listener", "listener", at.cfg.Name, "error", e)
		l.pause(at)
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
			l.connected(c, 0) // it was, and may have spoken before its reset
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
	if len(c.try.hello) > 0 {
		n, errno = socket.Write(int(e.fd), c.try.hello)
	}
	switch errno {
	case 0, syscall.EAGAIN:
		l.connected(c, n)
	default:
		l.failOver(c, connectReason(errno))
	}
}

// connected begins the relay: n bytes of the hello are on their way, and the
// rest is kept like any bytes that a slow peer did not take.
func (l *loop) connected(c *conn, n int) {
	c.phase = phaseRelay
	c.connectAt = c.since(l.now)
	c.active, c.try.since = l.now, l.now
	up := &c.flows[client]
	up.bytes = uint64(n)
	l.counters.connected(c, n)
	if !l.watch(c, server) || !l.watch(c, client) {
		l.noResources(c, syscall.ENOMEM)
		return
	}
	if rest := c.try.hello[n:]; len(rest) > 0 {
		l.keep(c, client, rest)
	}
	if !c.tls {
		l.answered(c)
	}
	l.schedule(c)
	if c.ends[client].readable || c.ends[server].readable {
		l.later(c)
	}
}

// answered ends the search: the server has spoken, or need not. What was held
// for another attempt is let go.
func (l *loop) answered(c *conn) {
	l.eng.outcome(c.server, "", l.now)
	l.freeAttempt(c)
}

// failOver leaves the present server for the next one.
func (l *loop) failOver(c *conn, r Reason) {
	l.attemptFailed(c, r)
	l.dial(c)
}

// noteFailure enters the present attempt among those that failed.
func (l *loop) noteFailure(c *conn, r Reason) {
	l.counters.failed(c, r)
	l.eng.outcome(c.server, r, l.now)
	if c.past == nil {
		c.past = &past{}
	}
	c.past.tries = append(c.past.tries, Try{c.server.Name(), r, l.now - c.try.picked})
}

// attemptFailed takes c back to where it was before the pick.
func (l *loop) attemptFailed(c *conn, r Reason) {
	l.noteFailure(c, r)
	c.try.why, c.try.left = r, c.serverID()
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

// giveUp ends a connection for which no server was found. A client whose last
// server sent a reset gets one as well.
func (l *loop) giveUp(c *conn, r Reason) {
	c.ends[client].broken = c.try.why == ReasonResetEarly
	if r == ReasonTriesExhausted && c.try.tries == 1 {
		r = c.try.why // the only one there was to try
	}
	l.finish(c, Culvert, r)
}

// earlyEnd handles a server that ends before its first byte, or does not say
// one, and reports whether c has left it. Only when nothing but the hello went
// to the server and the client has not ended may the hello be said to another;
// else the end is the connection's.
func (l *loop) earlyEnd(c *conn, r Reason) bool {
	switch {
	case c.try == nil:
		return false
	case !c.try.replay || c.ends[client].fin:
		l.noteFailure(c, r)
		l.freeAttempt(c)
		return false
	}
	l.failOver(c, r)
	return true
}

func connectReason(e socket.Errno) Reason {
	switch e {
	case syscall.ECONNREFUSED, syscall.ENOENT:
		return ReasonRefused
	case syscall.EHOSTUNREACH, syscall.ENETUNREACH, syscall.EHOSTDOWN, syscall.ENETDOWN, syscall.EACCES, syscall.EPERM:
		return ReasonUnreachable
	case syscall.ETIMEDOUT:
		return ReasonConnectTimeout
	case syscall.ECONNRESET, syscall.EPIPE:
		return ReasonResetEarly
	}
	return ReasonConnectFailed
}

// earlyWrite remembers, per server, whether writing right after connect(2)
// succeeds. On loopback and very short paths it does. Where it failed
// earlyMisses times in a row, one connection in earlyRetry tries again.
type earlyWrite struct{ misses, skipped uint8 }

const (
	earlyMisses = 8
	earlyRetry  = 64
)

func (w *earlyWrite) worthTrying() bool {
	if w.misses < earlyMisses {
		return true
	}
	w.skipped++
	return w.skipped%earlyRetry == 0
}

func (w *earlyWrite) note(ok bool) {
	if ok {
		w.misses = 0
	} else if w.misses < earlyMisses {
		w.misses++
	}
}

// target is the present server's address.
func (c *conn) target() *socket.Target { return &c.pool.Targets[c.server.Index()] }

// serverID is the index of the present server in the engine's counters.
func (c *conn) serverID() int { return c.pool.first + c.server.Index() }

func (p *Pool) failoverTimeout() time.Duration {
	return orDefault(p.FailoverTimeout, DefaultFailoverTimeout)
}

func orDefault[T time.Duration | int](v, def T) T {
	if v == 0 {
		return def
	}
	return v
}
