package config

import "slices"

// together checks what parts of the configuration, each right by itself, are
// beside each other: names that must exist, and things that must differ.
func (k *checker) together() {
	c := k.config
	k.targets(c)
	k.addresses(c)
	k.sameServers(c)
	k.loops(c)
	for _, l := range live(c.Listeners) {
		k.in(partOf("listener", l.Name, l.Address), func() { k.sameRoutes(l) })
	}
}

// A goal is a target that is a pool, and where it is said.
type goal struct {
	pool   string
	at     Position
	part   string
	others []string // words that could stand instead of the pool
}

// goals returns every target that is a pool.
func (c *Config) goals() []goal {
	var all []goal
	for _, l := range live(c.Listeners) {
		part := partOf("listener", l.Name, l.Address)
		add := func(s *Source, key string, t *Target, others ...string) {
			name := t.Pool.Value
			if t.Action == ToPool && name != "" && name != wordReject && name != wordClose {
				all = append(all, goal{name, t.Pool.orAt(s, key), part, others})
			}
		}
		add(&l.Source, "default", &l.Default, wordReject, wordClose)
		add(&l.Source, "plaintext", &l.Plaintext, wordClose)
		add(&l.Source, "pool", &l.Pool)
		for _, r := range live(l.Routes) {
			add(&r.Source, "pool", &r.Target)
		}
	}
	return all
}

// targets reports pools that do not exist, and those that have one name, and
// warns of those to which nothing leads.
func (k *checker) targets(c *Config) {
	var names []string
	used, first := map[string]bool{}, map[string]Position{}
	for _, p := range live(c.Pools) {
		if p.Name == "" {
			continue // was reported
		}
		if at, ok := first[p.Name]; ok {
			k.errorAt(p.Position, "there is a pool %s already%s", Quote(p.Name), onLine(",", at, p.Position))
			continue
		}
		names = append(names, p.Name)
		used[p.Name], first[p.Name] = false, p.Position
	}
	for _, g := range c.goals() {
		if _, ok := used[g.pool]; ok {
			used[g.pool] = true
			continue
		}
		hint := k.suggest.Hint(g.pool, slices.Concat(names, g.others))
		k.in(g.part, func() { k.errorAt(g.at, "there is no pool %s%s", Quote(g.pool), hint) })
	}
	for _, name := range names {
		if !used[name] {
			k.warnAt(first[name], "no listener leads to the pool %s", name)
		}
	}
}

// sameServers reports servers that are in a pool twice.
func (k *checker) sameServers(c *Config) {
	for _, p := range live(c.Pools) {
		b := builder{config: c}
		b.members(p)
		for _, e := range b.errs {
			e.Part = partOf("pool", p.Name)
			k.errs = append(k.errs, e)
		}
	}
}

// sameRoutes reports routes that can never be taken because an earlier one
// asks for the same.
func (k *checker) sameRoutes(l *Listener) {
	type condition struct{ pattern, alpn string }
	seen := map[condition]Position{}
	for _, r := range live(l.Routes) {
		for _, name := range r.validNames() {
			pattern, at := samePattern(name.Value), name.orAt(&r.Source, "server_name")
			for _, protocol := range r.conditions() {
				key := condition{pattern, protocol}
				if first, ok := seen[key]; ok {
					k.errorAt(at, "%s%s is routed already%s", Quote(name.Value), withALPN(protocol), onLine("", first, at))
					continue
				}
				seen[key] = at
			}
		}
	}
}

func withALPN(protocol string) string {
	if protocol == "" {
		return ""
	}
	return " with the ALPN protocol " + Quote(protocol)
}
