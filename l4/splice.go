package l4

import (
	"syscall"
	"time"
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
		appoint(&l.chores.sweep, l.now+sweepEvery)
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
	if c.try != nil && f == client {
		c.try.replay = false
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
	if fl.pipe == nil {
		fl.pipe = l.pipes.get(fl.run >= bigRun)
	}
	return fl.pipe != nil
}

func (l *loop) giveBack(fl *flow) {
	l.pipes.put(fl.pipe)
	fl.pipe = nil
	appoint(&l.chores.sweep, l.now+sweepEvery)
}

// stuckPipe is a flow whose pipe a slow reader may be holding.
type stuckPipe struct {
	ref
	f     side
	bytes uint64 // that the flow had moved at since
	since time.Duration
}

// maxStuckCopy is what a slow reader may cost in user space. A pipe that
// holds more stays where it is, in the kernel, unless pipes are short.
const maxStuckCopy = 64 << 10

// watchStuck makes sure that somebody looks at a blocked pipe again.
func (l *loop) watchStuck(c *conn, f side) {
	fl := &c.flows[f]
	if fl.watched {
		return
	}
	fl.watched = true
	l.stuck = append(l.stuck, stuckPipe{c.ref(), f, fl.bytes, l.now})
	appoint(&l.chores.stuck, l.now+stuckAfter)
}

// unstick takes pipes from readers that did not move a byte for a second: the
// bytes go to memory and the pipe to somebody who can use it.
func (l *loop) unstick() {
	left := l.stuck[:0]
	for _, s := range l.stuck {
		if l.stillHolds(&s) {
			left = append(left, s)
		}
	}
	clear(l.stuck[len(left):])
	l.stuck = left
	if len(left) > 0 {
		appoint(&l.chores.stuck, l.now+stuckAfter/4)
	}
}

// stillHolds reports whether s is to be looked at again.
func (l *loop) stillHolds(s *stuckPipe) bool {
	c := s.alive()
	if c == nil {
		return false
	}
	fl := &c.flows[s.f]
	switch {
	case fl.pipe == nil:
		fl.watched = false
		return false
	case fl.bytes != s.bytes:
		s.bytes, s.since = fl.bytes, l.now
	case l.now >= s.since+stuckAfter && l.evict(c, s.f):
		return false
	}
	return true
}

// evict moves the bytes of a stuck pipe to memory.
func (l *loop) evict(c *conn, f side) bool {
	fl := &c.flows[f]
	if fl.pipe.Len > maxStuckCopy && !l.pipes.scarce() || l.readRoom() < len(l.buf) {
		return false
	}
	k := &kept{b: make([]byte, fl.pipe.Len)}
	for n := 0; fl.pipe.Len > 0; {
		m, e := fl.pipe.Read(k.b[n:])
		if e != 0 {
			panic("l4: a pipe does not give what it took: " + e.Error())
		}
		n += m
	}
	l.eng.kept.Add(int64(cap(k.b)))
	fl.kept, fl.splicing, fl.watched = k, false, false
	l.giveBack(fl)
	return true
}
