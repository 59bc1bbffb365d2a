package config

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"culvert/l4"
)

func TestCheckOfListeners(t *testing.T) {
	plain := func(c parts) { *c.l = Listener{Address: ":443", Name: "tls", Pool: To("p")} }
	expectRules(t, []rule{
		{"no address", func(c parts) { c.l.Address = "" }, "listener tls: the listener has no address"},
		{"no port", func(c parts) { c.l.Address = "10.0.0.1" },
			`listener tls: found "10.0.0.1", expected an address to listen on (":443", "10.0.0.1:443", "[2001:db8::1]:443" or "unix:/path"): the port is missing`},
		{"a name with a space", func(c parts) { c.l.Name = "two words" }, `listener two words: found "two words", expected a name: it contains ' '`},
		{"a long name", func(c parts) { c.l.Name = strings.Repeat("a", 129) },
			"listener " + strings.Repeat("a", 129) + `: found "` + strings.Repeat("a", 60) + `"..., expected a name: it is 129 bytes long, at most 128 fit`},
		{"nothing to do", func(c parts) { *c.l = Listener{Address: ":443"} },
			"listener :443: the listener has neither routes nor a default nor a pool\nwarning: no listener leads to the pool p"},
		{"reject for plaintext", func(c parts) { c.l.Plaintext.Action = Reject }, `listener tls: found "reject", expected close or the name of a pool`},
		{"reject for a plain listener", func(c parts) { *c.l = Listener{Address: ":443", Pool: Target{Action: Reject}} },
			"listener :443: found \"reject\", expected the name of a pool\nwarning: no listener leads to the pool p"},
		{"a pool called close", func(c parts) { *c.l = Listener{Address: ":443", Pool: To("close")} },
			"listener :443: found \"close\", expected the name of a pool\nwarning: no listener leads to the pool p"},
		{"an unknown action", func(c parts) { c.l.Default.Action = 9 }, "listener tls: default: unknown value 9"},
		{"a pool without a name", func(c parts) { c.l.Default = To("") }, `listener tls: "default" is a pool without a name`},
		{"a pool that does not exist", func(c parts) { c.l.Default = To("rejekt") }, `listener tls: there is no pool "rejekt", did you mean "reject"?`},
		{"a pool that is close to another", func(c parts) { c.p.Name, c.r.Target, c.l.Default = "mattermost", To("mattermost"), To("matermost") },
			`listener tls: there is no pool "matermost", did you mean "mattermost"?`},
		{"hello's keys on a plain one", func(c parts) {
			plain(c)
			c.l.Routes, c.l.Default, c.l.Plaintext = []*Route{{ServerNames: Texts("a"), Target: To("p")}}, To("p"), Target{Action: Close}
			c.l.MaxHello, c.l.HelloTimeout = 2*kib, time.Second
		}, beside("tls", `beside "pool": such a listener is plain TCP and reads no hello`, "routes", "default", "plaintext", "max_hello", "hello")},
		{"keys beside a redirect", func(c parts) {
			plain(c)
			c.l.Redirect, c.l.Default, c.l.Session.HalfClose = 443, To("p"), l4.SwitchOn
		}, beside("tls", `beside "redirect"`, "default", "pool", "half_close")},
		{"a port that is none", func(c parts) { *c.l = Listener{Address: ":80", Redirect: 70000} },
			"listener :80: redirect: found the number 70000, expected a whole number from 1 to 65535\nwarning: no listener leads to the pool p"},
		{"anybody's PROXY headers", func(c parts) { c.l.ProxyProtocol = &ProxyProtocol{} },
			`listener tls: "proxy_protocol: on" is for unix sockets: here give the addresses of the proxies, or any peer could claim to be any client`},
		{"prefixes on a unix socket", func(c parts) {
			c.l.Address, c.l.ProxyProtocol = "unix:/run/a", &ProxyProtocol{From: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}
		}, `listener tls: clients of a unix socket have no address: write "proxy_protocol: on", and let the permissions of the socket say which may connect`},
		{"a prefix that is none", func(c parts) { c.l.ProxyProtocol = &ProxyProtocol{From: []netip.Prefix{{}}} },
			"listener tls: found an invalid prefix, expected the addresses or prefixes of proxies, such as 10.0.0.0/8"},
		{"a time for no header", func(c parts) { c.l.ProxyHeaderTimeout = time.Second }, `listener tls: "proxy_header" has no effect without "proxy_protocol"`},
		{"numbers out of range", func(c parts) { c.l.MaxConnections, c.l.MaxHello, c.l.Backlog = -1, 1<<40, 1<<40 },
			"listener tls: max_connections: found the number -1, expected a whole number from 1 to 10000000\n" +
				"listener tls: max_hello: found 1024GiB, expected a size of 1KiB to 1MiB\nlistener tls: backlog: found the number 1099511627776, expected a whole number from 1 to 1048576"},
		{"times out of range", func(c parts) {
			c.l.HelloTimeout, c.l.Session = -2, Session{IdleTimeout: 1, HalfCloseTimeout: -5, Lifetime: 400 * day, HalfClose: 9}
		}, "listener tls: timeouts.hello: found -2ns, expected a duration of 10ms to 30d, or off\n" +
			"listener tls: timeouts.idle: found 1ns, expected a duration of 10ms to 30d, or off\n" +
			"listener tls: timeouts.half_close: found -5ns, expected a duration of 10ms to 30d, or off\n" +
			"listener tls: timeouts.lifetime: found 400d, expected a duration of 10ms to 30d, or off\n" +
			"listener tls: half_close: unknown value 9"},
		{"dead peers out of range", func(c parts) {
			c.l.ProxyProtocol = &ProxyProtocol{From: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}
			c.l.ProxyHeaderTimeout = -3
			c.l.TCP = TCP{UserTimeout: 2 * day, Keepalive: Keepalive{Idle: time.Millisecond, Interval: -1, Count: 128}}
		}, "listener tls: timeouts.proxy_header: found -3ns, expected a duration of 10ms to 30d, or off\n" +
			"listener tls: user_timeout: found 2d, expected a duration of 10ms to 1d, or off\n" +
			"listener tls: idle: found 1ms, expected a duration of 1s to 9h, or off\n" +
			"listener tls: interval: found -1ns, expected a duration of 1s to 9h\n" +
			"listener tls: count: found the number 128, expected a whole number from 1 to 127"},
		{"everything off", func(c parts) {
			c.l.HelloTimeout, c.l.Session = l4.Off, Session{IdleTimeout: l4.Off, HalfCloseTimeout: l4.Off, Lifetime: l4.Off, HalfClose: l4.SwitchOff}
			c.l.TCP = TCP{UserTimeout: l4.Off, Keepalive: Keepalive{Idle: l4.Off}}
		}, ""},
		{"one address twice", func(c parts) { c.Listeners = append(c.Listeners, &Listener{Address: ":443", Pool: To("p")}) },
			"listener :443: another listener has the address :443 already"},
		{"a wildcard and one of its addresses", func(c parts) { c.Listeners = append(c.Listeners, &Listener{Address: "[::1]:443", Pool: To("p")}) },
			"listener [::1]:443: another listener has the address :443, which cannot be bound beside [::1]:443"},
		{"one name twice", func(c parts) {
			c.Listeners = append(c.Listeners, &Listener{Address: ":444", Name: "tls", Pool: To("p")})
		},
			`listener tls: the name "tls" belongs to another listener already`},
		{"a nil route", func(c parts) { c.l.Routes = append(c.l.Routes, nil) }, "listener tls: entry 2 of routes is nil"},
		{"a server that is a listener", func(c parts) { c.s.Address = "127.0.0.1:443" },
			"warning: the server 127.0.0.1:443 is a listener of the same configuration: a connection would come back to this process without end"},
	})
}

