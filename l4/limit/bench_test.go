package limit

import (
	"net/netip"
	"sync/atomic"
	"testing"
	"time"
)

// BenchmarkTake takes one of something and releases it. The reference is two
// atomic additions.
func BenchmarkTake(b *testing.B) {
	var l Limit
	l.SetMax(1000)
	b.Run("limit", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if !l.Take() {
				b.Fatal("refused")
			}
			l.Release()
		}
	})
	b.Run("limit/parallel", func(b *testing.B) {
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if l.Take() {
					l.Release()
				}
			}
		})
	})
	b.Run("prefix", func(b *testing.B) {
		var p PrefixLimit
		p.SetMax(1000)
		benchmarkPrefix(b, &p)
	})
	b.Run("prefix/held", func(b *testing.B) {
		var p PrefixLimit
		p.SetMax(1000)
		p.Take(netip.MustParseAddr("2001:db8:1:2::1")) // another one of the prefix waits
		benchmarkPrefix(b, &p)
	})
	b.Run("slot", func(b *testing.B) {
		var s Slots
		rate := NewRate(1000, 100*time.Millisecond, time.Second)
		b.ReportAllocs()
		for now := time.Second; b.Loop(); now += time.Millisecond {
			if _, ok := s.Take(rate, now); !ok {
				b.Fatal("refused")
			}
		}
	})
	b.Run("budget", func(b *testing.B) {
		var budget Budget
		b.ReportAllocs()
		for b.Loop() {
			budget.Pay(1)
			if !budget.Take() {
				b.Fatal("refused")
			}
		}
	})
	b.Run("reference", func(b *testing.B) {
		var n atomic.Int64
		b.ReportAllocs()
		for b.Loop() {
			n.Add(1)
			n.Add(-1)
		}
	})
}

func benchmarkPrefix(b *testing.B, p *PrefixLimit) {
	a := netip.MustParseAddr("2001:db8:1:2:3:4:5:6")
	b.ReportAllocs()
	for b.Loop() {
		if !p.Take(a) {
			b.Fatal("refused")
		}
		p.Release(a)
	}
}
