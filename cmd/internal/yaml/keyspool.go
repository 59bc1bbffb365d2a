package yaml

import (
	"net/netip"
	"time"

	"github.com/goccy/go-yaml/ast"

	"culvert/balancer"
	"culvert/cmd/internal/config"
	"culvert/l4"
)

const (
	maxTries           = 1 << 14
	minBound, maxBound = 1.001, 100
	maxWeight          = 1<<16 - 1
	minRate, maxRate   = 0.01, 1_000_000
)

var poolKeys = mapping[config.Pool]{
	id: "pool", what: inPool, source: func(p *config.Pool) *config.Source { return &p.Source },
	keys: []key[config.Pool]{
		{name: "balance", def: code(string(balancer.ClientAddress)), value: oneOf(func(p *config.Pool, word string) { p.Policy = balancer.Policy(word) }, policies()...),
			meaning: "how a server is picked: see below"},
		{name: "servers", required: true, value: servers(), example: []string{"10.0.0.11:443", "10.0.0.12:443"},
			meaning: "addresses, or mappings with one"},
		{name: "bounded_load", def: "none", value: decimal(minBound, maxBound, func(p *config.Pool) *float64 { return &p.BoundedLoad }),
			meaning: "most connections on a server, as a multiple of its share; the rest goes to the client's next server"},
		{name: "ipv6_prefix", def: "64", value: integer(1, 128, func(p *config.Pool) *int { return &p.IPv6Prefix }),
			meaning: "bits of an IPv6 client address that count, for `client-address` and `maglev`"},
		{name: "tries", def: decimalText(l4.DefaultTries), value: integerOr(1, maxTries, "all", func(p *config.Pool) *int { return &p.Tries }),
			meaning: "servers tried for a connection, the first included"},
		{name: "health", def: "`off`", value: healthBlock(), example: "mattermost",
			meaning: "active checks of the servers: see *Health*"},
		{name: "eject", def: "on", value: ejectBlock(),
			meaning: "takes a server out of service for a while when connections to it fail: see *Health*"},
		{name: "panic", def: "0.333", value: decimalOrOff(0.01, 1, func(p *config.Pool) *float64 { return &p.Panic }),
			meaning: "when less than this share of the servers is in service, all are used except those that are out on purpose: a few servers would not last under the load of all, and a check that fails everywhere is more likely wrong than right. Primaries and backups are counted apart, and while the other group can serve there is no panic"},
		{name: "slow_start", def: "none", value: duration(probeSpan, func(p *config.Pool) *time.Duration { return &p.SlowStart }),
			meaning: "how long a server that comes back gets less than its share, from a tenth at first. With policies that hash its clients come back one by one, and stay"},
		{name: "retry_budget", def: decimalText(config.DefaultRetryBudget), value: decimalOrOff(0.01, 100, func(p *config.Pool) *float64 { return &p.RetryBudget }),
			meaning: "attempts after a first one, as a share of the connections; a thousand are saved up. With `eject: off` there is no bound unless this says one"},
		{name: "sessions", value: block(&sessionsKeys, func(p *config.Pool) *config.Sessions { return &p.Sessions }),
			meaning: "what happens to open connections when a server fails, leaves or comes back: see below"},
		{name: "source", def: "the kernel's choice", value: sources(), example: "10.0.0.5",
			meaning: "addresses that servers are dialed from: see below"},
		{name: "send_proxy", def: "`off`", value: sendProxy(func(p *config.Pool) *l4.ProxyVersion { return &p.SendProxy }),
			meaning: "the PROXY header that the servers get: see below"},
		{name: "site_url", def: "the routes' names", example: "https://chat.example.com",
			value: textOf("the https URL of a site, such as https://chat.example.com or https://example.com/chat",
				"an https URL, with a port unless that is 443, and a path if it has one", func(p *config.Pool) *string { return &p.SiteURL }),
			meaning: "the pool is a Mattermost, and this its `SiteURL`: what `culvert doctor` compares the servers with. It does not affect routing"},
		{name: "half_close", def: "the listener's", value: inherited(func(p *config.Pool) *l4.Switch { return &p.Session.HalfClose }),
			meaning: "as of a listener, for this pool"},
		{name: "timeouts", def: "the listener's", value: group(&poolTimeoutKeys), meaning: "see *Timeouts*"},
		{name: "tcp", value: block(&tcpKeys, func(p *config.Pool) *config.TCP { return &p.TCP }),
			meaning: "how servers that vanished are noticed: see *Timeouts*. It is not inherited from the listener, whose `tcp` is for clients"},
	},
}

func policies() (words []string) {
	for _, p := range balancer.Policies() {
		words = append(words, string(p))
	}
	return words
}

var poolTimeoutKeys = mapping[config.Pool]{
	id: "pool timeouts", what: inPoolTimeouts, group: "timeouts.", source: func(p *config.Pool) *config.Source { return &p.Source },
	keys: append([]key[config.Pool]{
		{name: "connect", def: code(written(l4.DefaultConnectTimeout)), value: duration(waitSpan, func(p *config.Pool) *time.Duration { return &p.ConnectTimeout }), example: "1s",
			meaning: "each attempt to connect, those of health checks too"},
		{name: "first_byte", def: code(written(l4.DefaultFirstByteTimeout)), value: duration(offSpan, func(p *config.Pool) *time.Duration { return &p.FirstByteTimeout }),
			meaning: "from connected to the server's first byte, TLS only"},
		{name: "failover", def: code(written(l4.DefaultFailoverTimeout)), value: duration(offSpan, func(p *config.Pool) *time.Duration { return &p.FailoverTimeout }),
			meaning: "all attempts together, from the whole hello to the first byte"},
	}, sessionKeys(func(p *config.Pool) *config.Session { return &p.Session })...),
}

