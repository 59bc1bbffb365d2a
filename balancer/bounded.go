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
// of them, W being the total weight of the members that are up. As the factor
// exceeds 1 some member is always under its bound; if the client has tried
// all such members, or they are full, the bound is ignored. A bound limits
// new connections only and closes none: when connections to other servers
// end, a server may have more than its share.
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

// A share is the present value of a bound: num/den connections for each unit
// of weight. The zero value means no bound.
type share struct{ num, den int64 }

// share returns the present bound, counting the connection being placed.
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

// maxConns returns how many connections s may have.
func (h share) maxConns(s *Server) int64 {
	if h.den == 0 {
		return s.maxConns
	}
	return min(s.maxConns, (h.num*s.weight+h.den-1)/h.den)
}
