package balancer

import (
	"sync/atomic"
	"time"
)

// A tier is the primaries or the backups of a pool together with what the
// policy keeps for them: an immutable table, and the turns of round robin.
type tier struct {
	members []*Server // in configured order; Server.slot is the position here
	plan    tierPlan
	load    atomic.Int64 // connections on all members; kept only under a bound
	turns   *turns

	// Of these the one that the policy needs is set.
	rendezvous *rendezvous
	maglev     *maglev
	ring       *ring
	lots       *lots
}

// tierPlan is what a pool's tiers have in common.
type tierPlan struct {
	policy Policy
	bound  bound
	keys   keyer
	rand   func() uint64
	pool   int // servers in the whole pool
}

// forBackups returns the plan of the backup tier: the primaries' one, except
// that nginx puts no backup on its ring and takes turns among them.
func (p tierPlan) forBackups() tierPlan {
	if p.policy == NGINXHash {
		p.policy = RoundRobin
	}
	return p
}

func newTier(plan tierPlan, members []*Server) (*tier, error) {
	t := &tier{plan: plan}
	t.adopt(members)
	var err error
	switch plan.policy {
	case ClientAddress:
		t.rendezvous = newRendezvous(members)
	case Maglev:
		t.maglev = newMaglev(members)
	case NGINXHash:
		t.ring, err = newRing(members)
	case RandomTwo:
		t.lots = newLots(members)
	}
	return t, err
}

// adopt makes members t's own and counts their connections if it has to.
func (t *tier) adopt(members []*Server) {
	t.members = members
	t.turns = &turns{current: make([]int64, len(members))}
	for i, s := range members {
		s.slot = i
		if t.plan.bound.on() {
			s.load = &t.load
			t.load.Add(s.Active())
		}
	}
}

// clone returns a tier over members, which are clones of t's, in t's state.
func (t *tier) clone(members []*Server) *tier {
	c := &tier{plan: t.plan, rendezvous: t.rendezvous, maglev: t.maglev, ring: t.ring, lots: t.lots}
	c.adopt(members)
	t.turns.copyTo(c.turns)
	return c
}

// pick chooses a member and takes a place on it, or returns nil when no
// member can be had. Under a bound the members at theirs are left out, unless
// that leaves none.
func (t *tier) pick(s *Selection, now time.Duration) *Server {
	a := attempt{tier: t, sel: s, now: now}
	if !t.plan.bound.on() {
		return t.choose(&a)
	}
	t.load.Add(1) // This connection counts; see bound.
	a.share = t.share(now)
	before := *s
	srv := t.choose(&a)
	if srv == nil {
		a.share = share{}
		*s = before // The first round moved the cursor, and tried no server.
		srv = t.choose(&a)
	}
	if srv == nil {
		t.load.Add(-1)
	}
	return srv
}

// choose asks the policy. The switch on concrete types, rather than an
// interface, lets a caller's Selection stay on its stack.
func (t *tier) choose(a *attempt) *Server {
	switch t.plan.policy {
	case ClientAddress:
		return t.rendezvous.pick(a)
	case Maglev:
		return t.maglev.pick(a)
	case NGINXHash:
		return t.ring.pick(a)
	case LeastConnections:
		return pickLeast(a)
	case RandomTwo:
		return t.lots.pick(a)
	default:
		return pickNext(a)
	}
}

// An attempt is one pick in one tier: what a policy needs to tell which
// members can be had, and to take one.
type attempt struct {
	tier  *tier
	sel   *Selection
	now   time.Duration
	share share // the bound in force; zero is none
}

// allows reports whether s can be had: up, not tried, and not full.
func (a *attempt) allows(s *Server) bool {
	return s.usable(a.now) && s.active.Load() < a.share.most(s) && !a.sel.has(s.index)
}

// take gets a place on s and marks it tried. It fails when another loop has
// just taken the last place; the policy then chooses again.
func (a *attempt) take(s *Server) bool {
	if !s.reserve(a.share.most(s)) {
		return false
	}
	a.sel.mark(s.index, a.tier.plan.pool)
	return true
}
