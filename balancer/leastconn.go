package balancer

// A burden is a snapshot of a server's connections and its weight.
type burden struct{ active, weight int64 }

func (s *Server) burden() burden { return burden{active: s.active.Load(), weight: s.weight} }

// compare compares connections per weight, without dividing: it is negative
// when b is less loaded than c, and 0 when they are equal.
func (b burden) compare(c burden) int64 { return b.active*c.weight - c.active*b.weight }

// pickLeast is the least-connections policy: the member with the fewest
// active connections per weight, and round robin among equals, as in nginx's
// ngx_stream_upstream_least_conn_module.c.
func pickLeast(a *attempt) *Server {
	for {
		s, least, tied := leastLoaded(a)
		if tied {
			s = breakTie(a, s, least)
		}
		if s == nil || a.take(s) {
			return s
		}
	}
}

// leastLoaded returns the first of the least loaded members, its load when
// it was read, and whether other members had the same load.
func leastLoaded(a *attempt) (best *Server, least burden, tied bool) {
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

// breakTie picks by round robin among the members with the load least. It
// returns first when none has that load any more, because of other loops'
// picks.
func breakTie(a *attempt, first *Server, least burden) *Server {
	s := a.tier.rotation.next(a.tier.members, func(s *Server) bool {
		return a.allows(s) && s.burden().compare(least) == 0
	})
	if s == nil {
		return first
	}
	return s
}
