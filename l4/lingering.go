package l4

import (
	"syscall"
	"time"

	"culvert/l4/socket"
	"culvert/sniff"
)

// Bounds of what is done for a connection once its end is decided.
const (
	lingerTime  = time.Second     // for the client to read an alert and leave
	lingerBytes = 64 << 10        // of its input that are discarded; more until it has acknowledged all of ours
	ackTime     = 5 * time.Second // for the client to acknowledge what it gets before a reset
	ackPoll     = fineTick
)

// sendAlert answers a hello with a fatal alert, and lingers so that a reset
// cannot overtake it.
func (l *loop) sendAlert(c *conn, alert sniff.Alert, r Reason) {
	var record [7]byte
	socket.WriteLast(int(c.ends[client].fd), alert.AppendRecord(record[:0]))
	l.linger(c, Culvert, r)
}

// linger ends the client's side with a FIN and reads what it still sends, as
// nginx's lingering_close does: input left unread would turn the close into a
// reset, which can overtake the last bytes. The server's side is closed now.
func (l *loop) linger(c *conn, by Party, r Reason) {
	c.phase = phaseLingering
	c.ending = &ending{by: by, reason: r, until: l.now + lingerTime}
	c.ends[server].close()
	socket.ShutdownWrite(int(c.ends[client].fd))
	if !l.watch(c, client) {
		l.finish(c, by, r)
		return
	}
	l.schedule(c)
	l.discard(c)
}

// discard reads and drops the client's input until it ends, or until there
// is too much of it and everything sent to the client has arrived.
func (l *loop) discard(c *conn) {
	e := &c.ends[client]
	for budget := quantum; ; {
		if budget <= 0 {
			l.later(c)
			return
		}
		n, errno := socket.Read(int(e.fd), l.buf)
		if errno == syscall.EAGAIN {
			return
		}
		c.ending.discarded += n
		budget -= n
		if errno != 0 || n == 0 || c.ending.discarded > lingerBytes && socket.Unacked(int(e.fd)) == 0 {
			l.finish(c, c.ending.by, c.ending.reason)
			return
		}
	}
}

// resetClient passes a server's reset on, but not before the client has
// everything that the server sent first: a reset throws the send queue away.
func (l *loop) resetClient(c *conn) {
	c.phase = phaseAwaitAck
	c.ending.until = l.now + ackTime
	c.ends[server].close()
	l.awaitAck(c)
}

// awaitAck ends c with a reset once the client has acknowledged everything.
func (l *loop) awaitAck(c *conn) {
	e := &c.ends[client]
	if socket.Unacked(int(e.fd)) > 0 && !e.hup && l.now < c.ending.until {
		c.timer.remove()
		l.fine.add(c, l.now+ackPoll)
		return
	}
	e.broken = true
	l.finish(c, c.ending.by, c.ending.reason)
}
