package balancer

import (
	"fmt"
	"math"
)

// A bound is a bounded load's factor in thousandths; 0 is no bound.
//
// Consistent hashing with bounded loads (Mirrokni, Thorup and Zadimoghaddam,
// 2016): with n connections in the tier, the one being placed among them, a
// server of weight w takes it only while it would then have at most
//
//	ceil(factor * n * w / W)
//
// of them, W being the weight of the members that are up. As the factor
// exceeds 1 some member is always under its bound; if the client has tried
// all such members, or they are full, the bound is ignored. A bound limits
// what a server takes on, it ends nothing: when others' connections finish, a
// server may be left with more than its share.
type bound int64

const (
	boundUnit = 1000       // a factor of 1
	maxBound  = 100 * 1000 // keeps factor * connections * weight inside 64 bits
)

func newBound(factor float64, p Policy) (bound, error) {
	if factor == 0 {
		return 0, nil
	}
	b := math.Round(factor * boundUnit)
	if !(b > boundUnit && b <= maxBound) {
		return 0, fmt.Errorf("bounded load %v: want 1.001 to 100", factor)
	}
	if !p.hashes() {
		return 0, fmt.Errorf("bounded load: the policy %s already balances by load", p)
	}
	return bound(b), nil
}

func (b bound) on() bool { return b != 0 }

// A share is a bound at one moment: num/den connections for each unit of
// weight. The zero value bounds nothing.
type share struct{ num, den int64 }

// share works out the present bound, for one connection more than there are.
func (t *tier) share(panics bool) share {
	var up int64
	load := int64(1)
	for _, s := range t.members {
		load += s.Active()
		if s.usable(panics) {
			up += s.weight
		}
	}
	if up == 0 {
		return share{}
	}
	return share{num: int64(t.plan.bound) * load, den: boundUnit * up}
}

// most returns how many connections s may have.
func (h share) most(s *Server) int64 {
	if h.den == 0 {
		return s.most
	}
	return min(s.most, (h.num*s.weight+h.den-1)/h.den)
}
