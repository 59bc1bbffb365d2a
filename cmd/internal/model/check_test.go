package config

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"culvert/balancer"
	"culvert/health"
	"culvert/l4"
	"culvert/l4/terminate"
)

// good returns a small configuration that is right. Its listener is tls and its
// pool p; the route terminates TLS.
func good() *Config {
	return &Config{
		Listeners: []*Listener{{
			Address: ":443", Name: "tls", Default: To("p"),
			Routes: []*Route{{ServerNames: Texts("a.example"), Target: To("p"), Terminate: &Terminate{Certificates: []*KeyPair{goodPair()}}}},
		}},
		Pools: []*Pool{{Name: "p", Servers: []*Server{{Address: "10.0.0.1:443"}, {Address: "10.0.0.2:443"}}}},
	}
}

func goodPair() *KeyPair {
	return &KeyPair{Certificate: termFile("cert.pem"), Key: termFile("key.pem")}
}

// parts are what a row of the table changes, so that it can be short.
type parts struct {
	*Config
	l *Listener
	r *Route
	t *Terminate
	p *Pool
	s *Server
}

func partsOf(c *Config) parts {
	l, p := c.Listeners[0], c.Pools[0]
	return parts{c, l, l.Routes[0], l.Routes[0].Terminate, p, p.Servers[0]}
}

// A rule is a change of what is right and all that Check says of it.
type rule struct {
	name   string
	change func(parts)
	want   string // errors, one a line; a warning begins with "warning: "
}

func said(c *Config) string {
	errs, warnings := c.Check()
	var all []string
	for _, e := range errs {
		all = append(all, e.Error())
	}
	for _, w := range warnings {
		all = append(all, "warning: "+w.Error())
	}
	text := strings.Join(all, "\n")
	return strings.NewReplacer(termFiles(), "DIR").Replace(text)
}

