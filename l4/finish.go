package l4

import (
	"syscall"
	"time"

	"culvert/l4/socket"
	"culvert/sniff"
)

// Bounds of what is done for a connection after its end was decided.
const (
	goodbyeTime  = time.Second     // for the client to read an alert and leave
	goodbyeBytes = 64 << 10        // of its input, read meanwhile, and more until it has all of ours
	ackTime      = 5 * time.Second // for the client to acknowledge what it gets before a reset
	ackPoll      = fineTick
)

// finish ends c: descriptors, reservations and memory are given back, and the
// record is written. The slot is reused after this turn.
func (l *loop) finish(c *conn, by Party, r Reason) {
	c.phase = phaseGone
	c.timer.remove()
	l.helloDone(c)
	l.writeRecord(c, by, r)
	l.dropFlow(c, client)
	l.dropFlow(c, server)
	l.closeEnd(&c.ends[client])
	l.closeEnd(&c.ends[server])
	if c.server != nil {
		c.server.Release()
	}
	l.freeAttempt(c)
	l.eng.unreserve(c.at.shared)
	l.live--
	l.gone = append(l.gone, c)
	if l.chores.accept != 0 {
		l.chores.accept = l.now // a place is free for who waits to be accepted
	}
}

// closeEnd closes one end: with a reset if the other side's reset, or its
// silence, is to be passed on.
func (l *loop) closeEnd(e *end) {
	switch {
	case e.fd < 0:
		return
	case e.broken:
		socket.Abort(int(e.fd))
	default:
		socket.Close(int(e.fd))
	}
	*e = noEnd
}

// refuse answers a hello with a fatal alert and sees to it that the client
// can read it.
func (l *loop) refuse(c *conn, alert sniff.Alert, r Reason) {
	var record [7]byte
	socket.Write(int(c.ends[client].fd), alert.AppendRecord(record[:0]))
	l.goodbye(c, Culvert, r)
}

// goodbye ends the client's side with a FIN and reads what it still sends:
// input left unread would turn the close into a reset, which can overtake the
// last bytes. The server's side is closed now.
func (l *loop) goodbye(c *conn, by Party, r Reason) {
	c.phase = phaseGoodbye
	c.bye = &parting{by: by, reason: r, until: l.now + goodbyeTime}
	l.closeEnd(&c.ends[server])
	socket.ShutdownWrite(int(c.ends[client].fd))
	if !l.watch(c, client) {
		l.finish(c, by, r)
		return
	}
	l.schedule(c)
	l.discard(c)
}

// discard reads and forgets the client's input until it ends, or until there
// is too much of it and everything sent to the client has arrived.
func (l *loop) discard(c *conn) {
	e := &c.ends[client]
	for budget := turnBudget; ; {
		if budget <= 0 {
			l.later(c)
			return
		}
		n, errno := socket.Read(int(e.fd), l.buf)
		if errno == syscall.EAGAIN {
			return
		}
		c.bye.discarded += n
		budget -= n
		if errno != 0 || n == 0 || c.bye.discarded > goodbyeBytes && socket.Unacked(int(e.fd)) == 0 {
			l.finish(c, c.bye.by, c.bye.reason)
			return
		}
	}
}

// resetClient passes a server's reset on, but not before the client has
// everything that the server sent first: a reset throws the send queue away.
func (l *loop) resetClient(c *conn) {
	c.phase = phaseAwaitAck
	c.bye.until = l.now + ackTime
	l.closeEnd(&c.ends[server])
	l.awaitAck(c)
}

// awaitAck ends c with a reset once the client has acknowledged everything.
func (l *loop) awaitAck(c *conn) {
	e := &c.ends[client]
	if socket.Unacked(int(e.fd)) > 0 && !e.hup && l.now < c.bye.until {
		c.timer.remove()
		l.fine.add(c, l.now+ackPoll)
		return
	}
	e.broken = true
	l.finish(c, c.bye.by, c.bye.reason)
}

// newAttempt returns a spare attempt, or a new one.
func (l *loop) newAttempt() *attempt {
	if n := len(l.attempts); n > 0 {
		a := l.attempts[n-1]
		l.attempts = l.attempts[:n-1]
		return a
	}
	return new(attempt)
}

// What is kept of attempts for reuse: most hellos are shorter than
// spareHello, also those with a post-quantum key share.
const (
	spareHello    = 2 << 10
	spareAttempts = 64
)

// freeAttempt lets go what was held for another attempt.
func (l *loop) freeAttempt(c *conn) {
	a := c.try
	if a == nil {
		return
	}
	c.try = nil
	if cap(a.hello) > spareHello || len(l.attempts) >= spareAttempts {
		return
	}
	a.parser.Reset()
	*a = attempt{hello: a.hello[:0], parser: a.parser}
	l.attempts = append(l.attempts, a)
}

// writeRecord tells the counters and whoever listens how c went.
func (l *loop) writeRecord(c *conn, by Party, r Reason) {
	if c.tls && c.firstAt == 0 && by == Server {
		switch r {
		case ReasonClosed:
			r = ReasonClosedEarly
		case ReasonReset:
			r = ReasonResetEarly
		}
	}
	l.counters.ended(c.at.id, by, r)
	if l.eng.hooks.Record == nil {
		return
	}
	rec := &l.record
	*rec = Record{
		ID: c.id, Start: l.eng.wall(c.start), Client: c.client, Listener: c.at.cfg.Name,
		ServerName: c.name, ALPN: c.alpn,
		BytesUp: c.flows[client].bytes, BytesDown: c.flows[server].bytes,
		Hello: c.helloAt.duration(), Connect: c.connectAt.duration(), FirstByte: c.firstAt.duration(),
		Total: max(l.now-c.start, time.Microsecond), EndedBy: by, Reason: r,
	}
	if c.route != nil {
		rec.Route = c.route.Label()
	}
	if c.pool != nil {
		rec.Pool = c.pool.Balancer.Name()
	}
	if c.past != nil {
		rec.Tries = c.past.tries
		rec.Server = rec.Tries[len(rec.Tries)-1].Server
	}
	if c.server != nil {
		rec.Server = c.server.Name()
	}
	l.eng.hooks.Record(rec)
}

// closeAll ends every connection that is left.
func (l *loop) closeAll(r Reason) int {
	n := 0
	for _, c := range l.conns {
		if c != nil && c.phase != phaseGone {
			l.finish(c, Culvert, r)
			n++
		}
	}
	return n
}
