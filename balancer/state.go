package balancer

import (
	"math/bits"
	"time"
)

// A Cause is a reason why a server gets no new connections. Several may apply
// at once; the server is in service when none does. Causes are sent to a new
// process in a ServerState, so a value must never change its meaning.
type Cause uint32

// The causes.
const (
	Configured Cause = 1 << 0 // it is down in the configuration
	Drained    Cause = 1 << 1 // an operator drains it
	Unhealthy  Cause = 1 << 2 // its checks fail
	Ejected    Cause = 1 << 3 // connections to it fail
	Unresolved Cause = 1 << 4 // its name has no address yet
)

// deliberate are the causes that a pool in panic respects too: they are
// certain, unlike failed checks or connections.
const deliberate = Configured | Drained | Unresolved

// Causes returns all causes in order of precedence, Configured first.
func Causes() []Cause { return []Cause{Configured, Drained, Unhealthy, Ejected, Unresolved} }

// String returns the name of a single cause, and "" for none or several.
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

// First returns the cause in c with the highest precedence, 0 when there is
// none.
func (c Cause) First() Cause { return c & -c }

// Causes returns why the server gets no new connections; 0 means it does.
func (s *Server) Causes() Cause { return Cause(s.causes.Load()) }

// Down reports whether the server is out of service for any cause. A pool in
// panic may pick it nevertheless.
func (s *Server) Down() bool { return s.causes.Load() != 0 }

// Set adds or removes a cause and reports whether that changed anything.
// Existing connections are not affected, only later picks. A server that comes
// back into service begins its slow start at now, a time on the same clock as
// Pick's.
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
		s.tier.warmAt.Store(int64(now + slow)) // the latest slow start to end
	}
}

// assess decides whether the tiers are in panic. The primaries are not while a
// backup is in service, nor the backups while a primary is. p.mu must be held.
func (p *Pool) assess() {
	primaries, backups := p.primaries.census(), p.backups.census()
	p.primaries.panics.Store(backups.up == 0 && p.primaries.tooFew(primaries))
	if p.backups != nil {
		p.backups.panics.Store(primaries.up == 0 && p.backups.tooFew(backups))
	}
}

// census counts the members of a tier: wanted are those not out of service on
// purpose, up are those in service.
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

// Panics reports whether so few of the pool's servers are in service that the
// pool also uses servers that are out of service, except those that are out
// on purpose.
func (p *Pool) Panics() bool {
	return p.primaries.panics.Load() || p.backups != nil && p.backups.panics.Load()
}

// InService counts all servers, primaries and backups: up are those in
// service, of those that are neither out on purpose nor without an address.
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

// minWarm is the share that a slow start begins with. It is large enough
// that connections show soon whether the server works.
const minWarm = 0.1

// isCold reports whether s, because of its slow start, is not to be used for
// this connection. Its share grows linearly with time, as HAProxy's weight
// does (slowstart). Policies that hash compare the same number for a client
// each time, so a client that has come back to the server stays.
func (a *attempt) isCold(s *Server) bool {
	left := time.Duration(s.warmAt.Load()) - a.now
	slow := a.tier.plan.slowStart
	if left <= 0 || slow <= 0 {
		return false
	}
	warm := max(minWarm, 1-float64(left)/float64(slow))
	if float64(a.randomBits(s)) < warm*(1<<64) {
		return false
	}
	a.skippedCold = true
	return true
}

// randomBits returns 64 random bits. For policies that hash they are always the same
// for one client and server. They must be independent of the hash that the
// policy picks by, because that hash is high for all clients of the server.
func (a *attempt) randomBits(s *Server) uint64 {
	if !a.tier.plan.policy.hashes() {
		return a.tier.plan.rand()
	}
	k := a.tier.plan.keys.key(a.sel.Client)
	return avalanche(round(round(s.salt, k.second), bits.ReverseBytes64(k.first)))
}
