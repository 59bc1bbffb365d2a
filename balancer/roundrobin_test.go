package balancer

import (
	"net/netip"
	"strings"
	"testing"
)

func TestRoundRobinIsSmooth(t *testing.T) {
	tests := []struct {
		name    string
		weights []int
		want    string
	}{
		{"nginx's example", []int{5, 1, 1}, "a a b a c a a a a b a c a a"},
		{"equal", []int{1, 1, 1}, "a b c a b c"},
		{"two to one", []int{2, 1}, "a b a a b a"},
		{"alone", []int{3}, "a a a"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			servers := named("a", "b", "c")[:len(tt.weights)]
			for i, w := range tt.weights {
				servers[i].Weight = w
			}
			p := mustPool(t, Config{Policy: RoundRobin, Servers: servers})
			var got []string
			for range strings.Fields(tt.want) {
				got = append(got, choice(t, p, netip.Addr{}))
			}
			if s := strings.Join(got, " "); s != tt.want {
				t.Errorf("got %s, want %s", s, tt.want)
			}
		})
	}
}

func TestRoundRobinSkipsWithoutLosingTurns(t *testing.T) {
	p := mustPool(t, Config{Policy: RoundRobin, Servers: named("a", "b", "c")})
	b := p.Servers()[1]
	var got []string
	for i := range 9 {
		b.Set(Configured, i >= 3 && i < 6, 0)
		got = append(got, choice(t, p, netip.Addr{}))
	}
	if s, want := strings.Join(got, " "), "a b c a c a c b a"; s != want {
		t.Errorf("got %s, want %s", s, want)
	}
}
