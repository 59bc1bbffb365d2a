package l4

import "culvert/balancer"

// Stats is a sum of every loop's counters at one moment. Counters only grow.
type Stats struct {
	Listeners []ListenerStats
	Routes    []RouteStats
	Servers   []ServerStats

	BufferedBytes int64 // held in user space now: for slow peers, and hellos not yet whole
	Pipes         int64 // pipes open now, pooled ones included
	Paused        int64 // listeners that some loop does not accept on now (a limit, no descriptors or memory)

	MaxConnections int64 // the most that are served at once
}

// ListenerStats counts the connections of one listener.
type ListenerStats struct {
	Name     string
	Accepted uint64
	Active   int64
	Ended    map[Ending]uint64 // by how they ended
}

// Ending is how a connection ended and which side ended it.
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

// Stats sums the counters of all loops, for what is in the Config now.
func (e *Engine) Stats() *Stats {
	s := &Stats{
		BufferedBytes: e.buffered.Load() + e.hellos.Load(),
		Pipes:         e.pipes.pipes.Load(),
		Paused:        e.paused.Load(),

		MaxConnections: e.active.Max(),
	}
	e.catalog.mu.Lock()
	defer e.catalog.mu.Unlock()
	ids := e.catalog.layOut(s)
	for _, l := range e.loops {
		l.counters.addTo(s, &ids)
	}
	return s
}

// statIDs are the indexes in the counters of what a Stats has entries for.
type statIDs struct{ listeners, routes, servers []int }

// layOut makes an entry of s for each listener, route and server.
func (k *catalog) layOut(s *Stats) (ids statIDs) {
	for _, ln := range k.cfg.Listeners {
		state := k.listeners[ln.Name]
		ids.listeners = append(ids.listeners, state.id)
		s.Listeners = append(s.Listeners, ListenerStats{
			Name: ln.Name, Active: state.active.Load(), Ended: map[Ending]uint64{},
		})
		if ln.Table == nil {
			continue
		}
		for _, r := range ln.Table.Routes() {
			ref := ln.routeRef(r)
			ids.routes = append(ids.routes, r.id)
			s.Routes = append(s.Routes, RouteStats{Listener: ref.listener, Route: ref.route, Pool: ref.pool})
		}
	}
	for _, p := range k.cfg.Pools() {
		ids.servers = append(ids.servers, p.ids...)
		for _, sv := range p.Balancer.Servers() {
			s.Servers = append(s.Servers, ServerStats{
				Pool: p.Balancer.Name(), Server: sv, Active: sv.Active(), Failures: map[Reason]uint64{},
			})
		}
	}
	return ids
}

// addTo adds what the loop counted. It may not have heard yet of what a reload
// brought.
func (k *counters) addTo(s *Stats, ids *statIDs) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for i, id := range ids.listeners {
		if id >= len(k.accepts) {
			continue
		}
		s.Listeners[i].Accepted += k.accepts[id]
		for how, n := range k.endings[id] {
			s.Listeners[i].Ended[how] += n
		}
	}
	for i, id := range ids.routes {
		if id < len(k.routes) {
			s.Routes[i].Taken += k.routes[id]
		}
	}
	for i, id := range ids.servers {
		if id < len(k.servers) {
			k.addServer(&s.Servers[i], id)
		}
	}
}

func (k *counters) addServer(sv *ServerStats, id int) {
	sv.Connections += k.servers[id].connections
	sv.Failovers += k.servers[id].failovers
	sv.BytesUp += k.bytes[id].flows[client].Load()
	sv.BytesDown += k.bytes[id].flows[server].Load()
	for why, n := range k.failures[id] {
		sv.Failures[why] += n
	}
}
