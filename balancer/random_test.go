package balancer

import (
	"net/netip"
	"testing"
)

// script returns a Rand that returns values, repeatedly.
func script(values ...uint64) func() uint64 {
	i := -1
	return func() uint64 {
		i++
		return values[i%len(values)]
	}
}

func TestRandomTwo(t *testing.T) {
	// Weights 1, 2, 3: a draw modulo 6 of 0 is a, 1 and 2 are b, the rest c.
	tests := []struct {
		name   string
		draws  []uint64
		active [3]int
		down   [3]bool
		want   string
	}{
		{"equal loads, the second", []uint64{0, 1}, [3]int{0, 0, 0}, [3]bool{}, "b"},
		{"the lighter, first", []uint64{0, 3}, [3]int{0, 0, 1}, [3]bool{}, "a"},
		{"the lighter, second", []uint64{2, 5}, [3]int{0, 1, 1}, [3]bool{}, "c"},
		{"one drawn twice", []uint64{2, 2, 1, 0}, [3]int{0, 5, 0}, [3]bool{}, "a"},
		{"draws of one that is down", []uint64{1, 4, 2, 6}, [3]int{}, [3]bool{false, true, false}, "a"},
		{"never another", []uint64{3}, [3]int{0, 0, 9}, [3]bool{}, "c"},
		{"never one that is available", []uint64{3}, [3]int{}, [3]bool{false, false, true}, "b"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			servers := named("a", "b", "c")
			for i := range servers {
				servers[i].Weight, servers[i].Down = i+1, tt.down[i]
			}
			p := mustPool(t, Config{Policy: RandomTwo, Servers: servers, Rand: script(tt.draws...)})
			for i, n := range tt.active {
				for range n {
					p.Servers()[i].Hold()
				}
			}
			if got := choice(t, p, netip.Addr{}); got != tt.want {
				t.Errorf("picked %s, want %s", got, tt.want)
			}
		})
	}
}
