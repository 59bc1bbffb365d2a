package balancer

import (
	"net/netip"
	"testing"
)

func TestSelectionRemembersTriedServers(t *testing.T) {
	for _, n := range []int{1, 64, 65, 128, 129, 1000} {
		var s Selection
		for i := range n {
			if s.has(i) {
				t.Fatalf("%d servers: %d counts as tried", n, i)
			}
			s.mark(i, n)
			s.mark(i, n)
			if !s.has(i) || int(s.count) != i+1 {
				t.Fatalf("%d servers: after %d, has is %v and count %d", n, i, s.has(i), int(s.count))
			}
		}
		s.Reset(netip.MustParseAddr("192.0.2.1"))
		if int(s.count) != 0 || s.has(n-1) || s.Client.String() != "192.0.2.1" {
			t.Errorf("%d servers: Reset left %+v", n, s)
		}
	}
}

func TestSelectionRemembersInAnyOrder(t *testing.T) {
	const n = 300
	var s Selection
	for i := n - 1; i >= 0; i -= 7 {
		s.mark(i, n)
	}
	for i := range n {
		if got, want := s.has(i), (n-1-i)%7 == 0; got != want {
			t.Errorf("has(%d) = %v", i, got)
		}
	}
}

// The first server tried needs no allocation, whatever the pool's size.
func TestFirstMarkDoesNotAllocate(t *testing.T) {
	got := testing.AllocsPerRun(100, func() {
		var s Selection
		s.mark(9000, 10000)
	})
	if got != 0 {
		t.Errorf("%v allocations", got)
	}
}
