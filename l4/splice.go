package l4

import (
	"syscall"
)

// Pipe sizes. 128 KiB is within one receive window; larger pipes make
// responses of 256 KiB up to twice as dear, because they burst. A flow that
// has moved bigRun bytes one way without an answer is a long transfer, and
// gains from 1 MiB.
const (
	smallPipe = 128 << 10
	bigPipe   = 1 << 20
	bigRun    = 4 << 20
)

// splice moves up to a pipeful from the source of f without copying it. The
// pipe is borrowed after the source is known to be readable and given back
// empty. A splice that moves little does not mean that the source is empty:
// only EAGAIN does.
func (l *loop) splice(c *conn, f side) (int, bool) {
	fl, src := &c.flows[f], &c.ends[f]
	if src.urgent || !l.borrow(fl) {
		fl.splicing = false
		l.housekeeping.sweep.set(l.now + sweepEvery) // which asks again whether there are pipes
		return 0, true
	}
	n, e := fl.pipe.Fill(int(src.fd))
	switch {
	case e == syscall.EAGAIN:
		src.readable = false
		l.giveBack(fl)
		return 0, true
	case e == syscall.EINVAL: // this kind of socket cannot splice
		fl.splicing = false
		l.giveBack(fl)
		return 0, true
	case e != 0:
		l.giveBack(fl)
		return 0, l.sourceFailed(c, f, e)
	case n == 0: // the end, or urgent data that no event has told of: read knows
		fl.splicing = false
		l.giveBack(fl)
		return 0, true
	}
	fl.splicing = n >= bulkLow
	if c.search != nil && f == client {
		c.search.replay = false
	}
	return n, true // pump flushes the pipe
}

// flushPipe moves the pipe of f to the destination and gives it back.
func (l *loop) flushPipe(c *conn, f side) bool {
	fl := &c.flows[f]
	for fl.pipe.Len > 0 {
		n, e := fl.pipe.Drain(int(c.ends[f.other()].fd))
		switch {
		case e == syscall.EAGAIN:
			l.block(c, f.other())
			l.watchStuck(c, f)
			return false
		case e != 0:
			l.destinationFailed(c, f, e)
			return false
		}
		l.progress(c, f, n)
	}
	l.giveBack(fl)
	return true
}

// borrow gets fl a pipe, a big one if the flow has earned it.
func (l *loop) borrow(fl *flow) bool {
	switch {
	case fl.pipe != nil:
	case fl.run >= bigRun:
		fl.pipe = l.pipes.getBig()
	default:
		fl.pipe = l.pipes.get()
	}
	return fl.pipe != nil
}

func (l *loop) giveBack(fl *flow) {
	l.pipes.put(fl.pipe)
	fl.pipe = nil
	l.housekeeping.sweep.set(l.now + sweepEvery)
}
