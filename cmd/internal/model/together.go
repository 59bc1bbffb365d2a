package config

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"culvert/l4/socket"
)

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

// loops warns of servers that are listeners of the configuration itself. Which
// addresses the machine has is not asked: beside an equal address only a
// loopback one is known to reach a listener on every address.
func (k *checker) loops(c *Config) {
	at := map[socket.Addr]Position{}
	for _, l := range live(c.Listeners) {
		if a := l.bound(); a.IsValid() {
			at[a] = l.ValueAt("address")
		}
	}
	for _, p := range live(c.Pools) {
		for _, s := range live(p.Servers) {
			e, err := parseServer(s.Address)
			if err != nil {
				continue
			}
			if l, ok := reached(at, e.addr); ok {
				here := s.ValueAt("address")
				k.warnAt(here, "the server %s is %s: a connection would come back to this process without end", s.Address, itsListener(l, here))
			}
		}
	}
}

func itsListener(there, at Position) string {
	if line := onLine("", there, at); line != "" {
		return "the listener" + line
	}
	return "a listener of the same configuration"
}

// reached returns where the listener is that a connection to server would
// arrive at.
func reached(listeners map[socket.Addr]Position, server socket.Addr) (Position, bool) {
	if !server.IsValid() {
		return Position{}, false
	}
	if at, ok := listeners[server]; ok {
		return at, true
	}
	to := server.AddrPort()
	if !to.Addr().IsLoopback() {
		return Position{}, false
	}
	all := []netip.Addr{netip.IPv6Unspecified()} // dual-stack
	if to.Addr().Is4() {
		all = append(all, netip.IPv4Unspecified())
	}
	for _, wild := range all {
		if at, ok := listeners[socket.IP(netip.AddrPortFrom(wild, to.Port()))]; ok {
			return at, true
		}
	}
	return Position{}, false
}

// bound returns the address of the listener; invalid if it is not one.
func (l *Listener) bound() socket.Addr {
	a, err := parseListen(l.Address)
	if err != nil {
		return socket.Addr{}
	}
	return a
}

// label returns what a listener is called in logs and metrics, and where that
// is said; "" if neither its name nor its address can be used.
func (l *Listener) label() (string, Position) {
	if l.Name != "" && checkName(l.Name) == nil {
		return l.Name, l.ValueAt("name")
	}
	if !l.bound().IsValid() {
		return "", Position{}
	}
	return l.Address, l.ValueAt("address")
}

// addresses reports listeners, and addresses of admin, that cannot be bound
// beside each other, and names given twice.
func (k *checker) addresses(c *Config) {
	names := map[string]Position{}
	var addrs bindings
	for _, l := range live(c.Listeners) {
		name, at := l.label()
		k.in(partOf("listener", l.Name, l.Address), func() {
			if k.take(&addrs, l.bound(), l.Address, l.ValueAt("address")) && name == l.Address {
				return // its default name is not another mistake
			}
			if first, ok := names[name]; ok {
				k.errorAt(at, "the name %s belongs to %s already", Quote(name), theListener(first, at))
			} else if name != "" {
				names[name] = at
			}
		})
	}
	k.in("admin", func() {
		if a, err := c.Admin.address(); err == nil {
			k.take(&addrs, a, c.Admin.Address, c.Admin.ValueAt("address"))
		}
		if a, err := parseUnix(c.Admin.Socket); err == nil {
			k.take(&addrs, a, unixPrefix+c.Admin.Socket, c.Admin.ValueAt("socket"))
		}
	})
}

// bindings are the addresses that a configuration has bound so far.
type bindings []binding

type binding struct {
	addr socket.Addr
	text string
	at   Position
}

// take adds an address, or reports that it cannot be bound beside one that is
// there, and returns true.
func (k *checker) take(all *bindings, a socket.Addr, text string, at Position) (taken bool) {
	if !a.IsValid() {
		return false
	}
	for _, x := range *all {
		if collide(x.addr, a) {
			k.errorAt(at, "%s", taker(x, text, at))
			return true
		}
	}
	*all = append(*all, binding{a, text, at})
	return false
}

// taker says that the listener of first has what another address asks for.
func taker(first binding, text string, at Position) string {
	taken := theListener(first.at, at)
	if first.text == text {
		return fmt.Sprintf("%s has the address %s already", taken, text)
	}
	return fmt.Sprintf("%s has the address %s, which cannot be bound beside %s", taken, first.text, text)
}

// collide reports whether two addresses cannot both be bound: an unspecified
// address takes all of its family, and the dual-stack socket of [::] also those
// of IPv4 (ipv6(7)). A port of 0 is never taken.
func collide(a, b socket.Addr) bool {
	if a.IsUnix() || b.IsUnix() {
		return a == b
	}
	x, y := a.AddrPort(), b.AddrPort()
	return x.Port() == y.Port() && x.Port() != 0 && (x == y || covers(x.Addr(), y.Addr()) || covers(y.Addr(), x.Addr()))
}

func covers(wild, a netip.Addr) bool {
	return wild == netip.IPv6Unspecified() || wild == netip.IPv4Unspecified() && (a.Is4() || a == netip.IPv6Unspecified())
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

// named returns the name of a listener, "" if it has none that can be used.
func (l *Listener) named() string {
	name, _ := l.label()
	return cmp.Or(name, l.Address)
}
