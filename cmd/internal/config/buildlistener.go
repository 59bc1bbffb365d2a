package config

import (
	"fmt"
	"strings"

	"culvert/l4"
)

func (b *builder) listener(l *Listener) *l4.Listener {
	addr, err := parseListen(l.Address)
	if err != nil {
		b.errorAt(l.ValueAt("address"), "%v", err)
	}
	out := &l4.Listener{
		Name: l.named(), Address: addr, MaxConnections: l.MaxConnections, MaxHello: int(l.MaxHello), Backlog: l.Backlog,
		ProxyTimeout: l.ProxyHeaderTimeout, HelloTimeout: l.HelloTimeout, Session: l.Session.limits(), TCP: l.TCP.Options(),
	}
	if l.ProxyProtocol != nil {
		out.Proxied, out.ProxyFrom = true, l.ProxyProtocol.prefixes()
	}
	switch {
	case l.Redirect > 0:
	case l.Pool.Action == ToPool:
		out.Pool = b.goal(&l.Source, "pool", &l.Pool)
	default:
		out.Table = b.table(l)
	}
	if l.Redirect == 0 && l.Plaintext.Action == ToPool {
		out.Plaintext = b.goal(&l.Source, "plaintext", &l.Plaintext)
	}
	return out
}

// limits returns what sessions are given.
func (s *Session) limits() l4.Session {
	return l4.Session{IdleTimeout: s.IdleTimeout, HalfCloseTimeout: s.HalfCloseTimeout, Lifetime: s.Lifetime, KeepHalfClose: s.HalfClose}
}

// goal returns the pool of a target, which must exist.
func (b *builder) goal(s *Source, key string, t *Target) *l4.Pool {
	p := b.pools[t.Pool.Value]
	if p == nil {
		b.errorAt(t.Pool.orAt(s, key), "there is no pool %s", Quote(t.Pool.Value))
	}
	return p
}

func (b *builder) table(l *Listener) *l4.Table {
	var routes []*l4.Route
	for _, r := range live(l.Routes) {
		alpn := values(r.ALPN)
		for _, name := range r.ServerNames {
			route := b.route(&r.Source, "pool", &r.Target)
			if r.Terminate != nil {
				route.Action = l4.Handle
			}
			route.ServerName, route.ALPN, route.SendProxy = name.Value, alpn, r.SendProxy
			routes = append(routes, route)
		}
	}
	table, err := l4.NewTable(routes, b.route(&l.Source, "default", &l.Default))
	if err != nil {
		b.errorAt(l.Position, "%v", err)
	}
	return table
}

// route returns the route to a target, by default one that rejects.
func (b *builder) route(s *Source, key string, t *Target) *l4.Route {
	switch t.Action {
	case ToPool:
		return &l4.Route{Action: l4.Forward, Pool: b.goal(s, key, t)}
	case Close:
		return &l4.Route{Action: l4.Close}
	}
	return &l4.Route{Action: l4.Reject}
}

// terminations returns the routes of l whose TLS ends in culvert; of is what
// was built of l.
func (l *Listener) terminations(of *l4.Listener) (all []Termination) {
	if of.Table == nil {
		return nil
	}
	next := 0
	for _, r := range live(l.Routes) {
		first := next
		next += len(r.ServerNames)
		if r.Terminate == nil {
			continue
		}
		name := strings.Join(values(r.ServerNames), ",")
		all = append(all, Termination{
			Key:      fmt.Sprintf("%s %s %s", of.Name, name, strings.Join(values(r.ALPN), ",")),
			Listener: of.Name, Name: name, Settings: r.Terminate, Names: r.normalNames(), Routes: of.Table.Routes()[first:next],
		})
	}
	return all
}

// normalNames returns the server names in the form that hellos are compared
// with.
func (r *Route) normalNames() []string {
	var all []string
	for _, name := range r.ServerNames {
		all = append(all, samePattern(name.Value))
	}
	return all
}
