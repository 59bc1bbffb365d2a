package yaml

import (
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"

	"culvert/cmd/internal/config"
	"culvert/l4"
	"culvert/l4/socket"
	"culvert/sniff"
)

const (
	maxBacklog         = 1 << 20
	minHello, maxHello = 1 * kib, 1 * mib

	// maxKeepaliveCount is MAX_TCP_KEEPCNT of linux/tcp.h.
	maxKeepaliveCount = 127
)

var listenerKeys = mapping[config.Listener]{
	id: "listener", what: inListener, source: func(l *config.Listener) *config.Source { return &l.Source },
	keys: []key[config.Listener]{
		{name: "address", required: true, example: ":443",
			value: textOf(`an address to listen on (":443", "10.0.0.1:443", "[2001:db8::1]:443" or "unix:/path")`,
				"`:443`, `10.0.0.1:443`, `[2001:db8::1]:443`, `unix:/path`", func(l *config.Listener) *string { return &l.Address }),
			meaning: "where to listen. Two listeners may not overlap: `:443` takes port 443 of every address"},
		{name: "name", def: "the address as written", value: textOf("a name", "unique", func(l *config.Listener) *string { return &l.Name }),
			meaning: "label in logs and metrics"},
		{name: "routes", def: "none", value: listOf("routes", &routeKeys, func(l *config.Listener) *[]*config.Route { return &l.Routes }),
			meaning: "see below"},
		{name: "default", def: code(wordReject), value: target(func(l *config.Listener) *config.Target { return &l.Default }, wordReject, wordClose),
			meaning: "for a hello without a name, or with one that nothing matches"},
		{name: "plaintext", def: code(wordClose), value: plaintext(),
			meaning: "for bytes that are not TLS"},
		{name: "pool", value: target(func(l *config.Listener) *config.Target { return &l.Pool }),
			meaning: "instead of `routes`, `default` and `plaintext`: plain TCP, dialed at accept"},
		{name: "redirect", value: redirect(), example: "https",
			meaning: "instead of all of the above: plain HTTP, where every request is redirected to the same address with https"},
		{name: "max_connections", def: "no limit of its own", value: integer(1, maxConnections, func(l *config.Listener) *int { return &l.MaxConnections }),
			meaning: "connections at a time"},
		{name: "max_hello", def: code(sizeText(sniff.DefaultLimit)), value: size(minHello, maxHello, func(l *config.Listener) *int64 { return &l.MaxHello }),
			meaning: "the largest hello, record headers included"},
		{name: "backlog", def: "`net.core.somaxconn`", value: integer(1, maxBacklog, func(l *config.Listener) *int { return &l.Backlog }),
			meaning: "accept queue of each loop's socket"},
		{name: "half_close", def: "`on`", value: inherited(func(l *config.Listener) *l4.Switch { return &l.Session.HalfClose }),
			meaning: "`off`: when one side ends both are ended, as nginx does"},
		{name: "proxy_protocol", def: "`off`", value: proxies(), example: "10.0.0.0/8",
			meaning: "every connection begins with a PROXY header and comes from one of these proxies: see below"},
		{name: "timeouts", value: group(&listenerTimeoutKeys), meaning: "see *Timeouts*"},
		{name: "tcp", value: block(&tcpKeys, func(l *config.Listener) *config.TCP { return &l.TCP }),
			meaning: "how clients that vanished are noticed: see *Timeouts*"},
	},
}

// plaintext is a target whose actions Check tells apart: both words mean one.
func plaintext() kind[config.Listener] {
	return target(func(l *config.Listener) *config.Target { return &l.Plaintext }, wordClose)
}

