package config

import (
	"github.com/goccy/go-yaml/ast"

	"culvert/balancer"
	"culvert/l4"
)

// A pool is an entry of pools.
type pool struct {
	name     word
	policy   balancer.Policy // never empty
	prefix   int             // 0: the balancer's default
	bound    float64         // 0: none
	servers  []server
	settings l4.Pool // without Balancer and Targets
}

// Bounds of a pool's numbers. The balancer checks what concerns the policy.
const (
	poolTimeouts = "a pool's timeouts"

	mostTries  = 1 << 14
	leastBound = 1.001
	mostBound  = 100
)

func (d *decoder) pools(n ast.Node) []*pool {
	var all []*pool
	for _, e := range d.entries(n, "pools") {
		name := word{e.key, e.at}
		if err := checkName(e.key); err != nil || e.key == "" {
			d.errorAt(e.at, "%s cannot name a pool: expected printable text without spaces", quote(e.key))
		}
		if e.key == wordReject || e.key == wordClose {
			d.errorAt(e.at, "%q cannot name a pool: it is what a listener's default may do", e.key)
		}
		if scalarOf(e.value).kind == null {
			d.errorAt(e.at, "the pool has no servers")
			all = append(all, &pool{name: name})
			continue
		}
		all = append(all, d.pool(name, e.value))
	}
	return all
}

func (d *decoder) pool(name word, n ast.Node) *pool {
	p := &pool{name: name, policy: balancer.ClientAddress}
	s := &p.settings
	keys := d.mapping(n, "a pool", fields{
		"balance":      func(n ast.Node) { p.policy = d.policy(n) },
		"servers":      func(n ast.Node) { p.servers = d.servers(n) },
		"ipv6_prefix":  func(n ast.Node) { p.prefix = d.integer(n, 1, 128) },
		"bounded_load": func(n ast.Node) { p.bound = d.decimal(n, leastBound, mostBound) },
		"tries":        func(n ast.Node) { s.Tries = d.integerOr(n, 1, mostTries, "all") },
		"half_close":   func(n ast.Node) { s.Session.KeepHalfClose = d.halfClose(n) },
		"timeouts":     func(n ast.Node) { d.poolTimeouts(n, s) },
		"tcp":          func(n ast.Node) { s.TCP = d.tcp(n) },
	})
	if _, ok := keys["servers"]; !ok && d.isMapping(n) {
		d.errorAt(name.at, "the pool has no servers")
	}
	d.checkPolicy(p, keys)
	d.checkMembers(p, keys["servers"])
	return p
}

func (d *decoder) policy(n ast.Node) balancer.Policy {
	var known []string
	for _, p := range balancer.Policies() {
		known = append(known, string(p))
	}
	return balancer.Policy(d.oneOf(n, known...))
}

func (d *decoder) poolTimeouts(n ast.Node, p *l4.Pool) {
	all := d.sessionTimeouts(&p.Session)
	all["connect"] = func(n ast.Node) { p.ConnectTimeout = d.duration(n, waitSpan) }
	all["first_byte"] = func(n ast.Node) { p.FirstByteTimeout = d.duration(n, offSpan) }
	all["failover"] = func(n ast.Node) { p.FailoverTimeout = d.duration(n, offSpan) }
	d.mapping(n, poolTimeouts, all)
}

// checkPolicy reports keys that the pool's policy would ignore.
func (d *decoder) checkPolicy(p *pool, keys found) {
	cuts, hashes := false, false
	switch p.policy {
	case "": // was reported
		return
	case balancer.ClientAddress, balancer.Maglev:
		cuts, hashes = true, true
	case balancer.NGINXHash:
		hashes = true
	}
	if at, ok := keys["ipv6_prefix"]; ok && !cuts {
		d.errorAt(at, `"ipv6_prefix" has no effect with the policy %s, only with client-address and maglev`, p.policy)
	}
	if at, ok := keys["bounded_load"]; ok && !hashes {
		why := "balances by load already"
		if p.policy == balancer.RoundRobin {
			why = "does not hash"
		}
		d.errorAt(at, `"bounded_load" has no effect with the policy %s, which %s, only with client-address, maglev and nginx-hash`, p.policy, why)
	}
}

// checkMembers looks at what the servers are together; at is where they are.
func (d *decoder) checkMembers(p *pool, at place) {
	primaries, up := 0, 0
	for _, s := range p.servers {
		if !s.config.Backup {
			primaries++
		}
		if !s.config.Down {
			up++
		}
	}
	switch {
	case len(p.servers) == 0: // was reported
	case primaries == 0:
		d.errorAt(at, "every server of the pool is a backup, expected at least one that is not")
	case up == 0:
		d.warnAt(at, "every server of the pool %s is down", p.name.text)
	}
}
