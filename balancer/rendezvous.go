package balancer

import (
	"cmp"
	"math"
	"slices"
	"strings"
)

// rendezvous is weighted highest-random-weight hashing (Thaler and
// Ravishankar, 1998): each member scores
//
//	-weight / ln((h + 0.5) / 2^64), h = XXH64(key, identity)
//
// and the highest score wins. Among members of one weight the score grows
// with h, so only h is compared and one logarithm is taken for each weight.
type rendezvous struct {
	classes []weightClass
	long    longInputs
	fast    fastTable // the same members, for first; empty when there are too many classes
}

// A weightClass is the members of one weight in the order of their
// identities, so that ties do not depend on the order in the configuration.
type weightClass struct {
	weight  float64
	inverse float64
	members []hashedMember
}

type hashedMember struct {
	suffix suffix
	slot   int32
}

func newRendezvous(members []*Server) *rendezvous {
	r := new(rendezvous)
	sorted := byIdentity(members)
	for _, s := range sorted {
		m := hashedMember{suffix: newSuffix(s.name), slot: int32(s.slot)}
		i := r.class(float64(s.weight))
		r.classes[i].members = append(r.classes[i].members, m)
		r.long = r.long || m.suffix.size >= 32
	}
	if len(r.classes) <= maxFastClasses {
		r.prepareFirst(sorted)
	}
	return r
}

// class returns the index of the class with a weight, adding the class when
// the weight is new.
func (r *rendezvous) class(weight float64) int {
	i := slices.IndexFunc(r.classes, func(c weightClass) bool { return c.weight == weight })
	if i < 0 {
		i = len(r.classes)
		r.classes = append(r.classes, weightClass{weight: weight, inverse: 1 / weight})
	}
	return i
}

// byIdentity returns members sorted by identity.
func byIdentity(members []*Server) []*Server {
	sorted := slices.Clone(members)
	slices.SortFunc(sorted, compareIdentity)
	return sorted
}

// compareIdentity orders servers by identity, shorter ones first, so that
// servers which are hashed in the same steps are adjacent.
func compareIdentity(a, b *Server) int {
	return cmp.Or(cmp.Compare(len(a.name), len(b.name)), strings.Compare(a.name, b.name))
}

// pick is the client-address policy. The member with the highest score is
// nearly always available, so it is found first, without checking the others.
func (r *rendezvous) pick(a *attempt) *Server {
	var p prefix
	p.set(a.tier.plan.keys.key(a.sel.Client), r.long)
	if slot, sure := r.first(&p); sure {
		if s := a.tier.members[slot]; a.allows(s) && a.take(s) {
			return s
		}
	}
	for {
		s := r.best(a, &p)
		if s == nil || a.take(s) {
			return s
		}
	}
}

// best returns the available member with the highest score.
func (r *rendezvous) best(a *attempt, p *prefix) *Server {
	var best *Server
	var highest float64
	for i := range r.classes {
		s, h := r.classes[i].best(a, p)
		if s == nil {
			continue
		}
		v := rank(h, r.classes[i].weight)
		if best == nil || v > highest || v == highest && compareIdentity(s, best) < 0 {
			best, highest = s, v
		}
	}
	return best
}

// best returns the class's available member with the highest hash, and that
// hash. Only the few members whose hash is the highest so far are checked for
// availability.
func (c *weightClass) best(a *attempt, p *prefix) (best *Server, highest uint64) {
	for i := range c.members {
		m := &c.members[i]
		h := m.suffix.sum(p)
		if h < highest || h == highest && best != nil {
			continue
		}
		if s := a.tier.members[m.slot]; a.allows(s) {
			best, highest = s, h
		}
	}
	return best, highest
}

// rank has the same order as the score. It is the negated inverse of the
// score, and finite even when (h+0.5)/2^64 rounds to 1 and its logarithm to 0.
func rank(h uint64, weight float64) float64 {
	return math.Log((float64(h)+0.5)/(1<<64)) / weight
}
