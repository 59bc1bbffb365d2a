package balancer

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// When a server goes down and comes back, only its clients must move, and all
// of them must return.
func TestDownMovesOnlyItsClients(t *testing.T) {
	from := clients(20000)
	for _, policy := range []Policy{ClientAddress, Maglev, NGINXHash} {
		t.Run(string(policy), func(t *testing.T) {
			p := mustPool(t, Config{Policy: policy, Servers: addressed(10)})
			before := make([]string, len(from))
			for i, c := range from {
				before[i] = choice(t, p, c)
			}
			out := p.Servers()[4]
			out.Set(Configured, true, 0)
			for i, c := range from {
				got := choice(t, p, c)
				if got == out.Name() || before[i] != out.Name() && got != before[i] {
					t.Fatalf("%v went from %s to %s while %s is down", c, before[i], got, out.Name())
				}
			}
			out.Set(Configured, false, 0)
			for i, c := range from {
				if got := choice(t, p, c); got != before[i] {
					t.Fatalf("%v is not back on %s but on %s", c, before[i], got)
				}
			}
		})
	}
}

// A lost server's clients must spread over all other servers, not go to one.
// (nginx's ring has too few points for an even spread.)
func TestDownSpreadsItsClients(t *testing.T) {
	from := clients(40000)
	for _, policy := range []Policy{ClientAddress, Maglev} {
		t.Run(string(policy), func(t *testing.T) {
			var servers []ServerConfig
			for i := range 10 {
				servers = append(servers, ServerConfig{Address: fmt.Sprintf("10.0.0.%d:443", i)})
			}
			p := mustPool(t, Config{Policy: policy, Servers: servers})
			gained := make(map[string]int)
			total := 0
			for _, c := range from {
				if order, _ := p.Order(c, 0); order[0].Index() == 4 {
					gained[order[1].Name()]++
					total++
				}
				if total == 3000 {
					break
				}
			}
			fair := float64(total) / 9
			for _, s := range p.Servers() {
				got := float64(gained[s.Name()])
				if s.Index() != 4 && (got < fair*0.85 || got > fair*1.15) {
					t.Errorf("%s gained %v clients, fair is %.0f", s.Name(), got, fair)
				}
			}
		})
	}
}

func TestP16RemovalMovesFewClients(t *testing.T) {
	const n, clientCount = 10, 100000
	from := clients(clientCount)
	for _, policy := range []Policy{ClientAddress, Maglev, NGINXHash} {
		t.Run(string(policy), func(t *testing.T) {
			var servers []ServerConfig
			for i := range n {
				servers = append(servers, ServerConfig{Address: fmt.Sprintf("10.0.0.%d:443", i)})
			}
			whole := mustPool(t, Config{Policy: policy, Servers: servers})
			less := mustPool(t, Config{Policy: policy, Servers: slices.Delete(slices.Clone(servers), 4, 5)})
			moved, astray := 0, 0
			for _, c := range from {
				before, after := choice(t, whole, c), choice(t, less, c)
				if before == after {
					continue
				}
				moved++
				if before != servers[4].Address {
					astray++
				}
			}
			share := float64(whole.ringShare(t, 4, from)) / clientCount
			if limit := 1.0/n + 0.02; float64(moved)/clientCount > max(limit, share+0.001) {
				t.Errorf("%d of %d clients moved, at most %.0f may", moved, clientCount, limit*clientCount)
			}
			if policy != Maglev && astray > 0 {
				t.Errorf("%d clients moved whose servers stayed", astray)
			}
		})
	}
}

// ringShare returns how many of the clients map to server i. nginx's ring is
// uneven by design, so removing a server can move more than its fair share.
func (p *Pool) ringShare(t *testing.T, i int, from []netip.Addr) int {
	if p.Policy() != NGINXHash {
		return 0
	}
	n := 0
	for _, c := range from {
		if choice(t, p, c) == p.Servers()[i].Name() {
			n++
		}
	}
	return n
}

func TestSharesFollowWeights(t *testing.T) {
	from := clients(100000)
	for _, policy := range []Policy{ClientAddress, Maglev, RandomTwo, RoundRobin} {
		t.Run(string(policy), func(t *testing.T) {
			servers := named("a", "b", "c", "d", "e")
			for i, w := range []int{1, 2, 3, 3, 11} {
				servers[i].Weight = w
			}
			rnd := rand.New(rand.NewPCG(1, 2))
			p := mustPool(t, Config{Policy: policy, Servers: servers, Rand: rnd.Uint64})
			got := make(map[string]int)
			for _, c := range from {
				s := Selection{Client: c}
				srv, err := p.Pick(&s, 0)
				if err != nil {
					t.Fatal(err)
				}
				got[srv.Name()]++
				if policy != RandomTwo { // Its shares come from the loads.
					srv.Release()
				}
			}
			for _, s := range p.Servers() {
				want := float64(len(from)) * float64(s.Weight()) / 20
				if err := float64(got[s.Name()])/want - 1; err < -0.04 || err > 0.04 {
					t.Errorf("%s of weight %d has %d clients, want about %.0f", s.Name(), s.Weight(), got[s.Name()], want)
				}
			}
		})
	}
}

func TestConfiguredOrderDoesNotMatter(t *testing.T) {
	from := clients(200)
	for _, policy := range []Policy{ClientAddress, Maglev} {
		t.Run(string(policy), func(t *testing.T) {
			servers := addressed(30)
			p := mustPool(t, Config{Policy: policy, Servers: servers})
			rnd := rand.New(rand.NewPCG(3, 4))
			for range 3 {
				rnd.Shuffle(len(servers), func(i, j int) { servers[i], servers[j] = servers[j], servers[i] })
				shuffled := mustPool(t, Config{Policy: policy, Servers: servers})
				for _, c := range from {
					want, _ := p.Order(c, 0)
					got, _ := shuffled.Order(c, 0)
					if diff := cmp.Diff(names(want), names(got)); diff != "" {
						t.Fatalf("order for %v (-as configured +shuffled):\n%s", c, diff)
					}
				}
			}
		})
	}
}
