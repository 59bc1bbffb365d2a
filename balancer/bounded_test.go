package balancer

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
)

// mayHave computes the bound directly from its definition.
func mayHave(factor float64, connections int64, s *Server, up int) int64 {
	milli := int64(factor*1000 + 0.5)
	num, den := milli*connections*int64(s.Weight()), int64(1000*up)
	return (num + den - 1) / den
}

func TestBoundedLoadIsNeverExceeded(t *testing.T) {
	for _, policy := range []Policy{ClientAddress, Maglev, NGINXHash} {
		for _, factor := range []float64{1.001, 1.25, 2} {
			t.Run(fmt.Sprintf("%s/%v", policy, factor), func(t *testing.T) {
				rnd := rand.New(rand.NewPCG(11, 12))
				servers := addressed(12)
				servers[2].Down, servers[11].Backup = true, true
				p := mustPool(t, Config{Policy: policy, BoundedLoad: factor, Servers: servers})
				up := 0
				for _, s := range p.Servers()[:11] {
					if !s.Down() {
						up += s.Weight()
					}
				}
				var open []*Server
				for range 3000 {
					if len(open) > 0 && rnd.IntN(3) == 0 {
						i := rnd.IntN(len(open))
						open[i].Release()
						open[i] = open[len(open)-1]
						open = open[:len(open)-1]
						continue
					}
					// Many connections from few addresses.
					client := netip.AddrFrom4([4]byte{10, 0, 0, byte(rnd.IntN(3))})
					s := mustPick(t, p, client)
					open = append(open, s)
					if limit := mayHave(factor, int64(len(open)), s, up); s.Active() > limit {
						t.Fatalf("%s took its %dth of %d connections, the bound is %d", s.Name(), s.Active(), len(open), limit)
					}
				}
			})
		}
	}
}

// Connections beyond the bound go to the client's next choices, and back to
// its first choice once that has room again.
func TestBoundedLoadOverflowsInOrder(t *testing.T) {
	servers := named("a", "b", "c", "d")
	free := mustPool(t, Config{Servers: servers})
	p := mustPool(t, Config{Servers: servers, BoundedLoad: 1.5})
	client := netip.MustParseAddr("192.0.2.1")
	want, _ := walk(free, client)
	first := mustPick(t, p, client)  // ceil(1.5*1/4) = 1
	second := mustPick(t, p, client) // ceil(1.5*2/4) = 1
	if first.Name() != want[0] || second.Name() != want[1] {
		t.Errorf("picks %s and %s, the order is %v", first.Name(), second.Name(), want)
	}
	first.Release()
	if got := mustPick(t, p, client).Name(); got != want[0] {
		t.Errorf("with room again: %s, want %s", got, want[0])
	}
}

// When only servers at their bound are left to try, they are tried.
func TestBoundIsIgnoredWhenNoServerIsUnderIt(t *testing.T) {
	for _, policy := range []Policy{ClientAddress, Maglev, NGINXHash} {
		t.Run(string(policy), func(t *testing.T) {
			p := mustPool(t, Config{Policy: policy, Servers: named("a", "b", "c"), BoundedLoad: 1.001})
			crowded := p.Servers()[1]
			for range 50 {
				crowded.Hold()
			}
			s := Selection{Client: netip.MustParseAddr("192.0.2.1")}
			var last *Server
			for range 3 {
				srv, err := p.Pick(&s, 0)
				if err != nil {
					t.Fatal(err)
				}
				srv.Release()
				last = srv
			}
			if last != crowded {
				t.Errorf("the crowded server came before %s", last.Name())
			}
		})
	}
}

func TestBoundCountsItsTier(t *testing.T) {
	servers := named("a", "b", "y")
	servers[2].Backup = true
	p := mustPool(t, Config{Servers: servers, BoundedLoad: 1.25})
	for _, c := range clients(10) {
		mustPick(t, p, c)
	}
	for range 1000 {
		p.Servers()[2].Hold() // a backup; must not raise the primaries' share
	}
	for _, c := range clients(10) {
		mustPick(t, p, c)
	}
	if a, b := p.Servers()[0].Active(), p.Servers()[1].Active(); a > 13 || b > 13 {
		t.Errorf("%d and %d connections, want at most 1.25 times the mean", a, b)
	}
}
