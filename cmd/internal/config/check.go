package config

import (
	"fmt"
	"net/netip"
	"slices"

	"culvert/l4/socket"
)

// check looks at what the parts of a file, each right by itself, are
// together: names that must exist, and things that must differ.
func (d *decoder) check(f *File) {
	d.checkTargets(f)
	d.checkListeners(f)
	d.checkServers(f)
	d.checkLoops(f)
	for _, l := range f.listeners {
		d.checkRoutes(l)
	}
}

// checkTargets reports pools that do not exist and warns of those that
// nothing leads to.
func (d *decoder) checkTargets(f *File) {
	var names []string
	used := map[string]bool{}
	for _, p := range f.pools {
		names = append(names, p.name.text)
		used[p.name.text] = false
	}
	for _, t := range f.targets() {
		if _, ok := used[t.pool.text]; !ok {
			hint := d.suggest.hint(t.pool.text, slices.Concat(names, t.others))
			d.errorAt(t.pool.at, "there is no pool %s%s", quote(t.pool.text), hint)
			continue
		}
		used[t.pool.text] = true
	}
	for _, p := range f.pools {
		if !used[p.name.text] {
			d.warnAt(p.name.at, "no listener leads to the pool %s", p.name.text)
		}
	}
}

// checkServers reports servers that are in a pool twice.
func (d *decoder) checkServers(f *File) {
	b := builder{file: f}
	for _, p := range f.pools {
		b.members(p)
	}
	d.errs = append(d.errs, b.errs...)
}

// checkLoops warns of servers that are listeners of the file itself. Which
// addresses the machine has is not asked: beside an equal address only a
// loopback one is known to reach a listener on every address.
func (d *decoder) checkLoops(f *File) {
	at := map[socket.Addr]word{}
	for _, l := range f.listeners {
		if a := l.settings.Address; a.IsValid() {
			at[a] = l.address
		}
	}
	for _, p := range f.pools {
		for _, s := range p.servers {
			if l, ok := reached(at, s.endpoint.addr); ok {
				d.warnAt(s.at, "the server %s is the listener on line %d: a connection would come back to this process without end",
					s.config.Address, l.at.line)
			}
		}
	}
}

// reached returns the listener that a connection to server would arrive at.
func reached(listeners map[socket.Addr]word, server socket.Addr) (word, bool) {
	if !server.IsValid() {
		return word{}, false
	}
	if l, ok := listeners[server]; ok {
		return l, true
	}
	to := server.AddrPort()
	if !to.Addr().IsLoopback() {
		return word{}, false
	}
	all := []netip.Addr{netip.IPv6Unspecified()} // dual-stack
	if to.Addr().Is4() {
		all = append(all, netip.IPv4Unspecified())
	}
	for _, wild := range all {
		if l, ok := listeners[socket.IP(netip.AddrPortFrom(wild, to.Port()))]; ok {
			return l, true
		}
	}
	return word{}, false
}

// targets returns every target that is a pool.
func (f *File) targets() []target {
	var all []target
	for _, l := range f.listeners {
		all = append(all, l.fallback, l.plaintext, l.pool)
		for _, r := range l.routes {
			all = append(all, r.target)
		}
	}
	return slices.DeleteFunc(all, func(t target) bool { return !t.pool.set() })
}

// checkListeners reports listeners, and addresses of admin, that cannot be
// bound beside each other, and names given twice.
func (d *decoder) checkListeners(f *File) {
	names := map[string]place{}
	var addrs bindings
	for _, l := range f.listeners {
		first, taken := addrs.take(l.settings.Address, l.address)
		if taken {
			d.errorAt(l.address.at, "%s", taker(first, l.address.text))
		}
		if taken && l.name == l.address {
			continue // its default name is not another mistake
		}
		if first, ok := names[l.name.text]; ok {
			d.errorAt(l.name.at, "the name %s belongs to the listener on line %d already", quote(l.name.text), first.line)
		} else if l.name.set() {
			names[l.name.text] = l.name.at
		}
	}
	if first, taken := addrs.take(f.Admin.Address, f.adminText); taken {
		d.errorAt(f.adminText.at, "%s", taker(first, f.adminText.text))
	}
	if a, err := socket.Unix(f.Admin.Socket); err == nil {
		if first, taken := addrs.take(a, f.controlText); taken {
			d.errorAt(f.controlText.at, "%s", taker(first, first.text))
		}
	}
}

// bindings are the addresses that a file has bound so far.
type bindings []binding

type binding struct {
	addr socket.Addr
	text word
}

// take adds an address, or returns one that cannot be bound beside it.
func (b *bindings) take(a socket.Addr, text word) (first word, taken bool) {
	if !a.IsValid() {
		return word{}, false
	}
	for _, x := range *b {
		if collide(x.addr, a) {
			return x.text, true
		}
	}
	*b = append(*b, binding{a, text})
	return word{}, false
}

// taker says that the listener at first has what another address asks for.
func taker(first word, text string) string {
	if first.text == text {
		return fmt.Sprintf("the listener on line %d has the address %s already", first.at.line, text)
	}
	return fmt.Sprintf("the listener on line %d has the address %s, which cannot be bound beside %s", first.at.line, first.text, text)
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

// checkRoutes reports routes that can never be taken because an earlier one
// asks for the same.
func (d *decoder) checkRoutes(l *listener) {
	type condition struct{ pattern, alpn string }
	seen := map[condition]place{}
	for _, r := range l.routes {
		for _, name := range r.names {
			pattern := samePattern(name.text)
			for _, protocol := range r.conditions() {
				key := condition{pattern, protocol}
				if first, ok := seen[key]; ok {
					d.errorAt(name.at, "%s%s is routed already on line %d", quote(name.text), withALPN(protocol), first.line)
					continue
				}
				seen[key] = name.at
			}
		}
	}
}

// conditions returns the ALPN protocols that the route asks for, or one empty
// text when it does not ask.
func (r route) conditions() []string {
	if len(r.alpn) == 0 {
		return []string{""}
	}
	return texts(r.alpn)
}

func withALPN(protocol string) string {
	if protocol == "" {
		return ""
	}
	return " with the ALPN protocol " + quote(protocol)
}

func texts(words []word) []string {
	var all []string
	for _, w := range words {
		all = append(all, w.text)
	}
	return all
}
