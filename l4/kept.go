package l4

import (
	"syscall"

	"culvert/l4/socket"
)

// kept holds the bytes of a blocked flow. off bytes of b are written already.
type kept struct {
	b   []byte
	off int
}

// keep holds a copy of b until the destination of f can take it.
func (l *loop) keep(c *conn, f side, b []byte) {
	l.setKept(&c.flows[f], append([]byte(nil), b...))
	l.block(c, f.other())
}

// setKept gives b to fl, which holds nothing.
func (l *loop) setKept(fl *flow, b []byte) {
	fl.kept = &kept{b: b}
	l.eng.kept.Add(int64(cap(b)))
}

// unkeep lets the kept bytes of fl go.
func (l *loop) unkeep(fl *flow) {
	if fl.kept != nil {
		l.eng.kept.Add(-int64(cap(fl.kept.b)))
		fl.kept = nil
	}
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

// pressed reports that the bytes kept in the process are near their bound. The
// last quarter is for reads that were begun before.
func (e *Engine) pressed() bool { return e.kept.Load() >= e.kept.Max()/4*3 }
