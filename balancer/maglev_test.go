package balancer

import (
	"fmt"
	"math/big"
	"testing"
)

func TestMaglevTableSize(t *testing.T) {
	tests := []struct{ members, want int }{
		{1, 65537},
		{655, 65537},
		{656, 65609},
		{16384, 1638431},
	}
	for _, tt := range tests {
		got := tableSize(tt.members)
		if got != tt.want || !big.NewInt(int64(got)).ProbablyPrime(20) {
			t.Errorf("tableSize(%d) = %d, want the prime %d", tt.members, got, tt.want)
		}
	}
}

// Every server's part of the table is proportional to its weight, to within
// one entry.
func TestMaglevTableFollowsWeights(t *testing.T) {
	tests := []struct {
		name    string
		weights []int
	}{
		{"equal", []int{1, 1, 1, 1, 1, 1, 1}},
		{"mixed", []int{1, 2, 3, 50}},
		{"far apart", []int{1, 65535}},
		{"large and equal", []int{10000, 10000, 10000}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			servers := addressed(len(tt.weights))
			total := 0
			for i, w := range tt.weights {
				servers[i].Weight = w
				total += w
			}
			p := mustPool(t, Config{Policy: Maglev, Servers: servers})
			table := p.primaries.maglev.table
			got := make([]int, len(servers))
			for _, slot := range table {
				got[slot]++
			}
			for i, w := range tt.weights {
				want := float64(len(table)) * float64(w) / float64(total)
				if d := float64(got[i]) - want; d < -1.5 || d > 1.5 {
					t.Errorf("weight %d has %d entries, want %.1f", w, got[i], want)
				}
			}
		})
	}
}

// With nearly all servers out of service the redraws find none; the remaining
// servers must still be found, and the clients distributed among them.
func TestMaglevFindsTheFewLeft(t *testing.T) {
	p := mustPool(t, Config{Policy: Maglev, Servers: addressed(1000)})
	for _, s := range p.Servers()[4:] {
		s.Set(Configured, true, 0)
	}
	got := make(map[string]int)
	for _, c := range clients(4000) {
		got[choice(t, p, c)]++
	}
	for _, s := range p.Servers()[:4] {
		if n := got[s.Name()]; n < 700 || n > 1400 {
			t.Errorf("%s has %d of 4000 clients: %v", s.Name(), n, got)
		}
	}
}

func BenchmarkMaglevBuild(b *testing.B) {
	for _, n := range []int{16, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := New(Config{Policy: Maglev, Servers: addressed(n)}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
