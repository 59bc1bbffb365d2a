package l4

import (
	"time"
)

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

// watchStuck makes sure that a blocked pipe is looked at again.
func (l *loop) watchStuck(c *conn, f side) {
	fl := &c.flows[f]
	if fl.watched {
		return
	}
	fl.watched = true
	l.stuck = append(l.stuck, stuckPipe{c.ref(), f, fl.bytes, l.now})
	l.housekeeping.stuck.set(l.now + stuckAfter)
}

// unstick takes pipes from readers that did not move a byte for a second: the
// bytes go to memory and the pipe becomes free for other flows.
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
		l.housekeeping.stuck.set(l.now + stuckAfter/4)
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
	large := fl.pipe.Len > maxStuckCopy
	if (large && !l.pipes.scarce()) || l.eng.pressed() {
		return false
	}
	l.emptyPipe(fl)
	fl.watched = false
	return true
}

// emptyPipe moves what the pipe of fl holds to memory.
func (l *loop) emptyPipe(fl *flow) {
	b := make([]byte, fl.pipe.Len)
	for n := 0; fl.pipe.Len > 0; {
		m, e := fl.pipe.Read(b[n:])
		if e != 0 {
			panic("l4: a pipe does not give what it took: " + e.Error())
		}
		n += m
	}
	l.giveBack(fl)
	l.setPending(fl, b)
	fl.splicing = false
}
