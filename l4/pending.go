package l4

import (
	"syscall"

	"culvert/l4/socket"
)

// pending holds the bytes of a blocked flow. off bytes of b are written already.
type pending struct {
	b   []byte
	off int
}

// buffer holds a copy of b until the destination of f can take it.
func (l *loop) buffer(c *conn, f side, b []byte) {
	l.setPending(&c.flows[f], append([]byte(nil), b...))
	l.block(c, f.other())
}

// setPending gives b to fl, which holds nothing.
func (l *loop) setPending(fl *flow, b []byte) {
	fl.pending = &pending{b: b}
	l.eng.buffered.Add(int64(cap(b)))
}

// dropPending frees the pending bytes of fl.
func (l *loop) dropPending(fl *flow) {
	if fl.pending != nil {
		l.eng.buffered.Add(-int64(cap(fl.pending.b)))
		fl.pending = nil
	}
}

func (l *loop) flushPending(c *conn, f side) bool {
	fl := &c.flows[f]
	n, e := socket.Write(int(c.ends[f.other()].fd), fl.pending.b[fl.pending.off:])
	if e != 0 && e != syscall.EAGAIN {
		l.destinationFailed(c, f, e)
		return false
	}
	if n > 0 {
		l.progress(c, f, n)
	}
	fl.pending.off += n
	if fl.pending.off < len(fl.pending.b) {
		l.block(c, f.other())
		return false
	}
	l.dropPending(fl)
	return true
}

// pressed reports that the bytes buffered in the process are near their bound. The
// last quarter is for reads that were begun before.
func (e *Engine) pressed() bool { return e.buffered.Load() >= e.buffered.Max()/4*3 }
