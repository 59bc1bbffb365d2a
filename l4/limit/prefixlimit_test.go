package limit

import (
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
)

func TestPrefixLimitIsExact(t *testing.T) {
	const limit, tasks, prefixes = 50, 16, 20
	var p PrefixLimit
	p.SetMax(limit)
	addr := func(prefix, host int) netip.Addr {
		return netip.MustParseAddr(fmt.Sprintf("2001:db8:0:%x::%x", prefix, host))
	}
	var taken [prefixes]atomic.Int64
	var wg sync.WaitGroup
	for n := range tasks {
		wg.Go(func() {
			for i := range 200 * prefixes {
				if p.Take(addr(i%prefixes, n*1000+i)) {
					taken[i%prefixes].Add(1)
				}
			}
		})
	}
	wg.Wait()
	for i := range taken {
		if got := taken[i].Load(); got != limit {
			t.Errorf("%d were taken for prefix %d, want %d", got, i, limit)
		}
		p.Release(addr(i, 1))
		if !p.Take(addr(i, 2)) || p.Take(addr(i, 3)) {
			t.Errorf("prefix %d: one was released, and not exactly one could be taken", i)
		}
		for range limit {
			p.Release(addr(i, 1))
		}
	}
	if n := held(&p.Counts); n != 0 {
		t.Errorf("%d prefixes take memory after all were released, want 0", n)
	}
}

func TestNoPrefixLimit(t *testing.T) {
	client := netip.MustParseAddr("192.0.2.1")
	for _, tt := range []struct {
		name string
		max  int32
		addr netip.Addr
		held int
	}{
		{"no maximum", 0, client, 1},
		{"a negative maximum", -1, client, 1},
		{"a peer without an address", 1, netip.Addr{}, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var p PrefixLimit
			p.SetMax(tt.max)
			for range 1000 {
				if !p.Take(tt.addr) {
					t.Fatal("refused without a limit")
				}
			}
			if n := held(&p.Counts); n != tt.held {
				t.Errorf("%d prefixes take memory, want %d", n, tt.held)
			}
			for range 1000 {
				p.Release(tt.addr)
			}
			if n := held(&p.Counts); n != 0 {
				t.Errorf("%d prefixes take memory at the end, want 0", n)
			}
		})
	}
}

func TestPrefixLimitByNetwork(t *testing.T) {
	p := PrefixLimit{Counts: Prefixes[int32]{Prefix: Prefix{IPv4: 24}}}
	p.SetMax(1)
	if !p.Take(netip.MustParseAddr("192.0.2.1")) || p.Take(netip.MustParseAddr("192.0.2.2")) || !p.Take(netip.MustParseAddr("192.0.3.1")) {
		t.Error("want one connection a /24")
	}
}
