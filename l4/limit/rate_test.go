package limit

import (
	"sync"
	"testing"
	"time"
)

const ms = time.Millisecond

func TestSlotsOfARate(t *testing.T) {
	type slot struct {
		now, at time.Duration
		ok      bool
	}
	for _, tt := range []struct {
		name  string
		rate  Rate
		slots []slot
	}{
		{"the zero rate is no limit", Rate{}, []slot{{ms, ms, true}, {ms, ms, true}}},
		{"0 a second is no limit", NewRate(0, 0, 0), []slot{{ms, ms, true}, {ms, ms, true}}},
		{"one interval apart", NewRate(100, 0, time.Second), []slot{
			{time.Second, 1000 * ms, true}, {time.Second, 1010 * ms, true}, {1005 * ms, 1020 * ms, true}, {2000 * ms, 2000 * ms, true},
		}},
		{"a burst at once", NewRate(100, 20*ms, time.Second), []slot{
			{time.Second, 1000 * ms, true}, {time.Second, 1000 * ms, true}, {time.Second, 1000 * ms, true}, {time.Second, 1010 * ms, true},
		}},
		{"too far away takes none", NewRate(100, 0, 10*ms), []slot{
			{time.Second, 1000 * ms, true}, {time.Second, 1010 * ms, true}, {time.Second, 0, false}, {1010 * ms, 1020 * ms, true},
		}},
		{"no wait at all", NewRate(100, 0, 0), []slot{{time.Second, 1000 * ms, true}, {1009 * ms, 0, false}, {1010 * ms, 1010 * ms, true}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var s Slots
			for i, want := range tt.slots {
				if at, ok := s.Take(tt.rate, want.now); at != want.at || ok != want.ok {
					t.Errorf("slot %d at %s: got %s, %v, want %s, %v", i+1, want.now, at, ok, want.at, want.ok)
				}
			}
		})
	}
}

// TestSlotsAreExact has goroutines compete for slots: no slot is given out
// twice, and none is left out.
func TestSlotsAreExact(t *testing.T) {
	const tasks, each = 4, 500_000
	var s Slots
	rate := NewRate(1000, 0, time.Hour)
	var wg sync.WaitGroup
	for range tasks {
		wg.Go(func() {
			for range each {
				if _, ok := s.Take(rate, time.Second); !ok {
					t.Error("refused within the wait")
				}
			}
		})
	}
	wg.Wait()
	if at, ok := s.Take(rate, time.Second); !ok || at != time.Second+tasks*each*ms {
		t.Errorf("the next slot is at %s, %v, want %s", at, ok, time.Second+tasks*each*ms)
	}
}

func TestOnlySoManyWaitForASlot(t *testing.T) {
	var s Slots
	rate := NewRate(100, 100*ms, time.Second)
	atOnce, later, refused := 0, 0, 0
	for range 1000 {
		switch at, ok := s.Take(rate, time.Hour); {
		case !ok:
			refused++
		case at == time.Hour:
			atOnce++
		default:
			later++
		}
	}
	if atOnce != 11 || later != 100 || refused != 889 {
		t.Errorf("%d at once, %d later, %d refused, want 11, 100 and 889", atOnce, later, refused)
	}
}
