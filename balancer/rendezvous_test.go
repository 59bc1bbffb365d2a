package balancer

import (
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/cespare/xxhash/v2"
	"github.com/google/go-cmp/cmp"
)

// scoredOrder computes the policy directly from its definition: the servers by
// score, the highest first.
func scoredOrder(servers []ServerConfig, client netip.Addr) []string {
	if client.Is6() && !client.Is4In6() {
		client = netip.PrefixFrom(client.WithZone(""), 64).Masked().Addr()
	}
	addr := client.As16()
	score := make(map[string]float64)
	var list []string
	for _, s := range servers {
		h := xxhash.Sum64(append(addr[:len(addr):len(addr)], s.identity()...))
		score[s.identity()] = -float64(max(s.Weight, 1)) / math.Log((float64(h)+0.5)/(1<<64))
		list = append(list, s.identity())
	}
	slices.SortFunc(list, func(a, b string) int {
		if score[a] > score[b] {
			return -1
		}
		return 1
	})
	return list
}

func TestRendezvousFollowsTheScores(t *testing.T) {
	rnd := rand.New(rand.NewPCG(5, 6))
	for _, weights := range []int{1, 2, 4, maxFastClasses, maxFastClasses + 1, 40, 60000} {
		t.Run(fmt.Sprint(weights), func(t *testing.T) {
			for range 10 {
				servers := addressed(1 + rnd.IntN(40))
				for i := range servers {
					servers[i].Weight = 1 + rnd.IntN(weights)
					if rnd.IntN(4) == 0 {
						servers[i].Name = fmt.Sprintf("server-%0*d.example.com", 1+rnd.IntN(90), i)
					}
				}
				p := mustPool(t, Config{Servers: servers})
				for _, c := range clients(30) {
					got, _ := walk(p, c)
					if diff := cmp.Diff(scoredOrder(servers, c), got); diff != "" {
						t.Fatalf("order for %v (-scores +got):\n%s", c, diff)
					}
				}
			}
		})
	}
}

func TestLogarithmBounds(t *testing.T) {
	rnd := rand.New(rand.NewPCG(7, 8))
	hashes := []uint64{0, 1, 1 << 10, 1 << 11, 1 << 52, 1 << 63, 1<<63 - 1, math.MaxUint64, math.MaxUint64 - 1<<11, math.MaxUint64 - 1<<40}
	for range 100000 {
		hashes = append(hashes, rnd.Uint64()>>rnd.IntN(64), ^(rnd.Uint64() >> rnd.IntN(64)))
	}
	for _, h := range hashes {
		want := -math.Log1p(-(float64(^h) + 0.5) / (1 << 64))
		if h < 1<<60 {
			want = -math.Log((float64(h) + 0.5) / (1 << 64))
		}
		if low, high := lnLower(h), lnUpper(h); low > want*(1+1e-15) || high < want*(1-1e-15) {
			t.Fatalf("hash %#x: bounds %g and %g do not hold %g", h, low, high, want)
		}
	}
}

// A hash so high that its logarithm rounds to 0 must rank highest, not lowest.
func TestHighestHashRanksHighest(t *testing.T) {
	if a, b := rank(math.MaxUint64, 1), rank(math.MaxUint64-1<<20, 1000); !(a > b) {
		t.Errorf("ranks %g and %g", a, b)
	}
}
