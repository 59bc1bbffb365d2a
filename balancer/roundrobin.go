package balancer

import "sync"

// turns is smooth weighted round robin, as in nginx's
// ngx_stream_upstream_round_robin.c: each member that takes part gains its
// weight, the richest has its turn and pays the sum of what all gained.
// Weights 5, 1, 1 give a a b a c a a.
type turns struct {
	mu      sync.Mutex
	current []int64 // by slot
}

// next gives one of the members for which part holds its turn, the first of
// equally rich ones, or returns nil when there is none.
func (t *turns) next(members []*Server, part func(*Server) bool) *Server {
	t.mu.Lock()
	defer t.mu.Unlock()
	var best *Server
	var total int64
	for _, s := range members {
		if !part(s) {
			continue
		}
		total += s.weight
		t.current[s.slot] += s.weight
		if best == nil || t.current[s.slot] > t.current[best.slot] {
			best = s
		}
	}
	if best != nil {
		t.current[best.slot] -= total
	}
	return best
}

// copyTo makes to's state the same as t's.
func (t *turns) copyTo(to *turns) {
	t.mu.Lock()
	defer t.mu.Unlock()
	copy(to.current, t.current)
}

// pickNext is the round-robin policy, and what other policies fall back on.
func pickNext(a *attempt) *Server { return pickTurn(a, a.allows) }

// pickTurn takes turns among the tier's members for which part holds.
func pickTurn(a *attempt, part func(*Server) bool) *Server {
	for {
		s := a.tier.turns.next(a.tier.members, part)
		if s == nil || a.take(s) {
			return s
		}
	}
}