// sources is where a pool's servers are dialed from.
func sources() kind[config.Pool] {
	const want, client = "client, or the machine's own addresses, such as 10.0.0.5", "client"
	k := textsOf[config.Pool](want, "`client`, addresses", nil)
	k.read = func(d *decoder, n ast.Node, p *config.Pool) {
		words := d.texts(n, want)
		if len(words) == 1 && words[0].Value == client {
			p.Transparent = true
			return
		}
		for _, w := range words {
			a, err := netip.ParseAddr(w.Value)
			switch {
			case w.Value == client:
				d.errorAt(w.Position, "found %s among addresses, expected it alone", config.Quote(w.Value))
			case err != nil || a.Zone() != "" || a.IsUnspecified() || a.IsMulticast():
				d.errorAt(w.Position, "found %s, expected %s", config.Quote(w.Value), want)
			default:
				p.Sources = append(p.Sources, a.Unmap())
			}
		}
	}
	return k
}

// wantServer is what an address of a server should be.
const wantServer = `a server's address ("10.0.0.1:443", "[2001:db8::1]:443", "host.example.com:443", "srv:_https._tcp.example.com" or "unix:/path")`

var serverKeys = mapping[config.Server]{
	id: "server", what: inServer, source: func(s *config.Server) *config.Source { return &s.Source }, short: textSchema,
	keys: []key[config.Server]{
		{name: "address", required: true, example: "10.0.0.11:443",
			value:   textOf(wantServer, "`10.0.0.1:443`, `[2001:db8::1]:443`, `host:443`, `srv:name`, `unix:/path`", func(s *config.Server) *string { return &s.Address }),
			meaning: "where to connect. A host with several addresses becomes several servers: see *Names*"},
		{name: "name", def: "the address", value: textOf("a name", "unique in the pool", func(s *config.Server) *string { return &s.Name }),
			meaning: "in logs and metrics, and what `client-address` and `maglev` hash: keep it and the address may change. A host must have one address then"},
		{name: "weight", def: "1", value: integer(1, maxWeight, func(s *config.Server) *int { return &s.Weight }),
			meaning: "share of the clients"},
		{name: "backup", def: "`off`", value: toggle(true, func(s *config.Server) *bool { return &s.Backup }),
			meaning: "used only when no other server is left to try. It counts against `tries`: behind three others that fail, 3 do not reach it"},
		{name: "down", def: "`off`", value: toggle(true, func(s *config.Server) *bool { return &s.Down }),
			meaning: "gets no connections"},
		{name: "max_conns", def: "none", value: integer(1, maxConnections, func(s *config.Server) *int { return &s.MaxConns }),
			meaning: "connections at a time; at the limit the next server is picked"},
		{name: "max_rate", def: "none", value: decimal(minRate, maxRate, func(s *config.Server) *float64 { return &s.MaxRate }),
			meaning: "new connections a second. Those that come faster wait for a slot, in the order in which they came"},
		{name: "max_wait", def: code(written(time.Second)), value: duration(waitSpan, func(s *config.Server) *time.Duration { return &s.MaxWait }),
			meaning: "how long; a connection that would wait longer goes to the next server"},
	},
}

// servers is a list of addresses, or of mappings with one.
func servers() kind[config.Pool] {
	return kind[config.Pool]{
		typ: "list", span: "one or more", schema: func() object { return listSchema(serverKeys.schema()) },
		read: func(d *decoder, n ast.Node, p *config.Pool) {
			for _, e := range d.list(n, "servers") {
				s := &config.Server{}
				s.Position = d.position(e)
				if _, ok := e.(ast.MapNode); ok {
					serverKeys.decode(d, e, s)
				} else if s.Address = d.text(e, wantServer).Value; s.Address == "" {
					continue
				}
				p.Servers = append(p.Servers, s)
			}
		},
	}
}

var sessionsKeys = mapping[config.Sessions]{
	id: "sessions", what: "sessions", source: func(s *config.Sessions) *config.Source { return &s.Source },
	keys: []key[config.Sessions]{
		{name: "on_down", def: "`keep`", value: keepOrClose(func(s *config.Sessions) *bool { return &s.CloseDown }),
			meaning: "connections of a server whose checks fail. Closing stops when it is up again"},
		{name: "on_removed", def: "`keep`", value: keepOrClose(func(s *config.Sessions) *bool { return &s.CloseRemoved }),
			meaning: "those of a server that is no longer in the file, or that a name no longer stands for; also of a route to this pool that is gone"},
		{name: "rebalance", def: "`off`", value: toggle(true, func(s *config.Sessions) *bool { return &s.Rebalance }),
			meaning: "when a server comes back: close the connections of its own clients that are elsewhere. For policies that hash"},
		{name: "within", def: code(written(config.DefaultSessionPace)), value: duration(waitSpan, func(s *config.Sessions) *time.Duration { return &s.Within }),
			meaning: "over which time all are closed, or"},
		{name: "per_second", value: decimal(minRate, maxRate, func(s *config.Sessions) *float64 { return &s.PerSecond }),
			meaning: "how many are closed a second"},
	},
}

func keepOrClose(at func(*config.Sessions) *bool) kind[config.Sessions] {
	return oneOf(func(s *config.Sessions, word string) { *at(s) = word == wordClose }, "keep", wordClose)
}
