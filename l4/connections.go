package l4

import (
	"net/netip"
	"time"
)

// Connection describes a connection that is being served.
type Connection struct {
	ID         uint64
	Client     netip.AddrPort
	Listener   string
	ServerName string
	ALPN       string // offered, joined with commas
	Route      string // its label; "" before it is known, and on a listener without routes
	Pool       string // "" before the route is known
	Server     string // "" before one is picked
	Start      time.Time
	Idle       time.Duration // since the last byte moved
	BytesUp    uint64
	BytesDown  uint64
}

// Connections returns the connections that match, in no order. match runs on
// the loops: it must not block, and must not retain its argument.
func (e *Engine) Connections(match func(*Connection) bool) []Connection {
	parts := make([][]Connection, len(e.loops))
	e.each(func(l *loop) {
		l.matching(match, func(_ *conn, x *Connection) { parts[l.id] = append(parts[l.id], *x) })
	})
	var all []Connection
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}

// matching calls f for each connection of the loop that matches and whose end
// is not decided yet.
func (l *loop) matching(match func(*Connection) bool, f func(*conn, *Connection)) {
	for _, c := range l.conns {
		if c == nil || !l.spec(c).open {
			continue
		}
		if x := l.describe(c); match(&x) {
			f(c, &x)
		}
	}
}

func (l *loop) describe(c *conn) Connection {
	x := Connection{
		ID: c.id, Client: c.client, Listener: c.from.cfg.Name, ServerName: c.name, ALPN: c.alpn,
		Start: l.eng.wall(c.start), Idle: l.now - c.active,
		BytesUp: c.flows[client].bytes, BytesDown: c.flows[server].bytes,
	}
	if c.route != nil {
		x.Route = c.route.Label()
	}
	if c.pool != nil {
		x.Pool = c.pool.Balancer.Name()
	}
	switch {
	case c.server != nil:
		x.Server = c.server.Name()
	case c.handled != nil:
		c.handled.describe(&x)
	}
	return x
}
