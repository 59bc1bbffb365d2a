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
	turns   *turns

	panics atomic.Bool  // too few members are in service
	warmAt atomic.Int64 // when the last slow start ends, a time.Duration

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

	slowStart time.Duration // 0: none
	panic     float64       // share of the members in service under which all are used; 0: never
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

// adopt makes members t's own.
func (t *tier) adopt(members []*Server) {
	t.members = members
	t.turns = &turns{current: make([]int64, len(members))}
	for i, s := range members {
		s.slot, s.tier = i, t
	}
}

// clone returns a tier over members, which are clones of t's, in t's state.
func (t *tier) clone(members []*Server) *tier {
	c := &tier{plan: t.plan, rendezvous: t.rendezvous, maglev: t.maglev, ring: t.ring, lots: t.lots}
	c.adopt(members)
	c.warmAt.Store(t.warmAt.Load())
	t.turns.copyTo(c.turns)
	return c
}

// pick chooses a member and takes a place on it, or returns nil when no
// member can be had. Members in their slow start are spared, and those at
// their bound left out, unless that leaves none.
func (t *tier) pick(s *Selection, now time.Duration) *Server {
	return t.search(attempt{tier: t, sel: s, now: now, panics: t.panics.Load()})
}

// lastResort is pick for a connection that nobody else is left for: servers
// that are out, though not on purpose, may be well again by now.
func (t *tier) lastResort(s *Selection, now time.Duration) *Server {
	if t.plan.panic == 0 {
		return nil
	}
	return t.search(attempt{tier: t, sel: s, now: now, panics: true})
}

func (t *tier) search(a attempt) *Server {
	s, now := a.sel, a.now
	a.spares = time.Duration(t.warmAt.Load()) > now
	if t.plan.bound.on() {
		a.share = t.share(a.panics)
	}
	if !a.spares && a.share == (share{}) {
		return t.choose(&a)
	}
	before := *s
	for {
		srv := t.choose(&a)
		if srv != nil || !a.insist() {
			return srv
		}
		*s = before // The round moved the cursor, and tried no server.
	}
}

// insist makes a less choosy, and reports false when it cannot be.
func (a *attempt) insist() bool {
	switch {
	case a.spared:
		a.spares, a.spared = false, false
	case a.share != (share{}):
		a.share = share{}
	default:
		return false
	}
	return true
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

	panics bool // members that are down may be had, unless that is on purpose
	spares bool // members in their slow start may be left to other clients
	spared bool // one was
}

// allows reports whether s can be had: up, not tried, and not full.
func (a *attempt) allows(s *Server) bool {
	return s.usable(a.panics) && s.active.Load() < a.share.most(s) && !a.sel.has(s.index) && !(a.spares && a.isCold(s))
}

// take gets a place on s and marks it tried. It fails when another loop has
// just taken the last place; the policy then chooses again.
func (a *attempt) take(s *Server) bool {
	if !s.active.TakeBelow(a.share.most(s)) {
		return false
	}
	a.sel.mark(s.index, a.tier.plan.pool)
	return true
}
