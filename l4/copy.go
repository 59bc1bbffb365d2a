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
// what the destination does not take is buffered.
func (l *loop) copy(c *conn, f side) (int, bool) {
	if l.eng.pressed() {
		return l.copyPressed(c, f)
	}
	n, e := socket.Read(int(c.ends[f].fd), l.buf)
	if n == 0 || e != 0 {
		return 0, l.nothingRead(c, f, e)
	}
	l.afterRead(c, f, n, n < len(l.buf))
	l.hand(c, f, l.buf[:n])
	return n, c.phase == phaseRelay
}

// copyPressed moves bytes without keeping any: what the destination does not
// take is not taken from the source. It costs a third call, and is for when
// the bound on buffered bytes is near: a few peers that do not read must not stop
// all others.
func (l *loop) copyPressed(c *conn, f side) (int, bool) {
	src, dst := &c.ends[f], &c.ends[f.other()]
	n, e := socket.Peek(int(src.fd), l.buf)
	if n == 0 || e != 0 {
		return 0, l.nothingRead(c, f, e)
	}
	l.afterRead(c, f, n, false)
	m, e := socket.Write(int(dst.fd), l.buf[:n])
	if e != 0 && e != syscall.EAGAIN {
		l.destinationFailed(c, f, e)
		return 0, c.phase == phaseRelay
	}
	socket.Skip(int(src.fd), l.buf[:m])
	if m > 0 {
		l.progress(c, f, m)
	}
	if m < n {
		l.block(c, f.other())
	}
	return m, m == n
}

// nothingRead handles a read from the source of f that brought no byte: the
// end of the stream, an error, or nothing there. It reports whether the quantum
// goes on.
func (l *loop) nothingRead(c *conn, f side, e socket.Errno) bool {
	switch e {
	case 0:
		return l.sourceEnded(c, f)
	case syscall.EAGAIN:
		c.ends[f].readable = false
		return true
	}
	return l.sourceFailed(c, f, e)
}

// afterRead draws conclusions from a read of n bytes. A short read(2) empties
// the socket, and with a FIN reported before it the stream is at its end;
// where that does not hold only read's own word counts.
func (l *loop) afterRead(c *conn, f side, n int, short bool) {
	src, fl := &c.ends[f], &c.flows[f]
	if c.search != nil {
		if f == server {
			l.firstByte(c)
		} else {
			c.search.replay = false // more than the hello will go out
		}
	}
	if short && src.shortMeansEmpty() {
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
	write := socket.Write
	if c.flows[f].state == flowEnded && !c.ends[f].broken {
		write = socket.WriteLast // endFlow sends the FIN
	}
	n, e := write(int(c.ends[f.other()].fd), b)
	if e != 0 && e != syscall.EAGAIN {
		l.destinationFailed(c, f, e)
		return
	}
	if n > 0 {
		l.progress(c, f, n)
	}
	if n < len(b) {
		l.buffer(c, f, b[n:])
	}
}
