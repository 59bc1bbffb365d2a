package service

import (
	"context"
	"log/slog"
	"time"

	"culvert/balancer"
	"culvert/cmd/internal/config"
	"culvert/l4"
)

// closeServer closes the connections of a server at a pace, and says so.
func (s *Service) closeServer(pool, server, why string, p l4.Pace) {
	ctx, done := s.closer.begin(fullName(pool, server))
	defer done()
	s.log.Info("closing the connections of a server", "pool", pool, "server", server, "because", why)
	n := s.engine.CloseConnections(ctx, func(c *l4.Connection) bool { return c.Pool == pool && c.Server == server }, p)
	s.log.Info("closed the connections of a server", "pool", pool, "server", server, closed(ctx, n))
}

// closed is what a closing came to: stopped if it was ended early.
func closed(ctx context.Context, n int) slog.Attr {
	attrs := []slog.Attr{slog.Int("connections", n)}
	if ctx.Err() != nil {
		attrs = append(attrs, slog.Bool("stopped", true))
	}
	return slog.Attr{Value: slog.GroupValue(attrs...)}
}

// closeRoute does so with those of a route that is gone.
func (s *Service) closeRoute(r routeName, p l4.Pace) {
	ctx, done := s.closer.begin(r.String())
	defer done()
	s.log.Info("closing the connections of a route", "listener", r.listener, "route", r.route, "pool", r.pool, "because", "it is not configured any more")
	n := s.engine.CloseConnections(ctx, func(c *l4.Connection) bool {
		return c.Listener == r.listener && c.Route == r.route && c.Pool == r.pool
	}, p)
	s.log.Info("closed the connections of a route", "listener", r.listener, "route", r.route, closed(ctx, n))
}

// serverDown does what the file says about the connections of a server whose
// checks fail.
func (s *Service) serverDown(sv *balancer.Server) {
	pool := sv.Pool().Name()
	if p := s.sessions()[pool]; p != nil && p.CloseDown {
		go s.closeServer(pool, sv.Name(), "it is down", p.Pace())
	}
}

// serverBack is called when a server gets connections again: those it had keep
// it, and those that others have of its clients may come back.
func (s *Service) serverBack(sv *balancer.Server) {
	if sv.Down() {
		return
	}
	pool := sv.Pool()
	s.closer.end(fullName(pool.Name(), sv.Name()))
	if p := s.sessions()[pool.Name()]; p != nil && p.Rebalance {
		go s.rebalance(sv, p.Pace())
	}
}

// everWarm is when every slow start is over: a client's own server is the one
// that it has then.
const everWarm = 365 * 24 * time.Hour

// rebalance closes the connections of clients that sv is the first choice of
// and that are elsewhere: they come back to it.
func (s *Service) rebalance(sv *balancer.Server, p l4.Pace) {
	pool, warm := sv.Pool(), s.clock()+everWarm
	away := map[uint64]bool{}
	for _, c := range s.engine.Connections(func(c *l4.Connection) bool { return c.Pool == pool.Name() && c.Server != "" && c.Server != sv.Name() }) {
		if order, ok := pool.Order(c.Client.Addr(), warm); ok && len(order) > 0 && order[0] == sv {
			away[c.ID] = true
		}
	}
	if len(away) == 0 {
		return
	}
	ctx, done := s.closer.begin("rebalance " + fullName(pool.Name(), sv.Name()))
	defer done()
	s.log.Info("bringing clients back to their server", "pool", pool.Name(), "server", sv.Name(), "connections", len(away))
	n := s.engine.CloseConnections(ctx, func(c *l4.Connection) bool { return away[c.ID] }, p)
	s.log.Info("brought clients back", "pool", pool.Name(), "server", sv.Name(), closed(ctx, n))
}

// removed does what the configuration says about the connections of servers and
// of routes that next does not have.
func (s *Service) removed(next *config.Built) {
	old, cfg := s.now.Engine, next.Engine
	policies, before := sessionsOf(next), s.sessions()
	policy := func(pool string) *config.Sessions {
		if p, ok := policies[pool]; ok {
			return p
		}
		return before[pool] // the pool is gone, with all it said
	}
	gone, back := difference(serverNames(old), serverNames(cfg))
	for _, name := range back {
		s.closer.end(fullName(name.pool, name.server))
	}
	for _, name := range gone {
		if p := policy(name.pool); p != nil && p.CloseRemoved {
			go s.closeServer(name.pool, name.server, "it is not configured any more", p.Pace())
		}
	}
	left, again := difference(routeNames(old), routeNames(cfg))
	for _, name := range again {
		s.closer.end(name.String())
	}
	for _, name := range left {
		if p := policy(name.pool); p != nil && p.CloseRemoved {
			go s.closeRoute(name, p.Pace())
		}
	}
}

// difference returns what only old has, and what only now has.
func difference[K comparable](old, now map[K]bool) (gone, come []K) {
	for k := range old {
		if !now[k] {
			gone = append(gone, k)
		}
	}
	for k := range now {
		if !old[k] {
			come = append(come, k)
		}
	}
	return gone, come
}

type serverName struct{ pool, server string }

func serverNames(cfg *l4.Config) map[serverName]bool {
	all := map[serverName]bool{}
	for _, p := range cfg.Pools() {
		for _, sv := range p.Balancer.Servers() {
			all[serverName{p.Balancer.Name(), sv.Name()}] = true
		}
	}
	return all
}

// routeName says which way a connection came to a pool. The route is empty on
// a listener without any.
type routeName struct{ listener, route, pool string }

func (r routeName) String() string { return "route " + r.listener + " " + fullName(r.pool, r.route) }

func routeNames(cfg *l4.Config) map[routeName]bool {
	all := map[routeName]bool{}
	for _, ln := range cfg.Listeners {
		for _, p := range []*l4.Pool{ln.Pool, ln.Plaintext} {
			if p != nil {
				all[routeName{ln.Name, "", p.Balancer.Name()}] = true
			}
		}
		if ln.Table == nil {
			continue
		}
		for _, r := range ln.Table.Routes() {
			if r.Pool != nil {
				all[routeName{ln.Name, r.Label(), r.Pool.Balancer.Name()}] = true
			}
		}
	}
	return all
}

// sessions is what the configuration says about open connections, by pool.
func (s *Service) sessions() map[string]*config.Sessions {
	if m := s.policies.Load(); m != nil {
		return *m
	}
	return nil
}

func (s *Service) setSessions(b *config.Built) {
	m := sessionsOf(b)
	s.policies.Store(&m)
}

func sessionsOf(b *config.Built) map[string]*config.Sessions {
	all := map[string]*config.Sessions{}
	for _, p := range b.Config.Pools {
		all[p.Name] = &p.Sessions
	}
	return all
}
