package l4

import (
	"syscall"

	"culvert/l4/socket"
)

// A flow that filled spliceAfter reads in a row with at least bulkRead bytes
// is bulk, and goes on by splice; one splice of less than bulkLow bytes sends
// it back. Up to 16 KiB a wake-up copying costs the same, at 64 KiB splice
// takes three quarters of it.
const (
	bulkRead    = 16 << 10
	bulkLow     = 8 << 10
	spliceAfter = 2
)

// pressedRead is how much one read may take when the bytes kept for slow
// peers are near their bound.
const pressedRead = 4 << 10

// copy moves bytes through the loop's buffer: one read, one write, and only
// what the destination does not take is kept.
func (l *loop) copy(c *conn, f side) (int, bool) {
	room := l.readRoom()
	if room == 0 {
		l.starve(c)
		return 0, false
	}
	src := &c.ends[f]
	n, e := socket.Read(int(src.fd), l.buf[:room])
	switch {
	case e == syscall.EAGAIN:
		src.readable = false
		return 0, true
	case e != 0:
		return 0, l.sourceFailed(c, f, e)
	case n == 0:
		return 0, l.sourceEnded(c, f)
	}
	l.afterRead(c, f, n, n < room)
	l.hand(c, f, l.buf[:n])
	return n, c.phase == phaseRelay
}

// afterRead draws conclusions from a read of n bytes. A short read(2) empties
// the socket, and with a FIN reported before it the stream is at its end; but
// after a reset or urgent data only read's own word counts.
func (l *loop) afterRead(c *conn, f side, n int, short bool) {
	src, fl := &c.ends[f], &c.flows[f]
	if c.try != nil {
		if f == server {
			l.firstByte(c)
		} else {
			c.try.replay = false // more than the hello will go out
		}
	}
	if short && !src.hup && !src.urgent {
		src.readable = false
		if src.fin {
			l.ended(c, f)
			fl.state = flowEnded
		}
	}
	if n < bulkRead || src.urgent {
		fl.full = 0
		return
	}
	fl.full++
	if fl.full >= spliceAfter {
		fl.full = 0
		fl.splicing = !l.pipes.dry
	}
}

// hand writes b to the destination of f and keeps what does not fit.
func (l *loop) hand(c *conn, f side, b []byte) {
	dst := &c.ends[f.other()]
	n, e := socket.Write(int(dst.fd), b)
	if e != 0 && e != syscall.EAGAIN {
		l.destinationFailed(c, f, e)
		return
	}
	if n > 0 {
		l.progress(c, f, n)
	}
	if n < len(b) {
		l.keep(c, f, b[n:])
	}
}

// keep holds a copy of b until the destination of f can take it.
func (l *loop) keep(c *conn, f side, b []byte) {
	c.flows[f].kept = &kept{b: append([]byte(nil), b...)}
	l.eng.kept.Add(int64(cap(c.flows[f].kept.b)))
	l.block(c, f.other())
}

// unkeep lets the kept bytes of fl go.
func (l *loop) unkeep(fl *flow) {
	if fl.kept != nil {
		l.eng.kept.Add(-int64(cap(fl.kept.b)))
		fl.kept = nil
	}
}

// block notes that end s takes no more until OUT is reported. The end is
// watched already, and changing that needs no memory: it does not fail.
func (l *loop) block(c *conn, s side) {
	c.ends[s].blocked = true
	l.watchOut(c, s)
}

// flush writes what is pending in f and reports whether nothing is left and
// c is still in the relay.
func (l *loop) flush(c *conn, f side) bool {
	fl := &c.flows[f]
	if fl.kept == nil && fl.pipe == nil {
		return true
	}
	if c.ends[f.other()].blocked {
		return false
	}
	if fl.kept != nil {
		return l.flushKept(c, f)
	}
	return l.flushPipe(c, f)
}

func (l *loop) flushKept(c *conn, f side) bool {
	fl := &c.flows[f]
	n, e := socket.Write(int(c.ends[f.other()].fd), fl.kept.b[fl.kept.off:])
	if e != 0 && e != syscall.EAGAIN {
		l.destinationFailed(c, f, e)
		return false
	}
	if n > 0 {
		l.progress(c, f, n)
	}
	fl.kept.off += n
	if fl.kept.off < len(fl.kept.b) {
		l.block(c, f.other())
		return false
	}
	l.unkeep(fl)
	return true
}

// readRoom is how much one read may take: everything, little when the bytes
// kept in the process are near their bound, nothing at it.
func (l *loop) readRoom() int {
	k := l.eng.kept.Load()
	switch {
	case k < l.eng.maxKept/4*3:
		return len(l.buf)
	case k < l.eng.maxKept:
		return pressedRead
	}
	return 0
}

// starve puts c aside until kept bytes were freed.
func (l *loop) starve(c *conn) {
	l.starved = append(l.starved, c.ref())
	appoint(&l.chores.starve, l.now+starveRetry)
}

func (l *loop) feedStarved() {
	refs := l.starved
	l.starved = nil
	for _, r := range refs {
		if c := r.alive(); c != nil {
			l.later(c)
		}
	}
}

// dropFlow throws away what is pending in f.
func (l *loop) dropFlow(c *conn, f side) {
	fl := &c.flows[f]
	l.unkeep(fl)
	if fl.pipe != nil {
		l.pipes.put(fl.pipe)
	}
	*fl = flow{bytes: fl.bytes}
}