// redirect is where https is: the word, or with another port.
func redirect() kind[config.Listener] {
	const want = "https, or https and a port, such as https:8443"
	return kind[config.Listener]{
		typ: "text", span: "`https`, `https:8443`", schema: func() object { return object{"type": "string", "pattern": "^https(:[0-9]+)?$"} },
		read: func(d *decoder, n ast.Node, l *config.Listener) {
			w := d.text(n, want)
			if w.Value == "https" {
				l.Redirect = 443
				return
			}
			text, ok := strings.CutPrefix(w.Value, "https:")
			port, err := strconv.ParseUint(text, 10, 16)
			if w.Value != "" && (!ok || err != nil || port == 0) {
				d.errorAt(w.Position, "found %s, expected %s", config.Quote(w.Value), want)
				return
			}
			l.Redirect = int(port)
		},
	}
}

// proxies is whose PROXY headers are believed.
func proxies() kind[config.Listener] {
	const want = "the addresses or prefixes of proxies, such as 10.0.0.0/8"
	return kind[config.Listener]{
		typ: "text or list", span: "addresses, prefixes, or `on` for a unix socket",
		schema: func() object { return anyOf(object{"type": "boolean"}, textsSchema()) },
		read: func(d *decoder, n ast.Node, l *config.Listener) {
			if s := scalarOf(n); s.kind == boolean || s.text == "on" || s.text == "off" {
				if on, _ := d.toggle(n); on {
					l.ProxyProtocol = &config.ProxyProtocol{}
				}
				return
			}
			var from []netip.Prefix
			for _, w := range d.texts(n, want) {
				p, ok := parsePrefix(w.Value)
				if !ok {
					d.errorAt(w.Position, "found %s, expected %s", config.Quote(w.Value), want)
					p = netip.Prefix{} // that there is one must not be reported as missing
				}
				from = append(from, p)
			}
			if len(from) > 0 {
				l.ProxyProtocol = &config.ProxyProtocol{From: from}
			}
		},
	}
}

// parsePrefix reads an address or a prefix. Clients are never IPv4-mapped
// addresses, so neither is what they are compared with.
func parsePrefix(text string) (p netip.Prefix, ok bool) {
	if a, err := netip.ParseAddr(text); err == nil {
		return netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen()), a.Zone() == ""
	}
	p, err := netip.ParsePrefix(text)
	if p.Addr().Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p.Masked(), err == nil
}

var listenerTimeoutKeys = mapping[config.Listener]{
	id: "listener timeouts", what: inListenerTimeouts, group: "timeouts.", source: func(l *config.Listener) *config.Source { return &l.Source },
	keys: append([]key[config.Listener]{
		{name: "hello", def: code(written(l4.DefaultHelloTimeout)), value: duration(offSpan, func(l *config.Listener) *time.Duration { return &l.HelloTimeout }), example: "10s",
			meaning: "from accept to a whole hello; bytes do not extend it"},
		{name: "proxy_header", def: code(written(l4.DefaultProxyTimeout)), value: duration(offSpan, func(l *config.Listener) *time.Duration { return &l.ProxyHeaderTimeout }),
			meaning: "from accept to a whole PROXY header, within `hello`"},
	}, sessionKeys(func(l *config.Listener) *config.Session { return &l.Session })...),
}

// sessionKeys are the timeouts that listeners and pools have in common.
func sessionKeys[T any](at func(*T) *config.Session) []key[T] {
	return []key[T]{
		{name: "idle", def: code(written(l4.DefaultIdleTimeout)), value: duration(offSpan, func(t *T) *time.Duration { return &at(t).IdleTimeout }), example: "10m",
			meaning: "since the last byte in either direction"},
		{name: "half_close", def: code(written(l4.DefaultHalfCloseTimeout)), value: duration(offSpan, func(t *T) *time.Duration { return &at(t).HalfCloseTimeout }),
			meaning: "since the last byte, once one side has ended"},
		{name: "lifetime", def: "`off`", value: duration(offSpan, func(t *T) *time.Duration { return &at(t).Lifetime }),
			meaning: "from accept"},
	}
}

