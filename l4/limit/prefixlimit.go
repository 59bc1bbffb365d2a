package limit

import (
	"net/netip"
	"sync/atomic"
)

// PrefixLimit is how many there are of something at once per client prefix,
// with one maximum for each. An address that is not valid, that of a peer on a
// unix socket, has no prefix and no limit. The zero value is empty, without a
// maximum, with the prefixes of a zero Prefix.
type PrefixLimit struct {
	Counts Prefixes[int32] // its Prefix may be set before the first Take
	max    atomic.Int32
}

// SetMax sets the maximum of each prefix; 0 or less means none. What was taken
// before stays taken.
func (p *PrefixLimit) SetMax(n int32) { p.max.Store(n) }

// Take adds one to a's prefix unless that has its maximum. One Release with
// the same address takes it off again.
func (p *PrefixLimit) Take(a netip.Addr) bool {
	if !a.IsValid() {
		return true
	}
	limit, ok := p.max.Load(), true
	p.Counts.Update(a, func(n int32) int32 {
		if limit > 0 && n >= limit {
			ok = false
			return n
		}
		return n + 1
	})
	return ok
}

// Release takes off what a successful Take of a added.
func (p *PrefixLimit) Release(a netip.Addr) {
	if a.IsValid() {
		p.Counts.Update(a, func(n int32) int32 { return max(n-1, 0) })
	}
}
