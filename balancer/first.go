package balancer

import (
	"math"
	"math/bits"
)

// This file finds the member with the highest score quickly, whatever its
// state. rendezvous.best is the slow implementation that defines the result.
//
// No branch depends on a hash, since the processor would mispredict half of
// such branches. The times in comments are what an optimisation saves in a
// pick among 16 members of 4 weights, which takes 90 ns on a 3.85 GHz EPYC
// (family 26).

// maxFastClasses is how many different weights first supports; a power of two.
const maxFastClasses = 8

// fastTable is the data of first: all members in the order of their
// identities, so that they are hashed in one pass. Together with enter this
// saves 30 to 40 ns over one pass per class.
type fastTable struct {
	runs []run
	tops tops // the first member of each class, with hash 0
}

// tops are the members with the highest hash, by class.
type tops [maxFastClasses]top

// A top is the highest hash in a class, and the slot of the first member with
// that hash.
type top struct{ hash, slot uint64 }

// A run is a sequence of members whose identities have the same length. They
// are hashed in the same steps, so the branches on the steps are predicted.
type run struct {
	size     uint64 // of the whole input
	start    uint64 // suffix.start; the same for all if the input is short
	tail     tail   // of the first member; the other tails have the same counts
	members  []runMember
	suffixes []suffix // of the members, if the input is long
}

// A runMember is a member and its tail; a short input has at most one word.
// It takes 48 bytes; a suffix takes 120.
type runMember struct {
	word, half, byte0, byte1, byte2 uint64
	slot, class                     uint32
}

// prepareFirst sets r.fast from the members in the order of their identities.
func (r *rendezvous) prepareFirst(sorted []*Server) {
	for i := range r.classes {
		r.fast.tops[i].slot = uint64(r.classes[i].members[0].slot)
	}
	for _, s := range sorted {
		r.fast.add(newSuffix(s.name), s.slot, r.class(float64(s.weight)))
	}
}

// add appends a member to the last run, or to a new run if its identity has
// another length.
func (a *fastTable) add(s suffix, slot, class int) {
	last := len(a.runs) - 1
	if last < 0 || a.runs[last].size != s.size {
		a.runs = append(a.runs, run{size: s.size, start: s.start, tail: s.tail})
		last++
	}
	u, t := &a.runs[last], &s.tail
	u.members = append(u.members, runMember{
		word: t.words[0], half: t.half,
		byte0: t.bytes[0], byte1: t.bytes[1], byte2: t.bytes[2],
		slot: uint32(slot), class: uint32(class),
	})
	if s.size >= 32 {
		u.suffixes = append(u.suffixes, s)
	}
}

// first returns the slot of the member with the highest score, whatever its
// state. sure is false, and slot is meaningless, when there are more than
// maxFastClasses weights or the two highest scores are too close to compare
// by their bounds.
func (r *rendezvous) first(p *prefix) (slot uint64, sure bool) {
	if len(r.classes) > maxFastClasses {
		return 0, false
	}
	t := r.fast.tops
	for i := range r.fast.runs {
		r.fast.runs[i].hash(p, &t)
	}
	if len(r.classes) == 1 {
		return t[0].slot, true
	}
	return r.lead(&t)
}

// hash enters the run's members into t.
func (u *run) hash(p *prefix, t *tops) {
	if len(u.suffixes) > 0 {
		u.hashLong(p, t)
		return
	}
	begun := stepWord(stepWord(u.start, p.words.first), p.words.second)
	words, halves, bytes := u.tail.nWords, u.tail.nHalf, u.tail.nBytes
	members := u.members
	for i := range members {
		m := &members[i]
		h := begun
		if words > 0 {
			h = stepWord(h, m.word)
		}
		if halves > 0 {
			h = stepHalf(h, m.half)
		}
		if bytes > 0 {
			h = stepByte(h, m.byte0)
		}
		if bytes > 1 {
			h = stepByte(h, m.byte1)
		}
		if bytes > 2 {
			h = stepByte(h, m.byte2)
		}
		t.enter(m, avalanche(h))
	}
}

func (u *run) hashLong(p *prefix, t *tops) {
	for i := range u.suffixes {
		t.enter(&u.members[i], u.suffixes[i].sum(p))
	}
}

// enter makes m the top of its class if its hash h is the highest so far.
// Everything is loaded before the comparison; otherwise it compiles to a
// branch, which costs 10 to 20 ns.
func (t *tops) enter(m *runMember, h uint64) {
	c := &t[m.class%maxFastClasses]
	hash, slot, next := c.hash, c.slot, uint64(m.slot)
	if h > hash {
		slot = next
	}
	c.hash, c.slot = max(h, hash), slot
}

// lead returns the slot of the top with the highest score. Instead of
// logarithms it compares lower and upper bounds of -ln/weight, which are
// several times faster to compute, by their bits, which order as positive
// floats do. The class with the lowest lower bound has the highest score if
// its upper bound is below every other lower bound. That upper bound is then
// also the lowest one, so it need not be loaded by class number. The class
// number is stored in the lowest bits of the lower bound.
//
// A sure result agrees with rank: rank rounds the logarithm's argument to the
// nearest multiple of 2^-53, so its distance from 1 is never less than that
// of the lower bound, and at most one step more; lnUpper allows for nine
// steps.
func (r *rendezvous) lead(t *tops) (slot uint64, sure bool) {
	minLow, second, minHigh := uint64(math.MaxUint64), uint64(math.MaxUint64), uint64(math.MaxUint64)
	for i := range r.classes {
		h, inverse := t[i&(maxFastClasses-1)].hash, r.classes[i].inverse
		low := math.Float64bits(lnLower(h)*inverse)&^(maxFastClasses-1) | uint64(i)
		high := math.Float64bits(lnUpper(h) * inverse)
		before := minLow
		minLow = lower(before, low)
		second = min(second, before^low^minLow) // the higher of the two
		minHigh = min(minHigh, high)
	}
	return t[minLow%maxFastClasses].slot, second > minHigh
}

// lower is min without a branch. In lead, min compiles to a branch, which
// costs 12 ns.
func lower(a, b uint64) uint64 {
	_, less := bits.Sub64(a, b, 0)
	return b ^ (a^b)&-less
}

// lnLower returns a lower bound of -ln((h+0.5)/2^64). With x the argument's
// distance from 1, that is x + x^2/2 + x^3/3 + ...; lnLower adds up the first
// four terms, grouped to shorten the dependency chain.
func lnLower(h uint64) float64 {
	x := distance(h)
	return x * ((1 + x*(1.0/2)) + x*x*(1.0/3+x*(1.0/4)))
}

// lnUpper returns an upper bound of the same: the four terms, plus an upper
// bound of the sum of all further terms, plus a margin for rounding.
func lnUpper(h uint64) float64 {
	x := distance(h)
	return (lnLower(h)+x*x*x*x*x/(5*(1-x)))*(1+1e-9) + 1e-15
}

// distance returns 1 - (h+0.5)/2^64 rounded down to a multiple of 2^-53.
func distance(h uint64) float64 { return float64(int64(^h>>11)) * (1.0 / (1 << 53)) }
