package limit

import "sync/atomic"

// Count is how many there are of something at once. The zero value is 0.
type Count struct{ n atomic.Int64 }

// TakeBelow adds one if there are fewer than limit. The count never exceeds
// limit by it, and it never fails while there are fewer, however many
// goroutines compete for the last place.
func (c *Count) TakeBelow(limit int64) bool { return c.takeUpTo(1, limit) }

// takeUpTo adds n if the count is limit at most afterwards.
func (c *Count) takeUpTo(n, limit int64) bool {
	for {
		was := c.n.Load()
		if was > limit-n {
			return false
		}
		if c.n.CompareAndSwap(was, was+n) {
			return true
		}
	}
}

// Add adds n, which may be negative, whatever the limit.
func (c *Count) Add(n int64) { c.n.Add(n) }

// Release takes off the one that one TakeBelow, one Limit.Take or one Add(1)
// added.
func (c *Count) Release() { c.n.Add(-1) }

// Load returns the count.
func (c *Count) Load() int64 { return c.n.Load() }

// Limit is a Count with a maximum. The zero value is 0, without a maximum.
type Limit struct {
	Count
	max atomic.Int64
}

// SetMax sets the maximum; 0 or less means none. What was taken before stays
// taken, also beyond a lower maximum.
func (l *Limit) SetMax(n int64) { l.max.Store(n) }

// Max returns the maximum; 0 or less means none.
func (l *Limit) Max() int64 { return l.max.Load() }

// Take adds one unless the maximum is reached. One Release takes it off again.
func (l *Limit) Take() bool { return l.TakeN(1) }

// TakeN adds n, which is positive, unless the maximum would be exceeded.
// Add(-n) takes them off again.
func (l *Limit) TakeN(n int64) bool {
	limit := l.max.Load()
	if limit <= 0 {
		l.Add(n)
		return true
	}
	return l.takeUpTo(n, limit)
}

// Full reports whether the maximum is reached.
func (l *Limit) Full() bool {
	limit := l.max.Load()
	return limit > 0 && l.Load() >= limit
}
