package balancer

import (
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"github.com/cespare/xxhash/v2"
)

// weighted returns a table of single members, one of each weight; slots are
// indexes into weights.
func weighted(weights []int) *rendezvous {
	members := make([]*Server, len(weights))
	for i, w := range weights {
		members[i] = newServer(ServerConfig{Address: fmt.Sprint(i), Weight: w}, i)
		members[i].slot = i
	}
	return newRendezvous(members)
}

// distinctWeights draws 2 to maxFastClasses different weights, often extreme ones.
func distinctWeights(rnd *rand.Rand) []int {
	var list []int
	seen := make(map[int]bool)
	for n := 2 + rnd.IntN(maxFastClasses-1); len(list) < n; {
		w := 1 + rnd.IntN(1<<(1+rnd.IntN(16)))
		w = min(w, maxWeight)
		if !seen[w] {
			seen[w] = true
			list = append(list, w)
		}
	}
	return list
}

// hashOf returns the hash whose rank with that weight is nearest to v.
func hashOf(v, weight float64) uint64 {
	d := -math.Expm1(v*weight) * (1 << 64)
	if d >= 1<<64 {
		return 0
	}
	return ^uint64(d)
}

// skewed returns 64 bits with leading zeros or ones of any number.
func skewed(rnd *rand.Rand) uint64 {
	h := rnd.Uint64() >> rnd.IntN(64)
	return h ^ -rnd.Uint64N(2)
}

// leaders draws hashes for the classes: independent ones, or hashes whose
// ranks are equal except for a few units of the hashes or a small relative
// difference.
func leaders(rnd *rand.Rand, r *rendezvous, t *tops) {
	first, kind := skewed(rnd), rnd.IntN(4)
	spread := int64(1) << rnd.IntN(40)
	for i := range r.classes {
		switch weight := r.classes[i].weight; kind {
		case 0:
			t[i].hash = rnd.Uint64()
		case 1:
			t[i].hash = skewed(rnd)
		case 2:
			near := hashOf(rank(first, r.classes[0].weight), weight)
			t[i].hash = near + uint64(rnd.Int64N(2*spread)-spread)
		default:
			off := 1 + (rnd.Float64()-0.5)/float64(spread)
			t[i].hash = hashOf(rank(first, r.classes[0].weight)*off, weight)
		}
	}
}

// byLogarithms returns the class with the highest rank, and whether no other
// class has the same rank.
func byLogarithms(r *rendezvous, t *tops) (class int, alone bool) {
	highest := math.Inf(-1)
	for i := range r.classes {
		switch v := rank(t[i].hash, r.classes[i].weight); {
		case v > highest:
			class, highest, alone = i, v, true
		case v == highest:
			alone = false
		}
	}
	return class, alone
}

// When lead is sure, comparing the logarithms from math.Log gives the same
// result.
func TestLeadAgreesWithLogarithms(t *testing.T) {
	rnd := rand.New(rand.NewPCG(9, 10))
	sure, close := 0, 0
	for range 50000 {
		r := weighted(distinctWeights(rnd))
		for range 20 {
			top := r.fast.tops
			leaders(rnd, r, &top)
			want, alone := byLogarithms(r, &top)
			got, ok := r.lead(&top)
			if !ok {
				close++
				continue
			}
			sure++
			if !alone || got != top[want].slot {
				t.Fatalf("hashes %x: slot %d leads, want %d (alone: %v) of classes %v", top, got, top[want].slot, alone, r.classes)
			}
		}
	}
	if sure < 300000 || close < 300000 {
		t.Errorf("sure of %d, too close %d: the cases do not test both", sure, close)
	}
}

// If first were seldom sure, picks would be correct but slow.
func TestFirstIsNearlyAlwaysSure(t *testing.T) {
	p := mustPool(t, Config{Servers: addressed(16)})
	r, unsure := p.primaries.rendezvous, 0
	rnd := rand.New(rand.NewPCG(11, 12))
	for range 20000 {
		var pre prefix
		pre.set(key{rnd.Uint64(), rnd.Uint64()}, false)
		if _, sure := r.first(&pre); !sure {
			unsure++
		}
	}
	if unsure > 20 {
		t.Errorf("not sure of %d picks in 20000", unsure)
	}
}

// The steps depend on the length of the identity; for every length, the entry
// must be the library's hash.
func TestRunsHashAsTheLibrary(t *testing.T) {
	addr := netip.MustParseAddr("2001:db8::7").As16()
	var p prefix
	p.set(key{word(addr[:8]), word(addr[8:])}, true)
	text := strings.Repeat("chat-7.example.com:8065\xff\x00\x80", 4)
	for n := 1; n < len(text)-2; n++ {
		var a fastTable
		for i := range maxFastClasses {
			a.add(newSuffix(text[i/3:i/3+n]), 10+i, i)
		}
		var got tops
		for i := range a.runs {
			a.runs[i].hash(&p, &got)
		}
		for i := range maxFastClasses {
			want := top{hash: xxhash.Sum64String(string(addr[:]) + text[i/3:i/3+n]), slot: uint64(10 + i)}
			if got[i] != want {
				t.Errorf("identity of %d bytes: %x, want %x", n, got[i], want)
			}
		}
	}
}

// Of two members with the same hash the first in order is the top, even if the
// hash is 0.
func TestFirstOfEqualHashesLeads(t *testing.T) {
	for _, h := range []uint64{0, 1, math.MaxUint64} {
		r := weighted([]int{1})
		top := r.fast.tops
		top.enter(&runMember{slot: 0}, h)
		top.enter(&runMember{slot: 1}, h)
		if top[0].slot != 0 {
			t.Errorf("hash %#x: slot %d leads", h, top[0].slot)
		}
	}
}

// A key is the result of As16, cut to the prefix for IPv6.
func TestKeyIsTheAddress(t *testing.T) {
	keys, err := newKeyer(41)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"0.0.0.0", "192.0.2.255", "255.1.2.3", "::ffff:192.0.2.1", "::", "::1", "::fffe:c000:201",
		"1::ffff:c000:201", "2001:db8:ff:ffff:ffff:ffff:ffff:ffff", "fe80::1:2:3:4%eth0"} {
		client := netip.MustParseAddr(text)
		want := client
		if client.Is6() && !client.Is4In6() {
			want = netip.PrefixFrom(client.WithZone(""), 41).Masked().Addr()
		}
		b := want.As16()
		if got := keys.key(client); got != (key{word(b[:8]), word(b[8:])}) {
			t.Errorf("%v: %x, want %x", client, got, b)
		}
	}
	if got := keys.key(netip.Addr{}); got != (key{}) {
		t.Errorf("no address: %x", got)
	}
}
