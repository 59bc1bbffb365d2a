package l4

import "slices"

// snapshot returns a copy of c for an engine to serve and to number, so that c
// stays its owner's. What is safe for concurrent use is shared: the balancer's
// pools, the handlers and the compiled expressions of the tables.
func (c *Config) snapshot() *Config {
	next := *c
	next.Listeners = make([]*Listener, len(c.Listeners))
	pools := map[*Pool]*Pool{nil: nil}
	for i, ln := range c.Listeners {
		next.Listeners[i] = ln.snapshot(pools)
	}
	return &next
}

// snapshot returns a copy of ln with the pools' copies, which it adds to.
func (ln *Listener) snapshot(pools map[*Pool]*Pool) *Listener {
	next := *ln
	next.ProxyFrom = slices.Clone(ln.ProxyFrom)
	next.Pool, next.Plaintext = ln.Pool.snapshot(pools), ln.Plaintext.snapshot(pools)
	if ln.Table != nil {
		next.Table = ln.Table.snapshot(pools)
	}
	return &next
}

// snapshot returns p's copy, made when it is first asked for.
func (p *Pool) snapshot(pools map[*Pool]*Pool) *Pool {
	next, ok := pools[p]
	if ok {
		return next
	}
	c := *p
	c.Targets, c.Sources = slices.Clone(p.Targets), slices.Clone(p.Sources)
	pools[p] = &c
	return &c
}

// snapshot returns a table that finds copies of t's routes where t finds them.
func (t *Table) snapshot(pools map[*Pool]*Pool) *Table {
	next := *t
	next.routes = make([]*Route, len(t.routes))
	copies := map[*Route]*Route{nil: nil}
	for i, r := range t.routes {
		if copies[r] == nil {
			copies[r] = r.snapshot(pools)
		}
		next.routes[i] = copies[r]
	}
	next.def, next.noALPN = copies[t.def], copies[t.noALPN]
	next.exact, next.suffix = snapshotSets(t.exact, copies), snapshotSets(t.suffix, copies)
	next.regexp = make([]*ruleSet, len(t.regexp))
	for i, set := range t.regexp {
		next.regexp[i] = set.snapshot(copies)
	}
	return &next
}

func snapshotSets(sets map[string]*ruleSet, copies map[*Route]*Route) map[string]*ruleSet {
	next := make(map[string]*ruleSet, len(sets))
	for name, set := range sets {
		next[name] = set.snapshot(copies)
	}
	return next
}

func (s *ruleSet) snapshot(copies map[*Route]*Route) *ruleSet {
	next := *s
	next.plain, next.byALPN = copies[s.plain], make([]*Route, len(s.byALPN))
	for i, r := range s.byALPN {
		next.byALPN[i] = copies[r]
	}
	return &next
}

func (r *Route) snapshot(pools map[*Pool]*Pool) *Route {
	next := *r
	next.ALPN, next.Pool = slices.Clone(r.ALPN), r.Pool.snapshot(pools)
	return &next
}
