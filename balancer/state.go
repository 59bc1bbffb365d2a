package balancer

import (
	"math/bits"
	"time"
)

// A Cause is a reason why a server gets no new connections. Several may hold
// at once; the server is in service when none does. Causes are sent to a new
// process, in a Legacy: a value never changes its meaning.
type Cause uint32

// The causes.
const (
	Configured Cause = 1 << 0 // the configuration says so
	Drained    Cause = 1 << 1 // an operator drains it
	Unhealthy  Cause = 1 << 2 // its checks fail
	Ejected    Cause = 1 << 3 // connections to it fail
	Unresolved Cause = 1 << 4 // its name has no address yet
)

// deliberate are the causes that a pool in panic respects all the same, since
// they are no guesses.
const deliberate = Configured | Drained | Unresolved

// Causes are all causes, the most deliberate first.
func Causes() []Cause { return []Cause{Configured, Drained, Unhealthy, Ejected, Unresolved} }

// String returns the word for one cause, and "" for none or several.
func (c Cause) String() string {
	switch c {
	case Configured:
		return "configured"
	case Drained:
		return "drained"
	case Unhealthy:
		return "unhealthy"
	case Ejected:
		return "ejected"
	case Unresolved:
		return "unresolved"
	}
	return ""
}

// First returns the most deliberate cause in c, 0 when there is none.
func (c Cause) First() Cause { return c & -c }

// Causes returns why the server gets no new connections; 0 means it does.
func (s *Server) Causes() Cause { return Cause(s.causes.Load()) }

// Down reports whether the server is out of service for any cause. A pool in
// panic may pick it all the same.
func (s *Server) Down() bool { return s.causes.Load() != 0 }

// Set says whether a cause holds from now on and reports whether that is new.
// Connections that hold a place keep it; only later picks are affected. A
// server that comes back into service begins its slow start at now, the time
// on the clock that picks are told.
func (s *Server) Set(c Cause, holds bool, now time.Duration) (changed bool) {
	s.pool.mu.Lock()
	defer s.pool.mu.Unlock()
	before := s.Causes()
	after := before &^ c
	if holds {
		after |= c
	}
	if after == before {
		return false
	}
	if after == 0 {
		s.warmUp(now)
	}
	s.causes.Store(uint32(after))
	s.pool.assess()
	return true
}

// warmUp begins s's slow start, if the pool has one.
func (s *Server) warmUp(now time.Duration) {
	if slow := s.tier.plan.slowStart; slow > 0 {
		s.warmAt.Store(int64(now + slow))
		s.tier.warmAt.Store(int64(now + slow)) // it is the last one to end
	}
}

// assess decides whether the pool panics. The primaries do not while a backup
// can serve, nor the backups while a primary can. p.mu is held.
func (p *Pool) assess() {
	primaries, backups := p.primaries.census(), p.backups.census()
	p.primaries.panics.Store(backups.up == 0 && p.primaries.tooFew(primaries))
	if p.backups != nil {
		p.backups.panics.Store(primaries.up == 0 && p.backups.tooFew(backups))
	}
}

// census counts a tier's members that should serve, and those that do.
type census struct{ wanted, up int }

func (t *tier) census() (n census) {
	if t == nil {
		return n
	}
	for _, s := range t.members {
		c := s.Causes()
		if c&deliberate == 0 {
			n.wanted++
		}
		if c == 0 {
			n.up++
		}
	}
	return n
}

func (t *tier) tooFew(n census) bool { return float64(n.up) < t.plan.panic*float64(n.wanted) }

// Panics reports whether so few of the pool's servers are in service that it
// also uses those that are not, but for those that are out on purpose.
func (p *Pool) Panics() bool {
	return p.primaries.panics.Load() || p.backups != nil && p.backups.panics.Load()
}

// InService counts the primaries and backups that are in service, and those
// that are not out on purpose, or for want of an address.
func (p *Pool) InService() (up, of int) {
	primaries, backups := p.primaries.census(), p.backups.census()
	return primaries.up + backups.up, primaries.wanted + backups.wanted
}

// Usable reports whether any server may get a new connection.
func (p *Pool) Usable() bool {
	up, of := p.InService()
	return up > 0 || of > 0 && p.Panics()
}

// usable reports whether the server's health lets it take a new connection
// while the tier does or does not panic.
func (s *Server) usable(panics bool) bool {
	c := s.Causes()
	return c == 0 || panics && c&deliberate == 0
}

// leastWarm is the share that a slow start begins with: it must not be so
// small that nobody tells how the server does.
const leastWarm = 0.1

// isCold reports whether s, in its slow start, leaves this connection to
// others. Its share grows in proportion to the time, as HAProxy's weight does
// (slowstart). Policies that hash draw the same lot for a client each time, so
// the clients come back one by one and each for good.
func (a *attempt) isCold(s *Server) bool {
	left := time.Duration(s.warmAt.Load()) - a.now
	slow := a.tier.plan.slowStart
	if left <= 0 || slow <= 0 {
		return false
	}
	warm := max(leastWarm, 1-float64(left)/float64(slow))
	if float64(a.lot(s)) < warm*(1<<64) {
		return false
	}
	a.spared = true
	return true
}

// lot returns 64 random bits, for policies that hash the same ones for the
// same client and server. They must not depend on the hash that the policy
// picks by: clients of the server have it high.
func (a *attempt) lot(s *Server) uint64 {
	if !a.tier.plan.policy.hashes() {
		return a.tier.plan.rand()
	}
	k := a.tier.plan.keys.key(a.sel.Client)
	return avalanche(round(round(s.salt, k.second), bits.ReverseBytes64(k.first)))
}
