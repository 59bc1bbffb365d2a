package balancer

import "sort"

// maxDraws is how many members random-two draws at most before it uses what
// it has found; nginx's ngx_stream_upstream_random_module.c has the same limit.
const maxDraws = 20

// drawTable draws members with a probability proportional to their weights.
type drawTable struct {
	upTo []uint64 // sum of the weights up to and including each slot
}

func newDrawTable(members []*Server) *drawTable {
	l := &drawTable{upTo: make([]uint64, len(members))}
	var sum uint64
	for i, s := range members {
		sum += uint64(s.weight)
		l.upTo[i] = sum
	}
	return l
}

func (l *drawTable) draw(a *attempt) *Server {
	x := a.tier.plan.rand() % l.upTo[len(l.upTo)-1]
	return a.tier.members[sort.Search(len(l.upTo), func(i int) bool { return x < l.upTo[i] })]
}

// pick is the random-two policy: of two different members drawn by weight the
// one with fewer active connections per weight, the second if they are equal.
// If the draws find only one available member it picks that one; if they find
// none, it falls back to round robin.
func (l *drawTable) pick(a *attempt) *Server {
	for {
		s := l.lighterOfTwo(a)
		if s == nil {
			return pickNext(a)
		}
		if a.take(s) {
			return s
		}
	}
}

func (l *drawTable) lighterOfTwo(a *attempt) *Server {
	var first *Server
	for range maxDraws {
		s := l.draw(a)
		if s == first || !a.allows(s) {
			continue
		}
		if first == nil {
			first = s
			continue
		}
		if s.burden().compare(first.burden()) > 0 {
			return first
		}
		return s
	}
	return first
}
