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
	if c.search != nil {
		if f == server {
			l.firstByte(c)
		} else {
			c.search.replay = false // more than the hello will go out
		}
	}
	if short && !src.hup && !src.urgent {
		src.readable = false
		if src.fin {
			c.noteEnd(f)
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
