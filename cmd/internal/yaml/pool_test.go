package yaml

import (
	"fmt"
	"net/netip"
	"time"

	"culvert/balancer"
	"culvert/cmd/internal/config"
	"culvert/health"
	"culvert/l4"
)

// poolEffects are those of a pool's keys.
var poolEffects = []effect{
	{inPool, "balance: random-two", func(l loaded) any { return l.pool.Balancer.Policy() }, balancer.RandomTwo},
	{inPool, "servers: ['10.0.0.2:80']", func(l loaded) any { return l.server.Address() }, "10.0.0.2:80"},
	{inPool, "ipv6_prefix: 128", hostsDiffer, true},
	{inPool, "bounded_load: 1.25", spread, true},
	{inPool, "tries: 5", func(l loaded) any { return l.pool.Tries }, 5},
	{inPool, "tries: all", func(l loaded) any { return l.pool.Tries }, -1},
	{inPool, "half_close: off", func(l loaded) any { return l.pool.Session.KeepHalfClose }, l4.SwitchOff},
	{inPool, "timeouts: {connect: 1s}", func(l loaded) any { return l.pool.ConnectTimeout }, time.Second},
	{inPool, "tcp: {user_timeout: 5s}", func(l loaded) any { return l.pool.TCP.UserTimeout }, 5 * time.Second},
	{inPool, "health: tcp", func(l loaded) any { return healthOf(l).Probes.Check.Kind }, health.TCP},
	{inPool, "health: mattermost", func(l loaded) any { return healthOf(l).Probes.Check.Request.Path }, "/api/v4/system/ping"},
	{inPool, "health: {check: tls}", func(l loaded) any { return healthOf(l).Probes.Check.Kind }, health.TLS},
	{inPool, "health: off", func(l loaded) any { return healthOf(l).Probes == nil }, true},
	{inPool, "eject: {failures: 5}", func(l loaded) any { return healthOf(l).Ejection.Failures }, 5},
	{inPool, "eject: off", func(l loaded) any { return healthOf(l).Ejection == nil }, true},
	{inPool, "panic: 0.6", panicsWithOneDown, true},
	{inPool, "panic: off", panicsWithAllDown, false},
	{inPool, "tries: 1", panicsWithOneDown, false}, // a third
	{inPool, "tries: 2", panicsWithAllDown, true},
	{inPool, "slow_start: 30s", warmAfter, 30 * time.Second},
	{inPool, "retry_budget: 1.5", func(l loaded) any { return l.pool.RetryBudget }, 1.5},
	{inPool, "retry_budget: off", func(l loaded) any { return l.pool.RetryBudget }, 0.0},
	{inPool, "tries: 4", func(l loaded) any { return l.pool.RetryBudget }, 0.2},
	{inPool, "eject: off, tries: 4", func(l loaded) any { return l.pool.RetryBudget }, 0.0},
	{inPool, "eject: off, retry_budget: 0.5", func(l loaded) any { return l.pool.RetryBudget }, 0.5},
	{inPool, "sessions: {on_down: close}", func(l loaded) any { return sessionsOf(l).CloseDown }, true},
	{inPool, "source: client", dialedFrom, "true []"},
	{inPool, "source: [client]", dialedFrom, "true []"},
	{inPool, "source: 10.0.0.5", dialedFrom, "false [10.0.0.5]"},
	{inPool, "source: [10.0.0.5, '::ffff:10.0.0.6', '2001:db8::5']", dialedFrom, "false [10.0.0.5 10.0.0.6 2001:db8::5]"},
	{inPool, "send_proxy: v1", func(l loaded) any { return l.pool.SendProxy }, l4.ProxyV1},
	{inPool, "send_proxy: v2", func(l loaded) any { return l.pool.SendProxy }, l4.ProxyV2},
	{inPool, "send_proxy: off", func(l loaded) any { return l.pool.SendProxy }, l4.ProxyOff},
	{inPool, "site_url: https://chat.example.com", siteOf, "https://chat.example.com true"},
	{inPool, "site_url: 'https://chat.example.com:8443/mm/'", siteOf, "https://chat.example.com:8443/mm true"},
	{inPool, "health: mattermost, tries: 1", siteOf, "<nil> true"},
	{inPool, "health: https, tries: 1", siteOf, "<nil> false"},
	{inPTimeouts, "connect: 2s", func(l loaded) any { return l.pool.ConnectTimeout }, 2 * time.Second},
	{inPTimeouts, "first_byte: off", func(l loaded) any { return l.pool.FirstByteTimeout }, l4.Off},
	{inPTimeouts, "failover: 9s", func(l loaded) any { return l.pool.FailoverTimeout }, 9 * time.Second},
	{inPTimeouts, "idle: 1d", func(l loaded) any { return l.pool.Session.IdleTimeout }, 24 * time.Hour},
	{inPTimeouts, "half_close: off", func(l loaded) any { return l.pool.Session.HalfCloseTimeout }, l4.Off},
	{inPTimeouts, "lifetime: off", func(l loaded) any { return l.pool.Session.Lifetime }, l4.Off},
}

