package balancer

import "sync"

// rotation is smooth weighted round robin, as in nginx's
// ngx_stream_upstream_round_robin.c: the current weight of each member that
// takes part grows by its weight; the member with the highest current weight
// is next, and its current weight is reduced by the total weight of all that
// took part. Weights 5, 1, 1 give a a b a c a a.
type rotation struct {
	mu      sync.Mutex
	current []int64 // current weights, by slot
}

// next returns the next of the members for which part is true, the first one
// of equals, or nil when there is none.
func (t *rotation) next(members []*Server, part func(*Server) bool) *Server {
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

// copyTo copies t's state to to, which has as many members and is not yet in
// use.
func (t *rotation) copyTo(to *rotation) {
	t.mu.Lock()
	defer t.mu.Unlock()
	copy(to.current, t.current)
}

// pickNext is the round-robin policy, and the fallback of other policies.
func pickNext(a *attempt) *Server { return pickNextOf(a, a.allows) }

// pickNextOf is round robin among the tier's members for which part is true.
func pickNextOf(a *attempt, part func(*Server) bool) *Server {
	for {
		s := a.tier.rotation.next(a.tier.members, part)
		if s == nil || a.take(s) {
			return s
		}
	}
}
