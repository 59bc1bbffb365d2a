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
	addrs := map[socket.Addr]word{}
	for _, l := range f.listeners {
		a := bindKey(l.settings.Address)
		first, taken := addrs[a]
		if taken {
			d.errorAt(l.address.at, "%s", taker(first, l.address.text))
		} else if a.IsValid() {
			addrs[a] = l.address
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
	if first, ok := addrs[bindKey(f.Admin.Address)]; ok {
		d.errorAt(f.adminText.at, "%s", taker(first, f.adminText.text))
	}
	if a, err := socket.Unix(f.Admin.Socket); err == nil {
		if first, ok := addrs[a]; ok {
			d.errorAt(f.controlText.at, "%s", taker(first, first.text))
		}
	}
}

// taker says that the listener at first has what another address asks for.
func taker(first word, text string) string {
	if first.text == text {
		return fmt.Sprintf("the listener on line %d has the address %s already", first.at.line, text)
	}
	return fmt.Sprintf("the listener on line %d has the address %s, which takes %s too", first.at.line, first.text, text)
}

// bindKey returns what is equal for two addresses that cannot both be bound:
// the dual-stack socket of [::] takes 0.0.0.0 too (ipv6(7)). A port of 0 is
// never taken, and gives the invalid Addr.
func bindKey(a socket.Addr) socket.Addr {
	ap := a.AddrPort()
	switch {
	case a.IsUnix():
		return a
	case ap.Port() == 0:
		return socket.Addr{}
	case ap.Addr().IsUnspecified():
		return socket.IP(netip.AddrPortFrom(netip.IPv6Unspecified(), ap.Port()))
	}
	return a
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
