package limit

import (
	"sync"
	"sync/atomic"
	"testing"
)

func TestLimitTakesUpToItsMaximum(t *testing.T) {
	for _, tt := range []struct {
		name  string
		max   int64
		takes []int64
		want  []bool
		used  int64
		full  bool
	}{
		{name: "the zero value has no maximum", takes: []int64{1, 1 << 40}, want: []bool{true, true}, used: 1<<40 + 1},
		{name: "a negative maximum is none", max: -1, takes: []int64{1}, want: []bool{true}, used: 1},
		{name: "one more than the maximum is refused", max: 2, takes: []int64{1, 1, 1}, want: []bool{true, true, false}, used: 2, full: true},
		{name: "what does not fit takes nothing", max: 10, takes: []int64{6, 5, 4}, want: []bool{true, false, true}, used: 10, full: true},
		{name: "below the maximum is not full", max: 10, takes: []int64{9}, want: []bool{true}, used: 9},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var l Limit
			l.SetMax(tt.max)
			for i, n := range tt.takes {
				if got := l.TakeN(n); got != tt.want[i] {
					t.Errorf("take %d of %d: got %v, want %v", i+1, n, got, tt.want[i])
				}
			}
			if l.Load() != tt.used || l.Full() != tt.full {
				t.Errorf("got %d taken, full %v, want %d and %v", l.Load(), l.Full(), tt.used, tt.full)
			}
		})
	}
}

func TestLowerMaximumEndsNothing(t *testing.T) {
	var l Limit
	for range 3 {
		l.Take()
	}
	l.SetMax(2)
	if l.Take() || !l.Full() || l.Load() != 3 {
		t.Fatalf("got %d of %d, full %v, want 3 that stay and no more", l.Load(), l.Max(), l.Full())
	}
	l.Release()
	if l.Take() {
		t.Error("took one at the maximum")
	}
	l.Release()
	if !l.Take() {
		t.Error("took none below the maximum")
	}
}

// TestLimitIsExact has more goroutines than places compete for them: never are
// more held than the maximum, and no place is lost.
func TestLimitIsExact(t *testing.T) {
	const tasks, rounds = 4, 500_000
	for _, tt := range []struct {
		name string
		max  int64
		take func(*Limit) bool
	}{
		{"one place", 1, (*Limit).Take},
		{"some places", 3, (*Limit).Take},
		{"one place, by TakeBelow", 1, func(l *Limit) bool { return l.TakeBelow(1) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var l Limit
			var held atomic.Int64
			l.SetMax(tt.max)
			var wg sync.WaitGroup
			for range tasks {
				wg.Go(func() {
					for range rounds {
						if !tt.take(&l) {
							continue
						}
						if n := held.Add(1); n > tt.max {
							t.Errorf("%d are held, want at most %d", n, tt.max)
						}
						held.Add(-1)
						l.Release()
					}
				})
			}
			wg.Wait()
			if n := l.Load(); n != 0 {
				t.Errorf("%d are taken after all were released, want 0", n)
			}
		})
	}
}

// TestFreePlaceIsNotRefused: a refused Take of others must not hide a free
// place, as it would if it added first and took off again.
func TestFreePlaceIsNotRefused(t *testing.T) {
	var l Limit
	l.SetMax(100)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				if l.TakeN(101) {
					t.Error("took more than the maximum")
				}
			}
		}
	})
	for range 100000 {
		if !l.Take() {
			t.Error("refused a free place")
			break
		}
		l.Release()
	}
	close(stop)
	wg.Wait()
}