// serverEffects are those of a server's keys.
var serverEffects = []effect{
	{inServer, "address: '10.0.0.2:80'", func(l loaded) any { return l.pool.Targets[0].Addr().String() }, "10.0.0.2:80"},
	{inServer, "address: 'unix:/run/a'", func(l loaded) any { return l.pool.Targets[0].Addr().String() }, "unix:/run/a"},
	{inServer, "address: '[2001:DB8::2]:80'", func(l loaded) any { return l.server.Name() }, "[2001:DB8::2]:80"},
	{inServer, "name: a", func(l loaded) any { return l.server.Name() }, "a"},
	{inServer, "weight: 7", func(l loaded) any { return l.server.Weight() }, 7},
	{inServer, "backup: on", func(l loaded) any { return l.server.Backup() }, true},
	{inServer, "down: true", func(l loaded) any { return l.server.Down() }, true},
	{inServer, "max_conns: 1", spread, true},
	{inServer, "weight: 1", turns, 100},
	{inServer, "max_rate: 1", turns, 2},
	{inServer, "max_rate: 0.5", turns, 1},
	{inServer, "max_wait: 3s, max_rate: 1", turns, 4},
}

// sessionEffects are those of the keys of sessions.
var sessionEffects = []effect{
	{inSessions, "on_down: close", sessionsOfP, closings{Down: true, Pace: l4.Pace{Within: 30 * time.Second}}},
	{inSessions, "on_down: keep", sessionsOfP, closings{Pace: l4.Pace{Within: 30 * time.Second}}},
	{inSessions, "on_removed: close", sessionsOfP, closings{Removed: true, Pace: l4.Pace{Within: 30 * time.Second}}},
	{inSessions, "on_removed: keep", sessionsOfP, closings{Pace: l4.Pace{Within: 30 * time.Second}}},
	{inSessions, "rebalance: on", sessionsOfP, closings{Rebalance: true, Pace: l4.Pace{Within: 30 * time.Second}}},
	{inSessions, "within: 2m, on_down: close", sessionsOfP, closings{Down: true, Pace: l4.Pace{Within: 2 * time.Minute}}},
	{inSessions, "per_second: 2.5, on_down: close", sessionsOfP, closings{Down: true, Pace: l4.Pace{PerSecond: 2.5}}},
}

// siteOf says what is known of the site that the pool serves.
func siteOf(l loaded) any {
	s := l.built.Sites()[0]
	return fmt.Sprint(s.SiteURL, " ", s.Mattermost)
}

func sessionsOf(l loaded) config.Sessions { return l.built.Pools[0].Config.Sessions }

// closings are which connections of p are closed, and how fast.
type closings struct {
	Down, Removed, Rebalance bool
	Pace                     l4.Pace
}

func sessionsOfP(l loaded) any {
	s := sessionsOf(l)
	return closings{s.CloseDown, s.CloseRemoved, s.Rebalance, s.Pace()}
}

// dialedFrom says where the servers are dialed from.
func dialedFrom(l loaded) any {
	if l.file.Transparent() != l.pool.Transparent {
		return "the file and its pool differ"
	}
	return fmt.Sprint(l.pool.Transparent, l.pool.Sources)
}

// panicsWithOneDown reports whether the pool, of two servers, is in panic with
// one of them down, and panicsWithAllDown with both.
func panicsWithOneDown(l loaded) any { return panics(l, 1) }
func panicsWithAllDown(l loaded) any { return panics(l, 2) }

func panics(l loaded, down int) bool {
	for _, s := range l.pool.Balancer.Servers()[:down] {
		s.Set(balancer.Unhealthy, true, 0)
	}
	return l.pool.Balancer.Panics()
}

// warmAfter returns how long the slow start of a server takes.
func warmAfter(l loaded) any {
	const back = time.Second
	l.server.Set(balancer.Unhealthy, true, 0)
	l.server.Set(balancer.Unhealthy, false, back)
	return l.pool.Balancer.ServerStates()[0].WarmAt - back
}

// turns counts the connections, of a hundred that come at once, that the
// server takes.
func turns(l loaded) any {
	n := 0
	for range 100 {
		if _, ok := l.server.Slot(10 * time.Second); ok {
			n++
		}
	}
	return n
}

// hostsDiffer reports whether two hosts of one /64 can go to two servers.
func hostsDiffer(l loaded) any {
	seen := map[*balancer.Server]bool{}
	for i := range 64 {
		order, _ := l.pool.Balancer.Order(netip.MustParseAddr(fmt.Sprintf("2001:db8::%x", i+1)), 0)
		seen[order[0]] = true
	}
	return len(seen) == 2
}

// spread reports whether the connections of one client, of a sort that
// prefers the first server, go to both servers.
func spread(l loaded) any {
	client := preferring(l.pool.Balancer, 0)
	seen := map[*balancer.Server]bool{}
	for range 10 {
		s := balancer.Selection{Client: client}
		srv, err := l.pool.Balancer.Pick(&s, 0)
		if err != nil {
			return err
		}
		seen[srv] = true
	}
	return len(seen) == 2
}

// preferring returns a client whose first choice is the server with that index.
func preferring(p *balancer.Pool, index int) netip.Addr {
	for a := netip.MustParseAddr("192.0.2.1"); ; a = a.Next() {
		if order, _ := p.Order(a, 0); order[0].Index() == index {
			return a
		}
	}
}