func expectRules(t *testing.T, rules []rule) {
	t.Helper()
	for _, tt := range rules {
		t.Run(tt.name, func(t *testing.T) {
			c := good()
			tt.change(partsOf(c))
			if diff := cmp.Diff(tt.want, said(c)); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
}

func TestCheckAcceptsWhatIsRight(t *testing.T) {
	if got := said(good()); got != "" {
		t.Error(got)
	}
}

func TestCheckOfTheProcess(t *testing.T) {
	expectRules(t, []rule{
		{"no listeners", func(c parts) { c.Listeners = nil },
			"the file has no listeners\nwarning: no listener leads to the pool p"},
		{"a nil listener", func(c parts) { c.Listeners = append(c.Listeners, nil) }, "entry 2 of listeners is nil"},
		{"a nil pool", func(c parts) { c.Pools = append(c.Pools, nil) }, "entry 2 of pools is nil"},
		{"loops out of range", func(c parts) { c.Loops = -1 }, "loops: found the number -1, expected a whole number from 1 to 1024"},
		{"a drain of years", func(c parts) { c.DrainTimeout = 300 * day }, "drain_timeout: found 300d, expected a duration of 0s to 30d"},
		{"no drain", func(c parts) { c.DrainTimeout = -time.Second }, ""},
		{"admin on a unix socket", func(c parts) { c.Admin.Address = "unix:/run/a" },
			`admin: found "unix:/run/a", expected an address to listen on (":9180", "127.0.0.1:9180" or "[::1]:9180"): not a unix socket`},
		{"admin on a listener's address", func(c parts) { c.Admin.Address = "0.0.0.0:443" },
			`admin: another listener has the address :443, which cannot be bound beside 0.0.0.0:443`},
		{"a control socket as a listener's", func(c parts) { c.Admin.Socket = "unix:/run/a" },
			`admin: found "unix:/run/a", expected the absolute path of a unix socket, such as /run/culvert/admin.sock: the path of a unix socket must be absolute`},
		{"a control socket on a listener's", func(c parts) { c.Admin.Socket, c.l.Address = "/run/a", "unix:/run/a" },
			`admin: another listener has the address unix:/run/a already`},
		{"a group that does not exist", func(c parts) { c.Admin.Socket, c.Admin.Group = "/run/a", "no-such-group" },
			`admin: found "no-such-group", expected the name of a group: this machine has no such group`},
		{"a group without a socket", func(c parts) { c.Admin.Group = "root" }, `admin: "group" has no effect without "socket"`},
		{"an empty admin", func(c parts) { c.Admin.Position = Position{"f", 3, 8} }, "f:3:8: admin has neither an address nor a socket"},
		{"a log that is no path", func(c parts) { c.Log.Access = "stdou" },
			`log: found "stdou", expected stdout, stderr, off or the absolute path of a file, did you mean "stdout"?`},
		{"a webhook that is no web address", func(c parts) { c.Notify.Webhook = "ftp://a/" }, `notify: found "ftp://a/", expected a URL, such as https://example.com/hook`},
		{"a webhook without a host", func(c parts) { c.Notify.Webhook = "http://" }, `notify: found "http://", expected a URL, such as https://example.com/hook`},
		{"a command without a program", func(c parts) { c.Notify.Command = []string{""} }, "notify: expected a program and its arguments"},
		{"a DNS server without a port", func(c parts) { c.DNS.Servers = []netip.AddrPort{netip.MustParseAddrPort("10.0.0.1:0")} },
			`dns: found "10.0.0.1:0", expected the address of a DNS server, such as "10.0.0.2:53"`},
		{"a DNS server that is none", func(c parts) { c.DNS.Servers = []netip.AddrPort{{}} },
			`dns: found "invalid AddrPort", expected the address of a DNS server, such as "10.0.0.2:53"`},
		{"max_ttl below the default of min_ttl", func(c parts) { c.DNS.MaxTTL = 500 * time.Millisecond }, "dns: the max_ttl (500ms) is shorter than the min_ttl (1s)"},
		{"negative times of DNS", func(c parts) { c.DNS.MinTTL, c.DNS.MaxTTL, c.DNS.Timeout = -1, -1, -1 },
			"dns: min_ttl: found -1ns, expected a duration of 100ms to 1d\ndns: max_ttl: found -1ns, expected a duration of 100ms to 1d\ndns: timeout: found -1ns, expected a duration of 10ms to 1d"},
		{"limits out of range", func(c parts) { c.Limits = Limits{Connections: -1, HelloPerPrefix: 1 << 40, BufferMemory: 64} },
			"limits: connections: found the number -1, expected a whole number from 1 to 10000000\n" +
				"limits: hello_per_prefix: found the number 1099511627776, expected a whole number from 1 to 10000000\n" +
				"limits: buffer_memory: found 64B, expected a size of 1MiB to 1024GiB"},
		{"no limit of hellos", func(c parts) { c.Limits.HelloPerPrefix = -1 }, ""},
	})
}

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
			`listener tls: "proxy_protocol: on" is for unix sockets: here give the addresses of the proxies, or anybody could claim to be any client`},
		{"prefixes on a unix socket", func(c parts) {
			c.l.Address, c.l.ProxyProtocol = "unix:/run/a", &ProxyProtocol{From: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}
		}, `listener tls: whoever connects to a unix socket has no address: write "proxy_protocol: on", and let the permissions of the socket say who may`},
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

func TestCheckOfPools(t *testing.T) {
	const hash = ", only with client-address, maglev and nginx-hash"
	expectRules(t, []rule{
		{"no name", func(c parts) { c.Pools = append(c.Pools, &Pool{Servers: c.p.Servers}) },
			"pool without a name: \"\" cannot name a pool: expected printable text without spaces"},
		{"a name that is an action", func(c parts) { c.Pools = append(c.Pools, &Pool{Name: "close", Servers: c.p.Servers}) },
			"pool close: \"close\" cannot name a pool: it is what a listener's default may do\nwarning: no listener leads to the pool close"},
		{"a name with a space", func(c parts) { c.Pools = append(c.Pools, &Pool{Name: "a b", Servers: c.p.Servers}) },
			"pool a b: \"a b\" cannot name a pool: expected printable text without spaces\nwarning: no listener leads to the pool a b"},
		{"a name twice", func(c parts) { c.Pools = append(c.Pools, &Pool{Name: "p", Servers: c.p.Servers}) }, `there is a pool "p" already`},
		{"a pool to which nothing leads", func(c parts) { c.Pools = append(c.Pools, &Pool{Name: "spare", Servers: c.p.Servers}) },
			"warning: no listener leads to the pool spare"},
		{"no servers", func(c parts) { c.p.Servers = nil }, "pool p: the pool has no servers"},
		{"a nil server", func(c parts) { c.p.Servers[1] = nil }, "pool p: entry 2 of servers is nil"},
		{"an unknown policy", func(c parts) { c.p.Policy = "round-robbin" },
			`pool p: found "round-robbin", expected client-address, maglev, nginx-hash, least-connections, random-two or round-robin, did you mean "round-robin"?`},
		{"a prefix without a cut", func(c parts) { c.p.Policy, c.p.IPv6Prefix = balancer.NGINXHash, 48 },
			`pool p: "ipv6_prefix" has no effect with the policy nginx-hash, only with client-address and maglev`},
		{"a bound without a hash", func(c parts) { c.p.Policy, c.p.BoundedLoad = balancer.RoundRobin, 1.25 },
			`pool p: "bounded_load" has no effect with the policy round-robin, which does not hash` + hash},
		{"a bound beside load", func(c parts) { c.p.Policy, c.p.BoundedLoad = balancer.RandomTwo, 1.25 },
			`pool p: "bounded_load" has no effect with the policy random-two, which balances by load already` + hash},
		{"rebalance without a hash", func(c parts) { c.p.Policy, c.p.Sessions.Rebalance = balancer.RandomTwo, true },
			`pool p: "rebalance" has no effect with the policy random-two, which gives clients no server of their own` + hash},
		{"backups alone", func(c parts) { c.p.Servers[0].Backup, c.p.Servers[1].Backup = true, true },
			"pool p: every server of the pool is a backup, expected at least one that is not"},
		{"all down", func(c parts) { c.p.Servers[0].Down, c.p.Servers[1].Down = true, true }, "warning: pool p: every server of the pool p is down"},
		{"numbers out of range", func(c parts) {
			c.p.IPv6Prefix, c.p.BoundedLoad, c.p.Panic, c.p.Tries, c.p.RetryBudget, c.p.SendProxy = 129, 1, 33, 1<<20, 1000, 7
		}, "pool p: ipv6_prefix: found the number 129, expected a whole number from 1 to 128\n" +
			"pool p: bounded_load: found the number 1, expected a number from 1.001 to 100\n" +
			"pool p: panic: found the number 33, expected a number from 0.01 to 1\n" +
			"pool p: tries: found the number 1048576, expected a whole number from 1 to 16384\n" +
			"pool p: retry_budget: found the number 1000, expected a number from 0.01 to 100\n" +
			"pool p: send_proxy: unknown value 7"},
		{"times out of range", func(c parts) {
			c.p.SlowStart, c.p.ConnectTimeout, c.p.FirstByteTimeout, c.p.FailoverTimeout = l4.Off, l4.Off, -2, -2
			c.p.Session.IdleTimeout, c.p.TCP.UserTimeout = -2, -2
		}, "pool p: slow_start: found -1ns, expected a duration of 10ms to 1d\n" +
			"pool p: timeouts.connect: found -1ns, expected a duration of 10ms to 30d\n" +
			"pool p: timeouts.first_byte: found -2ns, expected a duration of 10ms to 30d, or off\n" +
			"pool p: timeouts.failover: found -2ns, expected a duration of 10ms to 30d, or off\n" +
			"pool p: timeouts.idle: found -2ns, expected a duration of 10ms to 30d, or off\n" +
			"pool p: user_timeout: found -2ns, expected a duration of 10ms to 1d, or off"},
		{"what can be off", func(c parts) { c.p.Panic, c.p.Tries, c.p.RetryBudget = -1, -1, -1 }, ""},
		{"a source that no socket has", func(c parts) { c.p.Sources = []netip.Addr{netip.IPv4Unspecified()} },
			`pool p: found "0.0.0.0", expected client, or the machine's own addresses, such as 10.0.0.5`},
		{"two kinds of source", func(c parts) { c.p.Sources, c.p.Transparent = []netip.Addr{netip.MustParseAddr("10.0.0.5")}, true },
			`pool p: found "client" among addresses, expected it alone`},
		{"a site without https", func(c parts) { c.p.SiteURL = "http://chat.example.com" },
			`pool p: found "http://chat.example.com", expected the https URL of a site, such as https://chat.example.com or https://example.com/chat: it must begin with https://`},
		{"an ejection out of range", func(c parts) { c.p.Ejection = &Ejection{Failures: -1, Window: -1, Time: 1, MaxTime: -1, Share: 50} },
			"pool p, eject: failures: found the number -1, expected a whole number from 1 to 1000\n" +
				"pool p, eject: window: found -1ns, expected a duration of 10ms to 1d\n" +
				"pool p, eject: time: found 1ns, expected a duration of 10ms to 1d\n" +
				"pool p, eject: max_time: found -1ns, expected a duration of 10ms to 1d\n" +
				"pool p, eject: share: found the number 50, expected a number from 0.01 to 1"},
		{"max_time below the default of time", func(c parts) { c.p.Ejection = &Ejection{MaxTime: 5 * time.Second} },
			"pool p, eject: the max_time (5s) is shorter than the time (10s)"},
		{"two paces", func(c parts) { c.p.Sessions = Sessions{CloseDown: true, Within: time.Minute, PerSecond: 1} },
			`pool p, sessions: "per_second" and "within" are two paces: give one`},
		{"a pace of nothing", func(c parts) { c.p.Sessions = Sessions{PerSecond: 1} },
			`pool p, sessions: "per_second" has no effect without "on_down", "on_removed" or "rebalance"`},
		{"a pace out of range", func(c parts) { c.p.Sessions = Sessions{CloseDown: true, Within: -1} },
			"pool p, sessions: within: found -1ns, expected a duration of 10ms to 30d"},
		{"a rate out of range", func(c parts) { c.p.Sessions = Sessions{CloseDown: true, PerSecond: -1} },
			"pool p, sessions: per_second: found the number -1, expected a number from 0.01 to 1000000"},
		{"weights that do not fit", func(c parts) {
			c.p.Policy = balancer.NGINXHash
			c.p.Servers = nil
			for i := range 300 {
				c.p.Servers = append(c.p.Servers, &Server{Address: fmt.Sprintf("10.0.%d.%d:443", i/256, i%256), Weight: maxWeight})
			}
		}, `pool "p": nginx-hash: the weights add up to 19660500, at most 104857 fit the ring`},
	})
}

func TestCheckOfServers(t *testing.T) {
	const in = "pool p, server 10.0.0.1:443: "
	expectRules(t, []rule{
		{"no address", func(c parts) { c.s.Address = "" }, "pool p, server without a name: the server has no address"},
		{"port 0", func(c parts) { c.s.Address = "10.0.0.1:0" },
			`pool p, server 10.0.0.1:0: found "10.0.0.1:0", expected a server's address ("10.0.0.1:443", "[2001:db8::1]:443", "host.example.com:443", "srv:_https._tcp.example.com" or "unix:/path"): port 0 cannot be connected to`},
		{"a name with a space", func(c parts) { c.s.Name = "a b" }, `pool p, server a b: found "a b", expected a name: it contains ' '`},
		{"numbers out of range", func(c parts) { c.s.Weight, c.s.MaxConns, c.s.MaxRate, c.s.MaxWait = 70000, -1, 1e9, -1 },
			in + "weight: found the number 70000, expected a whole number from 1 to 65535\n" +
				in + "max_conns: found the number -1, expected a whole number from 1 to 10000000\n" +
				in + "max_rate: found the number 1000000000, expected a number from 0.01 to 1000000\n" +
				in + "max_wait: found -1ns, expected a duration of 10ms to 30d"},
		{"a wait for no rate", func(c parts) { c.s.MaxWait = time.Second }, in + `"max_wait" has no effect without "max_rate"`},
		{"what SRV records say", func(c parts) { *c.s = Server{Address: "srv:a", Name: "n", Weight: 2, Backup: true} },
			srv("name") + "\n" + srv("weight") + "\n" + srv("backup")},
		{"an address twice", func(c parts) { c.p.Servers[1].Address = "[::ffff:10.0.0.1]:443" }, `pool p: the server "10.0.0.1:443" is in the pool already`},
		{"a name twice", func(c parts) { c.p.Servers[0].Name, c.p.Servers[1].Name = "n", "n" }, `pool p: the server "n" is in the pool already`},
		{"an address that is a name", func(c parts) { c.p.Servers[0].Name = "10.0.0.2:443" }, `pool p: the server "10.0.0.2:443" is in the pool already`},
	})
}

func srv(key string) string {
	return `pool p, server n: "` + key + `" has no effect beside an SRV name: its records say which servers there are, and their weights and priorities`
}

func TestCheckOfHealth(t *testing.T) {
	const in = "pool p, health: "
	row := func(name string, h Health, want ...string) rule {
		for i := range want {
			want[i] = in + want[i]
		}
		return rule{name, func(c parts) { c.p.Health = &h }, strings.Join(want, "\n")}
	}
	no := func(where string, keys ...string) (all []string) {
		for _, key := range keys {
			all = append(all, fmt.Sprintf("%q has no effect on %s", key, where))
		}
		return all
	}
	every := Health{
		ServerName: "a", Verify: Verify{System: true}, Host: "a", Method: "GET", Path: "/", Status: []health.StatusRange{{Low: 200, High: 200}}, Body: "a",
		PlainText: true, Deep: true, DeepInterval: time.Minute,
	}
	of := func(kind HealthCheck) Health { h := every; h.Check = kind; return h }
	expectRules(t, []rule{
		row("no check", Health{}, "health has no check"),
		row("an unknown check", Health{Check: "matermost"}, `found "matermost", expected mattermost, tcp, tls, http, https or off, did you mean "mattermost"?`),
		row("off with anything", of(CheckOff)),
		row("everything on tcp", of(CheckTCP), no("a tcp check", "server_name", "verify", "host", "method", "path", "status", "body", "tls", "deep", "deep_interval")...),
		row("everything on tls", of(CheckTLS), no("a tls check", "host", "method", "path", "status", "body", "tls", "deep", "deep_interval")...),
		row("everything on http", of(CheckHTTP), no("an http check", "verify", "tls", "deep", "deep_interval")...),
		row("everything on https", of(CheckHTTPS), no("an https check", "tls", "deep", "deep_interval")...),
		row("everything on mattermost", of(CheckMattermost),
			append(no("a mattermost check", "method", "path", "status", "body"), no("a mattermost check without TLS", "verify")...)...),
		row("a time of no deep check", Health{Check: CheckMattermost, DeepInterval: time.Minute}, `"deep_interval" has no effect without "deep"`),
		row("verified for no name", Health{Check: CheckTLS, Verify: Verify{System: true}}, `"verify" needs "server_name", the name that the certificate has to be for`),
		row("verified by nothing", Health{Check: CheckTLS, Verify: Verify{File: "/dev/null"}},
			`found "/dev/null", expected on, off or the absolute path of a file with certificates in PEM: it has no certificate`),
		row("verified by no file", Health{Check: CheckTLS, ServerName: "a", Verify: Verify{File: "/none"}},
			`found "/none", expected on, off or the absolute path of a file with certificates in PEM: no such file or directory`),
		row("verified by a relative path", Health{Check: CheckTLS, ServerName: "a", Verify: Verify{File: "no/such.pem"}},
			`found "no/such.pem", expected on, off or the absolute path of a file with certificates in PEM: the path must be absolute`),
		row("verified by both", Health{Check: CheckTLS, ServerName: "a", Verify: Verify{true, "/none"}},
			"certificates are verified by the system's authorities or by those of a file, not by both"),
		row("a body of HEAD", Health{Check: CheckHTTPS, Method: "HEAD", Body: "a"}, `"body" can never pass with the method HEAD, whose answers have none`),
		row("texts of a request", Health{Check: CheckHTTPS, ServerName: "a\r\nX: b", Method: "get", Path: "health", Host: "https://a", Body: "~("},
			`found "a\r\nX: b", expected a host name, such as chat.example.com`,
			`found "get", expected an HTTP method, such as GET`,
			`found "health", expected a path, such as /health`,
			`found "https://a", expected a host name, such as chat.example.com`,
			"found \"~(\", expected what the answer contains: a text, or ~ and a regular expression: error parsing regexp: missing closing ): `(`"),
		row("a status out of range", Health{Check: CheckHTTPS, Status: []health.StatusRange{{Low: 300, High: 200}}},
			`found [{300 200}], expected a status or a range of them, such as 204 or "200-399"`),
		row("numbers out of range", Health{Check: CheckTCP, Interval: -1, FastInterval: -1, Timeout: -1, Rise: -1, Fall: 2000, Initial: 9},
			"interval: found -1ns, expected a duration of 10ms to 1d",
			"fast_interval: found -1ns, expected a duration of 10ms to 1d",
			"timeout: found -1ns, expected a duration of 10ms to 1d",
			"rise: found the number -1, expected a whole number from 1 to 1000",
			"fall: found the number 2000, expected a whole number from 1 to 1000",
			"initial: unknown value 9"),
		row("a deep interval out of range", Health{Check: CheckMattermost, Deep: true, DeepInterval: -1}, "deep_interval: found -1ns, expected a duration of 10ms to 1d"),
		row("slower than the interval", Health{Check: CheckTCP, Interval: time.Second, FastInterval: 2 * time.Second, Timeout: 3 * time.Second},
			"the timeout (3s) is longer than the interval (1s)", "the fast_interval (2s) is longer than the interval (1s)"),
		row("an interval below the default timeout", Health{Check: CheckTCP, Interval: time.Second}, "the interval (1s) is shorter than the timeout, which is 2s if it is not set"),
	})
}

func TestCheckOfTermination(t *testing.T) {
	const in = "listener tls, route a.example: "
	secrets := func() *Preauth { return &Preauth{SecretsFile: termFile("secrets")} }
	expectRules(t, []rule{
		{"no certificate", func(c parts) { c.t.Certificates = nil }, in + `terminate has neither "certificates" nor "acme"`},
		{"a nil certificate", func(c parts) { c.t.Certificates = append(c.t.Certificates, nil) }, in + "entry 2 of certificates is nil"},
		{"an empty certificate", func(c parts) { *c.t.Certificates[0] = KeyPair{} },
			in + "a certificate with its key has no certificate\n" + in + "a certificate with its key has no key"},
		{"relative paths", func(c parts) { *c.t.Certificates[0] = KeyPair{Certificate: "a.pem", Key: "a.key"} },
			in + "found \"a.pem\", expected the absolute path of a certificate and its chain in PEM\n" + in + "found \"a.key\", expected the absolute path of a private key in PEM"},
		{"a certificate that is not there", func(c parts) { c.t.Certificates[0].Certificate = "/none.pem" },
			in + "load the certificate: open /none.pem: no such file or directory"},
		{"an account without a directory", func(c parts) { c.t.ACME = &ACME{} }, in + "acme has no cache"},
		{"an account by relative paths", func(c parts) { c.t.ACME = &ACME{Cache: "c", Roots: "r", Directory: "http://ca.example"} },
			in + "found \"c\", expected the absolute path of a directory of culvert's own\n" + in + "found \"r\", expected the absolute path of certificates in PEM\n" +
				in + `found "http://ca.example", expected the https URL of an ACME directory`},
		{"an unknown profile", func(c parts) { c.t.Profile = "old" }, in + "profile: unknown value old"},
		{"numbers out of range", func(c parts) {
			c.t.HSTS, c.t.MaxBody, c.t.MinBodyRate, c.t.MaxHeader = -1, -1, 1<<40, 1
			c.t.HeaderTimeout, c.t.BodyTimeout, c.t.IdleTimeout, c.t.ResponseTimeout = l4.Off, l4.Off, l4.Off, l4.Off
		}, in + "hsts: found -1ns, expected a duration of 1s to 3660d\n" +
			in + "max_body: found -1B, expected a size of 1KiB to 1024GiB\n" +
			in + "min_body_rate: found 1024GiB, expected a size of 1B to 1GiB\n" +
			in + "max_header: found 1B, expected a size of 4KiB to 16MiB\n" +
			in + "timeouts.header: found -1ns, expected a duration of 10ms to 30d\n" +
			in + "timeouts.body: found -1ns, expected a duration of 10ms to 30d\n" +
			in + "timeouts.idle: found -1ns, expected a duration of 10ms to 30d\n" +
			in + "timeouts.response: found -1ns, expected a duration of 10ms to 30d"},
		{"HTTP in TCP", func(c parts) {
			c.t.Raw, c.t.Preauth, c.t.HSTS, c.t.StripRequestHeaders, c.t.StripResponseHeaders = true, secrets(), time.Hour, Texts("A"), Texts("B")
			c.t.MaxBody, c.t.MinBodyRate, c.t.MaxHeader, c.t.BodyTimeout = kib, 1, 4*kib, time.Second
		}, raw("preauth", "hsts", "strip_request_headers", "strip_response_headers", "max_body", "min_body_rate", "max_header", "timeouts")},
		{"a page in TCP", func(c parts) { c.t.Raw, c.t.Clients = true, &ClientCertificates{CA: termFile("cert.pem")} },
			in + `with to: tcp there is no page to answer with: "client_certificates" needs refuse: handshake`},
		{"headers that are none", func(c parts) { c.t.StripRequestHeaders, c.t.StripResponseHeaders = Texts("X-*-A"), Texts("") },
			in + "found \"X-*-A\", expected the name of a header, or its beginning and an asterisk\n" +
				in + "found \"\", expected the name of a header, or its beginning and an asterisk"},
		{"no secrets", func(c parts) { c.t.Preauth = &Preauth{} }, in + "preauth has no secrets_file"},
		{"secrets that are not there", func(c parts) { c.t.Preauth = &Preauth{SecretsFile: "/none"} }, in + "read secrets: open /none: no such file or directory"},
		{"an unknown preset", func(c parts) { c.t.Preauth = secrets(); c.t.Preauth.Presets = Texts("gitlap") },
			in + `found "gitlap", expected always, sso-redirect, saml, openid, oauth, gitlab, google or office365, did you mean "gitlab"?`},
		{"a relative base", func(c parts) {
			c.t.Preauth = secrets()
			c.t.Preauth.Presets, c.t.Preauth.BasePath = Texts("always"), "mattermost"
		},
			in + `preauth: base path "mattermost": write it like /mattermost, or leave it out`},
		{"a nil path", func(c parts) { c.t.Preauth = secrets(); c.t.Preauth.Exempt = []*ExemptPath{nil} }, in + "entry 1 of exempt_paths is nil"},
		{"two paths in one", func(c parts) { c.t.Preauth = secrets(); c.t.Preauth.Exempt = []*ExemptPath{{Path: "/x", Prefix: "/y"}} },
			in + `an exempt path has one of "path", "prefix" and "pattern"`},
		{"a pattern that is none", func(c parts) { c.t.Preauth = secrets(); c.t.Preauth.Exempt = []*ExemptPath{{Pattern: "("}} },
			in + "found \"(\", expected a regular expression: error parsing regexp: missing closing ): `(`"},
		{"a method that is never exempt", func(c parts) {
			c.t.Preauth = secrets()
			c.t.Preauth.Exempt = []*ExemptPath{{Path: "/x", Methods: []string{"TRACE"}}}
		}, in + "preauth: exemption 1: method TRACE is never exempt: take it out"},
		{"no authority", func(c parts) { c.t.Clients = &ClientCertificates{} }, in + "client_certificates has no ca"},
		{"an authority that is none", func(c parts) { c.t.Clients = &ClientCertificates{CA: termFile("key.pem")} },
			in + "load the authorities of client certificates: load client CAs from DIR/key.pem: there is a PRIVATE KEY in it, only CERTIFICATE belongs there"},
		{"a list by a relative path", func(c parts) { c.t.Clients = &ClientCertificates{CA: termFile("cert.pem"), CRLs: []string{"a.crl"}} },
			in + `found "a.crl", expected the absolute path of a revocation list`},
		{"a status without a page", func(c parts) {
			c.t.Clients = &ClientCertificates{CA: termFile("cert.pem"), Handshake: true, Status: 401}
		},
			in + `"status" has no effect with refuse: handshake, which shows no page`},
		{"values of client certificates", func(c parts) {
			c.t.Clients = &ClientCertificates{CA: termFile("cert.pem"), Status: 403, Header: "X Cert", SubjectHeader: "X:", Email: 9}
		}, in + "status: found the number 403, expected a whole number from 400 to 401\n" + in + "email: unknown value 9\n" +
			in + "found \"X Cert\", expected the name of a header\n" + in + "found \"X:\", expected the name of a header"},
		{"an unverified server", func(c parts) { c.t.Encrypt = &Encrypt{Insecure: true} },
			"warning: " + in + "the certificates of the servers are not looked at: whoever is between sees and changes everything"},
		{"verified and not", func(c parts) { c.t.Encrypt = &Encrypt{Insecure: true, Roots: "/none"} },
			in + "the certificates of the servers are verified by those of a file, or not at all, not both"},
		{"a word for a file", func(c parts) { c.t.Encrypt = &Encrypt{Roots: "off"} },
			in + `found "off", expected on, dangerously-off or the absolute path of a file with certificates in PEM`},
		{"authorities that are not there", func(c parts) { c.t.Encrypt = &Encrypt{Roots: "/none"} }, in + "open /none: no such file or directory"},
		{"a server name that is none", func(c parts) { c.t.Encrypt = &Encrypt{ServerName: "a b"} }, in + `found "a b", expected a host name, such as chat.example.com`},
		{"an identity without a key", func(c parts) { c.t.Encrypt = &Encrypt{Identity: &KeyPair{Certificate: termFile("cert.pem")}} }, in + "identity has no key"},
		{"all that is right", func(c parts) {
			c.t.Profile, c.t.Preauth = terminate.Modern, secrets()
			c.t.Preauth.Presets, c.t.Preauth.Exempt = Texts("saml"), []*ExemptPath{{Pattern: "/h.*", Methods: []string{"POST"}}}
			c.t.Clients = &ClientCertificates{CA: termFile("cert.pem"), CRLs: []string{termFile("ca.crl")}, Status: 401}
			c.t.Encrypt = &Encrypt{Roots: termFile("cert.pem"), Identity: goodPair()}
		}, ""},
	})
}

func raw(keys ...string) string {
	var all []string
	for _, key := range keys {
		all = append(all, fmt.Sprintf("listener tls, route a.example: %q has no effect with to: tcp, which knows no HTTP", key))
	}
	return strings.Join(all, "\n")
}
