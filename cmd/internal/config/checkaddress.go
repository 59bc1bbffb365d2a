package config

import (
	"cmp"
	"fmt"
	"net/netip"

	"culvert/l4/socket"
)

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

// named returns the name of a listener, "" if it has none that can be used.
func (l *Listener) named() string {
	name, _ := l.label()
	return cmp.Or(name, l.Address)
}
