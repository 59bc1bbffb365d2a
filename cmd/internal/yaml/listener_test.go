package yaml

import (
	"fmt"
	"time"

	"culvert/l4"
)

// listenerEffects are those of a listener's keys.
var listenerEffects = []effect{
	{inListener, "address: ':443'", func(l loaded) any { return l.listener.Address.String() }, "[::]:443"},
	{inListener, "address: 'unix:/run/a'", func(l loaded) any { return l.listener.Address.String() }, "unix:/run/a"},
	{inListener, "name: public", func(l loaded) any { return l.listener.Name }, "public"},
	{inListener, "routes: [{server_name: a, pool: p}]", func(l loaded) any { return l.route.ServerName }, "a"},
	{inListener, "default: reject", func(l loaded) any { return l.listener.Table.Routes()[0].Action }, l4.Reject},
	{inListener, "default: close", func(l loaded) any { return l.listener.Table.Routes()[0].Action }, l4.Close},
	{inListener, "default: p", func(l loaded) any { return l.pool.Balancer.Name() }, "p"},
	{inListener, "plaintext: p", func(l loaded) any { return l.listener.Plaintext == l.pool }, true},
	{inListener, "plaintext: close", func(l loaded) any { return l.listener.Plaintext == nil }, true},
	{inListener, "pool: p", func(l loaded) any { return l.listener.Table == nil && l.listener.Pool.Balancer.Name() == "p" }, true},
	{inListener, "max_connections: 5", func(l loaded) any { return l.listener.MaxConnections }, 5},
	{inListener, "max_hello: 16KiB", func(l loaded) any { return l.listener.MaxHello }, 16 << 10},
	{inListener, "backlog: 512", func(l loaded) any { return l.listener.Backlog }, 512},
	{inListener, "half_close: on", func(l loaded) any { return l.listener.Session.KeepHalfClose }, l4.SwitchOn},
	{inListener, "half_close: off", func(l loaded) any { return l.listener.Session.KeepHalfClose }, l4.SwitchOff},
	{inListener, "half_close: true", func(l loaded) any { return l.listener.Session.KeepHalfClose }, l4.SwitchOn},
	{inListener, "half_close: false", func(l loaded) any { return l.listener.Session.KeepHalfClose }, l4.SwitchOff},
	{inListener, "proxy_protocol: 10.0.0.1", believed, "true [10.0.0.1/32]"},
	{inListener, "proxy_protocol: [10.0.0.1/8, '2001:DB8::/32']", believed, "true [10.0.0.0/8 2001:db8::/32]"},
	{inListener, "proxy_protocol: ['::ffff:10.0.0.1', '::ffff:10.0.0.0/104']", believed, "true [10.0.0.1/32 10.0.0.0/8]"},
	{inListener, "proxy_protocol: off", believed, "false []"},
	{inListener, "proxy_protocol: on, address: 'unix:/run/a'", believed, "true []"},
	{inListener, "timeouts: {idle: 5m}", func(l loaded) any { return l.listener.Session.IdleTimeout }, 5 * time.Minute},
	{inListener, "tcp: {user_timeout: 5s}", func(l loaded) any { return l.listener.TCP.UserTimeout }, 5 * time.Second},
	{inLTimeouts, "hello: 5s", func(l loaded) any { return l.listener.HelloTimeout }, 5 * time.Second},
	{inLTimeouts, "hello: off", func(l loaded) any { return l.listener.HelloTimeout }, l4.Off},
	{inLTimeouts, "proxy_header: 3s", func(l loaded) any { return l.listener.ProxyTimeout }, 3 * time.Second},
	{inLTimeouts, "proxy_header: off", func(l loaded) any { return l.listener.ProxyTimeout }, l4.Off},
	{inLTimeouts, "idle: off", func(l loaded) any { return l.listener.Session.IdleTimeout }, l4.Off},
	{inLTimeouts, "half_close: 30s", func(l loaded) any { return l.listener.Session.HalfCloseTimeout }, 30 * time.Second},
	{inLTimeouts, "lifetime: 12h", func(l loaded) any { return l.listener.Session.Lifetime }, 12 * time.Hour},
	{inTCP, "user_timeout: off", func(l loaded) any { return l.listener.TCP.UserTimeout < 0 }, true},
	{inTCP, "keepalive: off", func(l loaded) any { return l.listener.TCP.KeepaliveIdle < 0 }, true},
	{inTCP, "keepalive: {idle: 9s}", func(l loaded) any { return l.listener.TCP.KeepaliveIdle }, 9 * time.Second},
	{inKeepalive, "idle: 10s", func(l loaded) any { return l.listener.TCP.KeepaliveIdle }, 10 * time.Second},
	{inKeepalive, "interval: 4s", func(l loaded) any { return l.listener.TCP.KeepaliveInterval }, 4 * time.Second},
	{inKeepalive, "count: 2", func(l loaded) any { return l.listener.TCP.KeepaliveCount }, 2},
}

// routeEffects are those of a route's keys.
var routeEffects = []effect{
	{inRoute, "server_name: A.example, pool: p", func(l loaded) any { return l.route.ServerName }, "A.example"},
	{inRoute, "server_name: [a, '*.b'], pool: p", func(l loaded) any { return l.listener.Table.Routes()[1].ServerName }, "*.b"},
	{inRoute, "server_name: '~^a', pool: p", func(l loaded) any { return l.route.ServerName }, "~^a"},
	{inRoute, "alpn: acme-tls/1, server_name: a, pool: p", func(l loaded) any { return l.route.ALPN }, []string{"acme-tls/1"}},
	{inRoute, "alpn: [h2, http/1.1], server_name: a, pool: p", func(l loaded) any { return l.route.ALPN }, []string{"h2", "http/1.1"}},
	{inRoute, "pool: p, server_name: a", func(l loaded) any { return l.route.Action == l4.Forward && l.route.Pool == l.pool }, true},
	{inRoute, "action: reject, server_name: a", func(l loaded) any { return l.route.Action }, l4.Reject},
	{inRoute, "action: close, server_name: a", func(l loaded) any { return l.route.Action }, l4.Close},
	{inRoute, "send_proxy: v2, server_name: a, pool: p", func(l loaded) any { return l.route.SendProxy }, l4.ProxyV2},
	{inRoute, "send_proxy: off, server_name: a, pool: p", func(l loaded) any { return l.route.SendProxy }, l4.ProxyOff},
	{inRoute, "server_name: a, pool: p", func(l loaded) any { return l.route.SendProxy }, l4.ProxyInherit},
}

// believed says whose PROXY headers are.
func believed(l loaded) any { return fmt.Sprint(l.listener.Proxied, l.listener.ProxyFrom) }
