package main

import (
	"runtime"
	"runtime/debug"
	"testing"
)

func TestPercentFor(t *testing.T) {
	for _, tt := range []struct {
		live uint64
		want int
	}{
		{0, 2400}, {1 << 20, 2300}, {2 << 20, 1100}, {8 << 20, 200}, {leastHeap / 2, 100}, {leastHeap, 100}, {1 << 40, 100},
	} {
		if got := percentFor(tt.live); got != tt.want {
			t.Errorf("%d bytes live: %d %%, want %d", tt.live, got, tt.want)
		}
	}
}

// TestHeapFloorFollows: the percentage is set after each collection, as the
// live heap is then.
func TestHeapFloorFollows(t *testing.T) {
	t.Setenv("GOGC", "")
	defer debug.SetGCPercent(debug.SetGCPercent(100))
	heapFloor()
	held := make([]byte, 2*leastHeap)
	percent := func() int {
		p := debug.SetGCPercent(100)
		debug.SetGCPercent(p)
		return p
	}
	eventually(t, "a large heap has the usual percentage", func() bool {
		runtime.GC()
		return percent() == 100
	})
	runtime.KeepAlive(held)
	held = nil
	eventually(t, "a small one has more", func() bool {
		runtime.GC()
		return percent() > 100
	})
}
