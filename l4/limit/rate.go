package limit

import (
	"sync/atomic"
	"time"
)

// Rate is how many events a second there may be: one every interval on
// average, those of the burst at once after a pause, and one that comes in
// between waits for its slot (the virtual scheduling form of the generic cell
// rate algorithm, ITU-T I.371). It needs one word of state and no queue: a
// slot is a time. The zero value is no limit.
type Rate struct {
	interval time.Duration // between two slots; 0: no limit
	burst    time.Duration // how far a free slot may lie in the past
	wait     time.Duration // how far a slot may lie in the future
}

// NewRate returns a rate of perSecond events; 0 is no limit. After a pause,
// and at the start, the slots of the time burst are free at once. An event may
// wait at most wait for its slot. perSecond is at most 1e9, and no argument is
// negative.
func NewRate(perSecond float64, burst, wait time.Duration) Rate {
	if perSecond == 0 {
		return Rate{}
	}
	return Rate{time.Duration(float64(time.Second) / perSecond), burst, wait}
}

// Slots gives out the slots of a Rate. The zero value has given out none.
type Slots struct{ next atomic.Int64 } // the next free one, a time.Duration

// Take takes the next free slot at the rate r and returns when that is: at
// now, or later on the same clock. ok is false, and no slot is taken, when
// that is further away than r lets an event wait. r may change between calls.
func (s *Slots) Take(r Rate, now time.Duration) (at time.Duration, ok bool) {
	if r.interval == 0 {
		return now, true
	}
	for {
		next := s.next.Load()
		slot := max(next, int64(now-r.burst))
		if slot > int64(now+r.wait) {
			return 0, false
		}
		if s.next.CompareAndSwap(next, slot+int64(r.interval)) {
			return max(time.Duration(slot), now), true
		}
	}
}
