package l4

import (
	"math/bits"
	"time"
)

// wheelSlots is how many ticks ahead a wheel can see. What is due later waits
// in the farthest slot and is put in again from there.
const wheelSlots = 512

// Ticks of the two wheels of a loop. Failing over is what a client notices,
// so connect and first byte get the fine one; the rest is minutes long.
const (
	fineTick   = 10 * time.Millisecond
	coarseTick = 250 * time.Millisecond
)

// wheel holds the connections of one loop that wait for a time. A connection
// is in at most one slot of one wheel. Nothing fires early; it fires late by
// less than two ticks. Adding, removing and finding the next slot cost
// nothing that grows with the number of connections.
type wheel struct {
	tick  time.Duration
	now   int64 // the tick up to which slots have been emptied
	used  [wheelSlots / 64]uint64
	slots [wheelSlots]*conn
}

// timer is a connection's place in a wheel.
type timer struct {
	in         *wheel // nil: in none
	slot       int32
	prev, next *conn
}

// add puts c in the slot of time at. c must be in no wheel.
func (w *wheel) add(c *conn, at time.Duration) {
	due := int64((at + w.tick - 1) / w.tick)
	due = min(max(due, w.now+1), w.now+wheelSlots-1)
	slot := int32(due % wheelSlots)
	head := w.slots[slot]
	c.timer = timer{in: w, slot: slot, next: head}
	if head != nil {
		head.timer.prev = c
	}
	w.slots[slot] = c
	w.used[slot/64] |= 1 << (slot % 64)
}

// remove takes the connection out of the wheel it is in, if any.
func (t *timer) remove() {
	w := t.in
	if w == nil {
		return
	}
	if t.prev != nil {
		t.prev.timer.next = t.next
	} else {
		w.slots[t.slot] = t.next
	}
	if t.next != nil {
		t.next.timer.prev = t.prev
	}
	if w.slots[t.slot] == nil {
		w.used[t.slot/64] &^= 1 << (t.slot % 64)
	}
	*t = timer{}
}

// next returns when the earliest used slot is due.
func (w *wheel) next() (time.Duration, bool) {
	start := int((w.now + 1) % wheelSlots)
	for i := range len(w.used) + 1 {
		word := (start/64 + i) % len(w.used)
		bitsLeft := w.used[word]
		if i == 0 {
			bitsLeft &= ^uint64(0) << (start % 64)
		} else if i == len(w.used) {
			bitsLeft &= 1<<(start%64) - 1
		}
		if bitsLeft != 0 {
			slot := word*64 + bits.TrailingZeros64(bitsLeft)
			ahead := (slot - start + wheelSlots) % wheelSlots
			return time.Duration(w.now+1+int64(ahead)) * w.tick, true
		}
	}
	return 0, false
}

// expire empties every slot that is due at now and calls f for each of its
// connections, which is then in no wheel. f may add and remove connections.
func (w *wheel) expire(now time.Duration, f func(*conn)) {
	to := int64(now / w.tick)
	w.now = max(w.now, to-wheelSlots) // after a long sleep once round is enough
	for w.now < to {
		w.now++
		slot := w.now % wheelSlots
		if w.used[slot/64]>>(slot%64)&1 == 0 {
			continue
		}
		for c := w.slots[slot]; c != nil; c = w.slots[slot] {
			c.timer.remove()
			f(c)
		}
	}
}
