package l4

import "culvert/balancer"

// Stats is a sum of every loop's counters at one moment. Counters only grow.
type Stats struct {
	Listeners []ListenerStats
	Routes    []RouteStats
	Servers   []ServerStats

	KeptBytes int64 // held in user space now: for slow peers, and hellos not yet whole
	Pipes     int64 // pipes open now, pooled ones included
	Paused    int64 // listeners that some loop does not accept on now (a limit, no descriptors or memory)

	MaxConnections int64 // the most that are served at once
}

// ListenerStats counts the connections of one listener.
type ListenerStats struct {
	Name     string
	Accepted uint64
	Active   int64
	Ended    map[Ending]uint64 // by how they ended
}

// Ending is how a connection ended and who ended it.
type Ending struct {
	By     Party
	Reason Reason
}

// RouteStats counts the connections that a route took.
type RouteStats struct {
	Listener string
	Route    string // Route.Label
	Pool     string // "" when the route does not forward
	Taken    uint64
}

// ServerStats counts one server's connections.
type ServerStats struct {
	Pool        string
	Server      *balancer.Server
	Connections uint64            // connections that relayed
	Active      int64             // being dialed or relayed now
	BytesUp     uint64            // to the server
	BytesDown   uint64            // from the server
	Failures    map[Reason]uint64 // failed attempts
	Failovers   uint64            // failed attempts that another server followed
}

// Stats sums the counters of all loops.
func (e *Engine) Stats() *Stats {
	s := &Stats{
		KeptBytes: e.kept.Load() + e.hellos.Load(),
		Pipes:     e.pipes.pipes.Load(),
		Paused:    e.paused.Load(),

		MaxConnections: e.maxConns,
	}
	e.nameStats(s)
	for _, l := range e.loops {
		l.counters.addTo(s)
	}
	return s
}

// nameStats lays out s: one entry for each listener, route and server.
func (e *Engine) nameStats(s *Stats) {
	for i, ln := range e.cfg.Listeners {
		s.Listeners = append(s.Listeners, ListenerStats{
			Name: ln.Name, Active: e.listeners[i].active.Load(), Ended: map[Ending]uint64{},
		})
	}
	for _, r := range e.routes {
		s.Routes = append(s.Routes, RouteStats{Listener: r.listener, Route: r.route, Pool: r.pool})
	}
	for _, r := range e.servers {
		s.Servers = append(s.Servers, ServerStats{
			Pool: r.pool, Server: r.server, Active: r.server.Active(), Failures: map[Reason]uint64{},
		})
	}
}

func (k *counters) addTo(s *Stats) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for i, n := range k.accepts {
		s.Listeners[i].Accepted += n
		for how, n := range k.endings[i] {
			s.Listeners[i].Ended[how] += n
		}
	}
	for i, n := range k.routes {
		s.Routes[i].Taken += n
	}
	for i := range k.servers {
		sv := &s.Servers[i]
		sv.Connections += k.servers[i].connections
		sv.Failovers += k.servers[i].failovers
		sv.BytesUp += k.bytes[i].flows[client].Load()
		sv.BytesDown += k.bytes[i].flows[server].Load()
		for why, n := range k.failures[i] {
			sv.Failures[why] += n
		}
	}
}
