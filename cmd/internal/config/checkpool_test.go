package config

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"culvert/balancer"
	"culvert/l4"
)

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
