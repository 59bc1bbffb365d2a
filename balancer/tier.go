package balancer

import (
	"sync/atomic"
	"time"
)

// A tier is the primaries or the backups of a pool together with the policy's
// data for them: an immutable table, and the state of round robin.
type tier struct {
	members  []*Server // in configured order; Server.slot is the position here
	plan     tierPlan
	rotation *rotation

	panics atomic.Bool  // too few members are in service
	warmAt atomic.Int64 // when the last slow start ends, a time.Duration

	// Only the one that the policy needs is set.
	rendezvous *rendezvous
	maglev     *maglev
	ring       *ring
	draws      *drawTable
}

// tierPlan is what a pool's tiers have in common.
type tierPlan struct {
	policy Policy
	bound  bound
	keys   keyer
	rand   func() uint64
	pool   int // servers in the whole pool

	slowStart time.Duration // 0 means none
	panic     float64       // Config.Panic
}

// forBackups returns the plan of the backup tier: that of the primaries,
// except that nginx-hash becomes round-robin, because nginx has no backups on
// its ring and uses round robin for them.
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
		t.draws = newDrawTable(members)
	}
	return t, err
}

// adopt sets t's members, and the slot and tier of each.
func (t *tier) adopt(members []*Server) {
	t.members = members
	t.rotation = &rotation{current: make([]int64, len(members))}
	for i, s := range members {
		s.slot, s.tier = i, t
	}
}

// clone returns a tier over members, which are clones of t's, in t's state.
func (t *tier) clone(members []*Server) *tier {
	c := &tier{plan: t.plan, rendezvous: t.rendezvous, maglev: t.maglev, ring: t.ring, draws: t.draws}
	c.adopt(members)
	c.warmAt.Store(t.warmAt.Load())
	t.rotation.copyTo(c.rotation)
	return c
}

// pick chooses a member and takes a place on it, or returns nil when no
// member is available. Members in their slow start, and members at their
// bound, are left out unless no other is available.
func (t *tier) pick(s *Selection, now time.Duration) *Server {
	return t.search(attempt{tier: t, sel: s, now: now, panics: t.panics.Load()})
}

// lastResort is pick for a connection that has no other server left: it also
// considers servers that are out of service, but not on purpose, as they may
// work again by now.
func (t *tier) lastResort(s *Selection, now time.Duration) *Server {
	if t.plan.panic == 0 {
		return nil
	}
	return t.search(attempt{tier: t, sel: s, now: now, panics: true})
}

func (t *tier) search(a attempt) *Server {
	s, now := a.sel, a.now
	a.skipCold = time.Duration(t.warmAt.Load()) > now
	if t.plan.bound.on() {
		a.share = t.share(a.panics)
	}
	if !a.skipCold && a.share == (share{}) {
		return t.choose(&a)
	}
	before := *s
	for {
		srv := t.choose(&a)
		if srv != nil || !a.relax() {
			return srv
		}
		*s = before // The policy moved its position without trying a server.
	}
}

// relax removes one restriction of a, slow starts before the bound, and
// reports false when none is left.
func (a *attempt) relax() bool {
	switch {
	case a.skippedCold:
		a.skipCold, a.skippedCold = false, false
	case a.share != (share{}):
		a.share = share{}
	default:
		return false
	}
	return true
}

// choose runs the policy. A switch rather than an interface lets the caller's
// Selection stay on the stack.
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
		return t.draws.pick(a)
	default:
		return pickNext(a)
	}
}

// An attempt is one pick in one tier: what a policy needs to know which
// members are available, and to take a place on one.
type attempt struct {
	tier  *tier
	sel   *Selection
	now   time.Duration
	share share // the present bound; zero means none

	panics      bool // members that are down are available, unless down on purpose
	skipCold    bool // members in their slow start may be left out
	skippedCold bool // at least one was left out
}

// allows reports whether s is available: usable, not tried, not full, and not
// left out because of its slow start.
func (a *attempt) allows(s *Server) bool {
	return s.usable(a.panics) && s.active.Load() < a.share.maxConns(s) && !a.sel.has(s.index) && !(a.skipCold && a.isCold(s))
}

// take takes a place on s and marks it tried. It fails when another goroutine
// has just taken the last place; the policy then chooses again.
func (a *attempt) take(s *Server) bool {
	if !s.active.TakeBelow(a.share.maxConns(s)) {
		return false
	}
	a.sel.mark(s.index, a.tier.plan.pool)
	return true
}
