package l4

import (
	"time"

	"culvert/l4/socket"
)

// finish ends c: descriptors, reservations and memory are given back, and the
// record is written. The slot is reused after this turn.
func (l *loop) finish(c *conn, by Party, r Reason) {
	c.phase = phaseGone
	c.timer.remove()
	l.helloDone(c)
	c.settleHandled()
	if c.server != nil {
		c.server.Release() // before the record is written: its readers count on the free place
	}
	l.writeRecord(c, by, c.finalReason(by, r))
	l.dropFlow(c, client)
	l.dropFlow(c, server)
	c.ends[client].close()
	c.ends[server].close()
	l.freeSearch(c)
	l.eng.unreserve(c.from.shared)
	l.live--
	l.gone = append(l.gone, c)
	if l.housekeeping.accept != 0 {
		l.housekeeping.accept = appointment(l.now) // a client that waits can be accepted now
	}
}

// close closes one end: with a reset if the other side's reset, or its
// silence, is to be passed on.
func (e *end) close() {
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

// finalReason tells a server that ended before it answered a hello from one
// that did its work.
func (c *conn) finalReason(by Party, r Reason) Reason {
	switch {
	case !c.tls || c.firstAt != 0 || by != Server:
		return r
	case r == ReasonClosed:
		return ReasonClosedEarly
	case r == ReasonReset:
		return ReasonResetEarly
	}
	return r
}

// writeRecord updates the counters and passes on the record of c.
func (l *loop) writeRecord(c *conn, by Party, r Reason) {
	l.counters.ended(c.from.shared.id, by, r)
	if l.eng.hooks.Record == nil {
		return
	}
	rec := &l.record
	*rec = Record{
		ID: c.id, Start: l.eng.wall(c.start), Client: c.client, Listener: c.from.cfg.Name,
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
	switch {
	case c.server != nil:
		rec.Server = c.server.Name()
	case c.handled != nil:
		rec.Server = c.handled.servedBy()
	}
	l.eng.hooks.Record(rec)
}
