package balancer

import (
	"cmp"
	"math"
	"math/bits"
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
	for _, s := range byIdentity(members) {
		m := hashedMember{suffix: newSuffix(s.name), slot: int32(s.slot)}
		c := r.class(float64(s.weight))
		c.members = append(c.members, m)
		r.long = r.long || m.suffix.size >= 32
	}
	return r
}

// class returns the class of a weight, adding it when it is new.
func (r *rendezvous) class(weight float64) *weightClass {
	i := slices.IndexFunc(r.classes, func(c weightClass) bool { return c.weight == weight })
	if i < 0 {
		i = len(r.classes)
		r.classes = append(r.classes, weightClass{weight: weight, inverse: 1 / weight})
	}
	return &r.classes[i]
}

// byIdentity returns members sorted by identity.
func byIdentity(members []*Server) []*Server {
	sorted := slices.Clone(members)
	slices.SortFunc(sorted, compareIdentity)
	return sorted
}

// compareIdentity orders servers by identity, shorter ones first: hashing
// has a little less to do when lengths seldom change.
func compareIdentity(a, b *Server) int {
	return cmp.Or(cmp.Compare(len(a.name), len(b.name)), strings.Compare(a.name, b.name))
}

// pick is the client-address policy. Nearly always the highest score is that
// of a member that can be had, so it is found first without asking.
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

// first returns the slot of the member with the highest score, whatever its
// state. It is not sure when there are too many weights, or the best of two
// are too close to call.
func (r *rendezvous) first(p *prefix) (slot int32, sure bool) {
	if len(r.classes) == 1 {
		c := &r.classes[0]
		return c.members[c.first(p).member].slot, true
	}
	if len(r.classes) > fewClasses {
		return 0, false
	}
	return r.firstOfFew(p)
}

// firstOfFew is first for 2 to fewClasses classes. It compares them by bounds
// of the logarithms, which are several times faster than logarithms. Nothing
// branches on a hash, since every other such branch would be mispredicted:
// the leading class's number rides in the bound's lowest bits.
func (r *rendezvous) firstOfFew(p *prefix) (slot int32, sure bool) {
	var tops [fewClasses]top
	least := uint64(math.MaxUint64)
	for i := range r.classes {
		t := r.classes[i].first(p)
		t.bound = math.Float64bits(lnAtLeast(t.hash)*r.classes[i].inverse)&^(fewClasses-1) | uint64(i)
		least = lower(least, t.bound)
		tops[i] = t
	}
	lead := least % fewClasses
	t, c := &tops[lead], &r.classes[lead]
	most := math.Float64bits(lnAtMost(t.hash) * c.inverse)
	for i := range tops[:len(r.classes)] {
		if tops[i].bound <= most && uint64(i) != lead {
			return 0, false
		}
	}
	return c.members[t.member].slot, true
}

// lower is min, which compiles to a branch in a loop like first's.
func lower(a, b uint64) uint64 {
	_, less := bits.Sub64(a, b, 0)
	return b ^ (a^b)&-less
}

// fewClasses is how many weights first can tell apart; a power of two.
const fewClasses = 8

// A top is the highest hash of a class and the member whose it is.
type top struct {
	hash   uint64
	member int
	bound  uint64 // at most -ln(hash)/weight, as a float's bits, which compare alike
}

// first returns the highest hash among the class's members.
func (c *weightClass) first(p *prefix) (t top) {
	var size, begun uint64
	for i := range c.members {
		s := &c.members[i].suffix
		if s.size != size || size >= 32 {
			size, begun = s.size, s.begin(p)
		}
		h := s.tail.finish(begun)
		if h > t.hash {
			t.member = i
		}
		t.hash = max(t.hash, h)
	}
	return t
}

// best returns the member with the highest score of those that can be had.
func (r *rendezvous) best(a *attempt, p *prefix) *Server {
	var best *Server
	var most float64
	for i := range r.classes {
		s, h := r.classes[i].best(a, p)
		if s == nil {
			continue
		}
		v := rank(h, r.classes[i].weight)
		if best == nil || v > most || v == most && compareIdentity(s, best) < 0 {
			best, most = s, v
		}
	}
	return best
}

// best returns the class's member with the highest hash that can be had, and
// that hash. Whether a member can be had is asked only of those that lead, a
// few of them.
func (c *weightClass) best(a *attempt, p *prefix) (best *Server, most uint64) {
	for i := range c.members {
		m := &c.members[i]
		h := m.suffix.sum(p)
		if h < most || h == most && best != nil {
			continue
		}
		if s := a.tier.members[m.slot]; a.allows(s) {
			best, most = s, h
		}
	}
	return best, most
}

// rank orders as the score does: it is the negated inverse of the score,
// which is finite even when (h+0.5)/2^64 rounds to 1 and its logarithm to 0.
func rank(h uint64, weight float64) float64 {
	return math.Log((float64(h)+0.5)/(1<<64)) / weight
}

// lnAtLeast returns a lower bound of -ln((h+0.5)/2^64): with x the argument's
// distance from 1 it is x + x^2/2 + x^3/3 + ..., of which it takes four
// terms, grouped so that fewer steps wait for one another.
func lnAtLeast(h uint64) float64 {
	x := distance(h)
	return x * ((1 + x*(1.0/2)) + x*x*(1.0/3+x*(1.0/4)))
}

// lnAtMost returns an upper bound of the same: the four terms, no less than
// what all the others add up to, and more than rounding can have lost.
func lnAtMost(h uint64) float64 {
	x := distance(h)
	return (lnAtLeast(h)+x*x*x*x*x/(5*(1-x)))*(1+1e-9) + 1e-15
}

// distance returns 1 - (h+0.5)/2^64 rounded down to a multiple of 2^-53.
func distance(h uint64) float64 { return float64(int64(^h>>11)) * (1.0 / (1 << 53)) }
