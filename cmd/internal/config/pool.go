package config

import (
	"net/url"
	"time"

	"github.com/goccy/go-yaml/ast"

	"culvert/balancer"
	"culvert/health"
	"culvert/l4"
)

// A pool is an entry of pools.
type pool struct {
	name     word
	policy   balancer.Policy // never empty
	prefix   int             // 0: the balancer's default
	bound    float64         // 0: none
	servers  []server
	settings l4.Pool  // without Balancer and Targets
	site     *url.URL // where users find it; nil: not said

	slowStart time.Duration
	panic     float64
	probes    *Probes          // nil: none
	ejection  *health.Ejection // nil: none
	sessions  Sessions
}

// Sessions says what becomes of the connections that there are when a server's
// state changes, and how fast.
type Sessions struct {
	CloseDown    bool // of a server whose checks fail
	CloseRemoved bool // of one that is in the file no more
	Rebalance    bool // of clients whose first choice comes back into service
	Pace         l4.Pace
}

// Sessions returns what the file says for each pool, by name.
func (f *File) Sessions() map[string]Sessions {
	all := map[string]Sessions{}
	for _, p := range f.pools {
		all[p.name.text] = p.sessions
	}
	return all
}

// defaultSessionPace is over which time connections are closed: a reconnect
// storm is what the pace is for.
const defaultSessionPace = 30 * time.Second

// wordKeep leaves connections alone.
const wordKeep = "keep"

func (d *decoder) sessions(n ast.Node) (s Sessions, keys found) {
	s.Pace.Within = defaultSessionPace
	closes := func(n ast.Node) bool { return d.oneOf(n, wordKeep, wordClose) == wordClose }
	keys = d.mapping(n, "sessions", fields{
		"on_down":    func(n ast.Node) { s.CloseDown = closes(n) },
		"on_removed": func(n ast.Node) { s.CloseRemoved = closes(n) },
		"rebalance":  func(n ast.Node) { s.Rebalance = d.toggle(n) },
		"within":     func(n ast.Node) { s.Pace.Within = d.duration(n, waitSpan) },
		"per_second": func(n ast.Node) { s.Pace = l4.Pace{PerSecond: d.decimal(n, leastRate, mostRate)} },
	})
	_, within := keys["within"]
	if at, ok := keys["per_second"]; ok && within {
		d.errorAt(at, `"per_second" and "within" are two paces: give one`)
	}
	if !keys.any("on_down", "on_removed", "rebalance") {
		d.ignored(keys, `without "on_down", "on_removed" or "rebalance"`, []string{"within", "per_second"})
	}
	return s, keys
}

// defaultRetryBudget is for pools that eject servers, where few attempts fail.
const defaultRetryBudget = 0.2

// defaultPanic is under which share of servers in service all are used.
const defaultPanic = 1.0 / 3

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
	p := &pool{name: name, policy: balancer.ClientAddress, panic: defaultPanic}
	ejection := defaultEjection
	p.ejection = &ejection
	s := &p.settings
	var sessions found
	keys := d.mapping(n, "a pool", fields{
		"balance":      func(n ast.Node) { p.policy = d.policy(n) },
		"servers":      func(n ast.Node) { p.servers = d.servers(n) },
		"ipv6_prefix":  func(n ast.Node) { p.prefix = d.integer(n, 1, 128) },
		"bounded_load": func(n ast.Node) { p.bound = d.decimal(n, leastBound, mostBound) },
		"tries":        func(n ast.Node) { s.Tries = d.integerOr(n, 1, mostTries, "all") },
		"half_close":   func(n ast.Node) { s.Session.KeepHalfClose = d.halfClose(n) },
		"timeouts":     func(n ast.Node) { d.poolTimeouts(n, s) },
		"tcp":          func(n ast.Node) { s.TCP = d.tcp(n) },
		"source":       func(n ast.Node) { s.Sources, s.Transparent = d.sources(n) },
		"send_proxy":   func(n ast.Node) { s.SendProxy = d.sendProxy(n) },
		"health":       func(n ast.Node) { p.probes = d.probes(n) },
		"eject":        func(n ast.Node) { p.ejection = d.ejection(n) },
		"panic":        func(n ast.Node) { p.panic = d.decimalOrOff(n, 0.01, 1) },
		"slow_start":   func(n ast.Node) { p.slowStart = d.duration(n, probeSpan) },
		"retry_budget": func(n ast.Node) { s.RetryBudget = d.decimalOrOff(n, 0.01, 100) },
		"sessions":     func(n ast.Node) { p.sessions, sessions = d.sessions(n) },
		"site_url":     func(n ast.Node) { p.site = d.siteURL(n) },
	})
	if _, ok := keys["retry_budget"]; !ok && p.ejection != nil {
		s.RetryBudget = defaultRetryBudget
	}
	if p.sessions.Rebalance && p.policy != "" && !hashes(p.policy) {
		d.errorAt(sessions["rebalance"], `"rebalance" has no effect with the policy %s, which gives clients no server of their own, only with client-address, maglev and nginx-hash`, p.policy)
	}
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

// hashes reports whether a policy gives each client a server of its own.
func hashes(p balancer.Policy) bool {
	return p == balancer.ClientAddress || p == balancer.Maglev || p == balancer.NGINXHash
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
