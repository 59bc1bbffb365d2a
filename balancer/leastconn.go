package balancer

// A burden is a server's connections and weight at one moment.
type burden struct{ active, weight int64 }

func (s *Server) burden() burden { return burden{active: s.active.Load(), weight: s.weight} }

// compare is negative when b is lighter than c, 0 when they weigh the same:
// connections per weight, without dividing.
func (b burden) compare(c burden) int64 { return b.active*c.weight - c.active*b.weight }

// pickLeast is the least-connections policy: the fewest active connections
// per weight, and turns among those that have equally few, as nginx's
// ngx_stream_upstream_least_conn_module.c does.
func pickLeast(a *attempt) *Server {
	for {
		s, least, tied := leastBurdened(a)
		if tied {
			s = breakTie(a, s, least)
		}
		if s == nil || a.take(s) {
			return s
		}
	}
}

// leastBurdened returns the first of the lightest members, how light it was
// when looked at, and whether others were just as light.
func leastBurdened(a *attempt) (best *Server, least burden, tied bool) {
	for _, s := range a.tier.members {
		if !a.allows(s) {
			continue
		}
		b := s.burden()
		if best != nil && b.compare(least) == 0 {
			tied = true
			continue
		}
		if best == nil || b.compare(least) < 0 {
			best, least, tied = s, b, false
		}
	}
	return best, least, tied
}

// breakTie gives one of the members as light as least its turn. When other
// loops' picks have left none it stays with first.
func breakTie(a *attempt, first *Server, least burden) *Server {
	s := a.tier.turns.next(a.tier.members, func(s *Server) bool {
		return a.allows(s) && s.burden().compare(least) == 0
	})
	if s == nil {
		return first
	}
	return s
}