// beside returns the errors of a listener's keys that have no effect.
func beside(listener, where string, keys ...string) string {
	var all []string
	for _, key := range keys {
		all = append(all, fmt.Sprintf("listener %s: %q has no effect %s", listener, key, where))
	}
	return strings.Join(all, "\n")
}

func TestCheckOfRoutes(t *testing.T) {
	const in, names = "listener tls, route a.example: ", `, expected a server name ("chat.example.com", "*.example.com" or "~^regex$"): `
	pattern := func(text, why string) rule {
		return rule{"the pattern " + text, func(c parts) { c.r.ServerNames = Texts(text) },
			fmt.Sprintf("listener tls, route %s: found %q%s%s", text, text, names, why)}
	}
	expectRules(t, []rule{
		{"no server name", func(c parts) { c.r.ServerNames = nil }, "listener tls, route without a name: the route has no server_name"},
		pattern("10.0.0.1", "an IP address is never a server name (RFC 6066 section 3)"),
		pattern("*", `a wildcard is "*." and a name, for every other name use "default:" of the listener`),
		pattern("a.*.b", `a wildcard is "*." and a name`),
		pattern(".example", `write "*.example" for the names below, and the name itself separately`),
		pattern("bücher.example", "not a host name in its ASCII form"),
		pattern("~(", "error parsing regexp: missing closing ): `(`"),
		{"a protocol twice", func(c parts) { c.r.ALPN = Texts("h2", "h2") }, in + `the protocol "h2" is given twice`},
		{"an empty protocol", func(c parts) { c.r.ALPN = Texts("") }, in + "found an empty text, expected an ALPN protocol, such as h2"},
		{"a long protocol", func(c parts) { c.r.ALPN = Texts(strings.Repeat("a", 256)) },
			in + `found "` + strings.Repeat("a", 60) + `"..., expected an ALPN protocol of at most 255 bytes (RFC 7301 section 3.1)`},
		{"no target", func(c parts) { c.r.Target = Target{} }, in + "the route has neither a pool nor an action"},
		{"a pool and an action", func(c parts) {
			c.r.SetKey("pool", Position{"f", 1, 1}, Position{})
			c.r.SetKey("action", Position{"f", 2, 1}, Position{})
			c.r.Terminate = nil
		}, "f:2:1: the route has both a pool and an action"},
		{"keys without a pool", func(c parts) { c.r.Target, c.r.SendProxy = Target{Action: Close}, l4.ProxyV1 },
			in + "\"send_proxy\" has no effect on a route without a pool\n" + in + "\"terminate\" has no effect on a route without a pool"},
		{"a word for a pool", func(c parts) {
			c.r.SetKey("pool", Position{"f", 1, 1}, Position{"f", 1, 7})
			c.r.Target = Target{Action: Reject}
		}, `f:1:7: found "reject", expected the name of a pool`},
		{"a pool that does not exist", func(c parts) { c.r.Target = To("x") }, `listener tls: there is no pool "x"`},
		{"a pool called reject", func(c parts) { c.r.Target = To("reject") }, in + `found "reject", expected the name of a pool`},
		{"a pool without a name", func(c parts) { c.r.Target = To("") }, in + `"pool" is a pool without a name`},
		{"an unknown action", func(c parts) { c.r.Target, c.r.Terminate = Target{Action: 9}, nil }, in + "action: unknown value 9"},
		{"an unknown version", func(c parts) { c.r.SendProxy = 9 }, in + "send_proxy: unknown value 9"},
		{"the same name twice", func(c parts) {
			c.l.Routes = append(c.l.Routes, &Route{ServerNames: Texts("A.EXAMPLE."), Target: To("p")})
		},
			`listener tls: "A.EXAMPLE." is routed already`},
		{"the same name and protocol twice", func(c parts) {
			c.r.ALPN = Texts("h2", "h3")
			c.l.Routes = append(c.l.Routes, &Route{ServerNames: Texts("a.example"), ALPN: Texts("h3"), Target: To("p")}, &Route{ServerNames: Texts("a.example"), Target: To("p")})
		}, `listener tls: "a.example" with the ALPN protocol "h3" is routed already`},
		{"certificates for a wildcard", func(c parts) {
			c.t.ACME, c.r.ServerNames = &ACME{Cache: "/c"}, Texts("*.example")
		}, `listener tls, route *.example: acme gets certificates for whole names only, not for "*.example"`},
		{"certificates beside a protocol", func(c parts) { c.t.ACME, c.r.ALPN = &ACME{Cache: "/c"}, Texts("h2") },
			in + `acme cannot be proven on a route with "alpn": the authority offers acme-tls/1`},
	})
}
