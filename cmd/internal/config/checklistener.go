package config

import (
	"net/netip"

	"culvert/l4"
)

// Words that stand where the name of a pool can.
const (
	wordReject = "reject"
	wordClose  = "close"
)

func (k *checker) listener(l *Listener) {
	k.in(partOf("listener", l.Name, l.Address), func() {
		k.listenAddress(l)
		k.name(l.ValueAt("name"), l.Name)
		k.target(&l.Source, "default", &l.Default, wordReject, wordClose)
		k.target(&l.Source, "plaintext", &l.Plaintext, wordClose)
		k.target(&l.Source, "pool", &l.Pool)
		k.proxies(l)
		k.plain(l)
		k.listenerBounds(l)
		for i, r := range l.Routes {
			k.entry(l, r == nil, "routes", i, func() { k.route(r) })
		}
	})
}

func (k *checker) listenAddress(l *Listener) {
	const want = `an address to listen on (":443", "10.0.0.1:443", "[2001:db8::1]:443" or "unix:/path")`
	k.require(&l.Source, l.Address != "", "the listener", "address")
	if l.Address == "" {
		return
	}
	if _, err := parseListen(l.Address); err != nil {
		k.wrong(l.ValueAt("address"), l.Address, want+": "+err.Error())
	}
}

// name checks what something is called in logs and metrics.
func (k *checker) name(at Position, name string) {
	if err := checkName(name); err != nil {
		k.wrong(at, name, "a name: "+err.Error())
	}
}

func (k *checker) listenerBounds(l *Listener) {
	b := bounded{k, &l.Source}
	b.integer("max_connections", l.MaxConnections, 1, maxConnections)
	b.size("max_hello", l.MaxHello, kib, mib)
	b.integer("backlog", l.Backlog, 1, maxBacklog)
	b.integer("redirect", l.Redirect, 1, maxPort)
	b.duration("timeouts.hello", l.HelloTimeout, offSpan)
	b.duration("timeouts.proxy_header", l.ProxyHeaderTimeout, offSpan)
	k.session(&l.Source, &l.Session)
	k.tcp(&l.TCP)
}

// session checks what listeners and pools both say; s is the block of which
// they are part.
func (k *checker) session(s *Source, v *Session) {
	b := bounded{k, s}
	b.duration("timeouts.idle", v.IdleTimeout, offSpan)
	b.duration("timeouts.half_close", v.HalfCloseTimeout, offSpan)
	b.duration("timeouts.lifetime", v.Lifetime, offSpan)
	b.enumerated("half_close", v.HalfClose, v.HalfClose <= l4.SwitchOff)
}

func (k *checker) tcp(t *TCP) {
	bounded{k, &t.Source}.duration("user_timeout", t.UserTimeout, userSpan)
	b := bounded{k, &t.Keepalive.Source}
	b.duration("idle", t.Keepalive.Idle, idleSpan)
	b.duration("interval", t.Keepalive.Interval, keepaliveSpan)
	b.integer("count", t.Keepalive.Count, 1, maxKeepaliveCount)
}

// proxies sees to it that no peer is believed by accident.
func (k *checker) proxies(l *Listener) {
	key := use{"timeouts.proxy_header", l.ProxyHeaderTimeout != 0}
	p := l.ProxyProtocol
	if p == nil {
		k.ignored(&l.Source, `without "proxy_protocol"`, []use{key})
		return
	}
	at, addr := l.At("proxy_protocol"), l.bound()
	switch {
	case len(p.From) == 0 && addr.IsValid() && !addr.IsUnix():
		k.errorAt(at, `"proxy_protocol: on" is for unix sockets: here give the addresses of the proxies, or any peer could claim to be any client`)
	case len(p.From) > 0 && addr.IsUnix():
		k.errorAt(at, `clients of a unix socket have no address: write "proxy_protocol: on", and let the permissions of the socket say which may connect`)
	}
	if l.Has("proxy_protocol") {
		return // prefixes were read, or reported, by the front end
	}
	for _, from := range p.From {
		if !from.IsValid() {
			k.errorAt(at, "found an invalid prefix, expected the addresses or prefixes of proxies, such as 10.0.0.0/8")
		}
	}
}

// prefixes returns the prefixes of proxies in the form that clients' addresses
// have: masked, and never IPv4-mapped.
func (p *ProxyProtocol) prefixes() []netip.Prefix {
	var all []netip.Prefix
	for _, from := range p.From {
		if from.Addr().Is4In6() && from.Bits() >= 96 {
			from = netip.PrefixFrom(from.Addr().Unmap(), from.Bits()-96)
		}
		all = append(all, from.Masked())
	}
	return all
}

// plain keeps apart listeners that read the hello, those that are plain TCP
// and those that redirect: what one of them would ignore is an error.
func (k *checker) plain(l *Listener) {
	hello := []use{
		{"routes", len(l.Routes) > 0}, {"default", l.Default.isSet()}, {"plaintext", l.Plaintext.isSet()}, {"max_hello", l.MaxHello != 0},
	}
	pool := use{"pool", l.Pool.isSet()}
	switch {
	case is(&l.Source, use{"redirect", l.Redirect != 0}):
		k.ignored(&l.Source, `beside "redirect"`, hello, []use{pool, {"half_close", l.Session.HalfClose != l4.Inherit}})
	case is(&l.Source, pool):
		k.ignored(&l.Source, `beside "pool": such a listener is plain TCP and reads no hello`, hello, []use{{"timeouts.hello", l.HelloTimeout != 0}})
	case !is(&l.Source, hello[:2]...):
		k.errorAt(l.Position, "the listener has neither routes nor a default nor a pool")
	}
}

// isSet reports whether t says anything.
func (t *Target) isSet() bool { return *t != Target{} }

// target checks a target that can be a pool or one of the actions. Whether the
// pool exists is checked by targets.
func (k *checker) target(s *Source, key string, t *Target, actions ...string) {
	found, at := "", s.ValueAt(key)
	switch t.Action {
	case Unset:
		return
	case ToPool:
		if found = t.Pool.Value; found == "" && !s.Has(key) {
			k.errorAt(at, "%q is a pool without a name", key)
		}
		if t.Pool.IsValid() {
			at = t.Pool.Position
		}
	case Reject:
		found = wordReject
	case Close:
		found = wordClose
	default:
		bounded{k, s}.enumerated(key, t.Action, false)
	}
	if (found == wordReject || found == wordClose) && (t.Action == ToPool || !contains(actions, found)) {
		k.wrong(at, found, List(append(append([]string{}, actions...), "the name of a pool")))
	}
}
