package service

import (
	"runtime/debug"
	"testing"
)

// The collector runs as usual for a process that makes little garbage, and
// less often for one that makes much, within a bound.
func TestCollectorIsPaced(t *testing.T) {
	for _, tt := range []struct {
		name             string
		perSecond, inUse uint64
		want             int
	}{
		{"nothing", 0, 0, 100},
		{"idle", 1 << 20, 8 << 20, 100},
		{"as often as it may", maxCollections * (8 << 20), 8 << 20, 100},
		{"busy", maxCollections * (24 << 20), 8 << 20, 300},
		{"busy with little in use", maxCollections * (16 << 20), 1 << 20, 400},
		{"very busy", 100 << 30, 8 << 20, 400},
		{"very busy with more in use", 100 << 30, 32 << 20, 200},
		{"much in use", 100 << 30, 1 << 30, 100},
	} {
		if got := percentFor(tt.perSecond, tt.inUse); got != tt.want {
			t.Errorf("%s: %d bytes a second, %d in use: got %d%%, want %d%%", tt.name, tt.perSecond, tt.inUse, got, tt.want)
		}
	}
}

// Small changes are not worth a pause of the process; the way back is.
func TestCollectorChangesSeldom(t *testing.T) {
	before := debug.SetGCPercent(100)
	defer debug.SetGCPercent(before)
	c := newCollector()
	for _, tt := range []struct{ percent, want int }{{110, 100}, {300, 300}, {350, 300}, {240, 300}, {600, 600}, {200, 200}, {100, 100}} {
		c.set(tt.percent)
		got := debug.SetGCPercent(100)
		debug.SetGCPercent(got)
		if got != tt.want {
			t.Errorf("after %d%%: got %d%%, want %d%%", tt.percent, got, tt.want)
		}
	}
}

// What was allocated since the last look is told, and no more.
func TestCollectorLooks(t *testing.T) {
	c := newCollector()
	const size = 32 << 20
	sink = make([]byte, size)
	first, inUse := c.look()
	second, _ := c.look()
	if first < size || second >= size || inUse == 0 {
		t.Errorf("got %d, then %d bytes, %d in use", first, second, inUse)
	}
	sink = nil
}

var sink []byte
