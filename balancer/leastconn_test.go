package balancer

import (
	"net/netip"
	"strings"
	"testing"
)

func TestLeastConnections(t *testing.T) {
	tests := []struct {
		name    string
		weights [3]int
		active  [3]int
		want    string // further picks, none released
	}{
		{"fewest", [3]int{1, 1, 1}, [3]int{3, 1, 2}, "b b c"},
		{"ties are picked in rotation", [3]int{1, 1, 1}, [3]int{0, 0, 0}, "a b c c b a"},
		{"by weight", [3]int{4, 2, 1}, [3]int{3, 2, 1}, "a"},
		{"equal by weight", [3]int{4, 2, 1}, [3]int{4, 2, 1}, "a"},
		{"fills up by weight", [3]int{2, 1, 1}, [3]int{0, 0, 0}, "a b c a c a b a"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			servers := named("a", "b", "c")
			for i, w := range tt.weights {
				servers[i].Weight = w
			}
			p := mustPool(t, Config{Policy: LeastConnections, Servers: servers})
			for i, n := range tt.active {
				for range n {
					p.Servers()[i].Hold()
				}
			}
			var got []string
			for range strings.Fields(tt.want) {
				got = append(got, mustPick(t, p, netip.Addr{}).Name())
			}
			if s := strings.Join(got, " "); s != tt.want {
				t.Errorf("got %s, want %s", s, tt.want)
			}
		})
	}
}
