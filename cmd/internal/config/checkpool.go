package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"

	"culvert/balancer"
	"culvert/l4"
)

func (k *checker) pool(p *Pool) {
	k.in(partOf("pool", p.Name), func() {
		k.poolName(p)
		k.require(&p.Source, len(p.Servers) > 0, "the pool", "servers")
		for i, s := range p.Servers {
			k.entry(p, s == nil, "servers", i, func() { k.server(s) })
		}
		k.policy(p)
		k.members(p)
		k.poolBounds(p)
		k.sources(p)
		k.siteURL(p)
		if p.Health != nil {
			k.in("health", func() { k.health(p.Health) })
		}
		if p.Ejection != nil {
			k.in("eject", func() { k.ejection(p.Ejection) })
		}
		k.in("sessions", func() { k.sessions(p) })
	})
}

func (k *checker) poolName(p *Pool) {
	switch err := checkName(p.Name); {
	case p.Name == "" || err != nil:
		k.errorAt(p.Position, "%s cannot name a pool: expected printable text without spaces", Quote(p.Name))
	case p.Name == wordReject || p.Name == wordClose:
		k.errorAt(p.Position, "%q cannot name a pool: it is what a listener's default may do", p.Name)
	}
}

// maxName is the longest name accepted, in bytes.
const maxName = 128

func checkName(name string) error {
	if len(name) > maxName {
		return fmt.Errorf("it is %d bytes long, at most %d fit", len(name), maxName)
	}
	for _, r := range name {
		if r <= ' ' || !strconv.IsPrint(r) {
			return fmt.Errorf("it contains %q", r)
		}
	}
	return nil
}

func (k *checker) poolBounds(p *Pool) {
	b := bounded{k, &p.Source}
	b.integer("ipv6_prefix", p.IPv6Prefix, 1, 128)
	b.decimal("bounded_load", p.BoundedLoad, minBound, maxBound)
	b.decimalOr("panic", p.Panic, minShare, maxShare)
	b.duration("slow_start", p.SlowStart, probeSpan)
	b.integerOr("tries", p.Tries, 1, maxTries)
	b.decimalOr("retry_budget", p.RetryBudget, minBudget, maxBudget)
	b.duration("timeouts.connect", p.ConnectTimeout, waitSpan)
	b.duration("timeouts.first_byte", p.FirstByteTimeout, offSpan)
	b.duration("timeouts.failover", p.FailoverTimeout, offSpan)
	b.enumerated("send_proxy", p.SendProxy, p.SendProxy <= l4.ProxyV2)
	k.session(&p.Source, &p.Session)
	k.tcp(&p.TCP)
}

func (k *checker) sources(p *Pool) {
	at := p.ValueAt("source")
	if p.Transparent && len(p.Sources) > 0 {
		k.errorAt(at, "found %s among addresses, expected it alone", Quote("client"))
	}
	for _, a := range p.Sources {
		if !canDialFrom(a) {
			k.wrong(at, a.String(), "client, or the machine's own addresses, such as 10.0.0.5")
		}
	}
}

// canDialFrom reports whether a socket can be bound to a to connect from it.
func canDialFrom(a netip.Addr) bool {
	return a.IsValid() && a.Zone() == "" && !a.IsUnspecified() && !a.IsMulticast()
}

func (k *checker) siteURL(p *Pool) {
	if p.SiteURL == "" {
		return
	}
	if _, err := parseSite(p.SiteURL); err != nil {
		k.wrong(p.ValueAt("site_url"), p.SiteURL, "the https URL of a site, such as https://chat.example.com or https://example.com/chat: "+err.Error())
	}
}

// hashes reports whether a policy gives each client a server of its own.
func hashes(p balancer.Policy) bool {
	switch p {
	case "", balancer.ClientAddress, balancer.Maglev, balancer.NGINXHash:
		return true
	}
	return false
}

// policy reports an unknown policy, and keys that the pool's policy would
// ignore.
func (k *checker) policy(p *Pool) {
	if p.Policy != "" && !slices.Contains(balancer.Policies(), p.Policy) {
		k.unknownPolicy(p)
		return
	}
	if cuts := hashes(p.Policy) && p.Policy != balancer.NGINXHash; !cuts && is(&p.Source, use{"ipv6_prefix", p.IPv6Prefix != 0}) {
		k.errorAt(p.At("ipv6_prefix"), `"ipv6_prefix" has no effect with the policy %s, only with client-address and maglev`, p.Policy)
	}
	if !hashes(p.Policy) && is(&p.Source, use{"bounded_load", p.BoundedLoad != 0}) {
		why := "balances by load already"
		if p.Policy == balancer.RoundRobin {
			why = "does not hash"
		}
		k.errorAt(p.At("bounded_load"), `"bounded_load" has no effect with the policy %s, which %s, only with client-address, maglev and nginx-hash`, p.Policy, why)
	}
	if p.Sessions.Rebalance && !hashes(p.Policy) {
		k.errorAt(p.Sessions.At("rebalance"), `"rebalance" has no effect with the policy %s, which gives clients no server of their own, only with client-address, maglev and nginx-hash`, p.Policy)
	}
}

func (k *checker) unknownPolicy(p *Pool) {
	var known []string
	for _, policy := range balancer.Policies() {
		known = append(known, string(policy))
	}
	k.wrong(p.ValueAt("balance"), string(p.Policy), List(known)+k.suggest.Hint(string(p.Policy), known))
}

func (k *checker) ejection(e *Ejection) {
	b := bounded{k, &e.Source}
	b.integer("failures", e.Failures, 1, maxStreak)
	b.duration("window", e.Window, probeSpan)
	b.duration("time", e.Time, probeSpan)
	b.duration("max_time", e.MaxTime, probeSpan)
	b.decimal("share", e.Share, minShare, maxShare)
	if first := e.firstTime(); e.MaxTime > 0 && e.MaxTime < first {
		k.errorAt(e.At("max_time"), "the max_time (%s) is shorter than the time (%s)", written(e.MaxTime), written(first))
	}
}

func (k *checker) sessions(p *Pool) {
	s := &p.Sessions
	b := bounded{k, &s.Source}
	b.duration("within", s.Within, waitSpan)
	b.decimal("per_second", s.PerSecond, minRate, maxRate)
	within, rate := use{"within", s.Within != 0}, use{"per_second", s.PerSecond != 0}
	if is(&s.Source, within) && is(&s.Source, rate) {
		k.errorAt(s.At("per_second"), `"per_second" and "within" are two paces: give one`)
	}
	if !is(&s.Source, use{"on_down", s.CloseDown}, use{"on_removed", s.CloseRemoved}, use{"rebalance", s.Rebalance}) {
		k.ignored(&s.Source, `without "on_down", "on_removed" or "rebalance"`, []use{within, rate})
	}
}