var tcpKeys = mapping[config.TCP]{
	id: "tcp", what: "tcp", source: func(t *config.TCP) *config.Source { return &t.Source },
	keys: []key[config.TCP]{
		{name: "user_timeout", def: code(written(socket.DefaultUserTimeout)), value: duration(userSpan, func(t *config.TCP) *time.Duration { return &t.UserTimeout }),
			meaning: "how long sent data may stay unacknowledged, and a window closed"},
		{name: "keepalive", value: keepalive(), meaning: "probes of a silent peer: `off`, or how"},
	},
}

// keepalive is off, or the three numbers of tcp(7).
func keepalive() kind[config.TCP] {
	k := block(&keepaliveKeys, func(t *config.TCP) *config.Keepalive { return &t.Keepalive })
	read := k.read
	k.span = "`off`, or a mapping"
	k.read = func(d *decoder, n ast.Node, t *config.TCP) {
		if s := scalarOf(n); s.kind != notScalar {
			if s.text != "off" {
				d.errorf(n, "found %s, expected off or a mapping with idle, interval and count", describe(n))
				return
			}
			t.Keepalive.Idle = l4.Off
			return
		}
		read(d, n, t)
	}
	return k
}

var keepaliveKeys = mapping[config.Keepalive]{
	id: "keepalive", what: "keepalive", source: func(k *config.Keepalive) *config.Source { return &k.Source },
	short: func() object { return object{"const": "off"} },
	keys: []key[config.Keepalive]{
		{name: "idle", def: code(written(socket.DefaultKeepaliveIdle)), value: duration(keepaliveSpan, func(k *config.Keepalive) *time.Duration { return &k.Idle }),
			meaning: "silence before the first probe, or up to a third less: sockets that fell silent together are not probed together"},
		{name: "interval", def: code(written(socket.DefaultKeepaliveInterval)), value: duration(keepaliveSpan, func(k *config.Keepalive) *time.Duration { return &k.Interval }),
			meaning: "between probes"},
		{name: "count", def: decimalText(socket.DefaultKeepaliveCount), value: integer(1, maxKeepaliveCount, func(k *config.Keepalive) *int { return &k.Count }),
			meaning: "unanswered probes after which the connection is closed"},
	},
}

var routeKeys = mapping[config.Route]{
	id: "route", what: inRoute, source: func(r *config.Route) *config.Source { return &r.Source },
	keys: []key[config.Route]{
		{name: "server_name", required: true, example: "chat.example.com",
			value:   textsOf(`a server name ("chat.example.com", "*.example.com" or "~^regex$")`, "name, `*.name`, `~regexp`", func(r *config.Route) *[]config.Text { return &r.ServerNames }),
			meaning: "which hellos. A list is one route for each name"},
		{name: "alpn", def: "no condition", value: textsOf("an ALPN protocol, such as h2", "1 to 255 bytes each", func(r *config.Route) *[]config.Text { return &r.ALPN }), example: "h2",
			meaning: "only hellos that offer one of these protocols"},
		{name: "pool", value: target(func(r *config.Route) *config.Target { return &r.Target }),
			meaning: "where they go"},
		{name: "action", value: oneOf(func(r *config.Route, word string) { r.Target = targetOf(config.Text{Value: word}, true) }, wordReject, wordClose),
			meaning: "instead of a pool"},
		{name: "send_proxy", def: "the pool's", value: sendProxy(func(r *config.Route) *l4.ProxyVersion { return &r.SendProxy }),
			meaning: "the PROXY header that servers get of these connections"},
		{name: "terminate", def: "none", value: optional(&terminateKeys, func(r *config.Route) **config.Terminate { return &r.Terminate }),
			meaning: "TLS ends in culvert: see below. For a route with a pool"},
	},
}

// sendProxy is which PROXY header servers get.
func sendProxy[T any](at func(*T) *l4.ProxyVersion) kind[T] {
	versions := map[string]l4.ProxyVersion{"off": l4.ProxyOff, "v1": l4.ProxyV1, "v2": l4.ProxyV2}
	return oneOf(func(t *T, word string) { *at(t) = versions[word] }, "off", "v1", "v2")
}
