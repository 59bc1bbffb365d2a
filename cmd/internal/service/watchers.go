package service

import (
	"context"
	"time"

	"culvert/balancer"
	"culvert/cmd/internal/config"
	"culvert/health"
	"culvert/l4"
)

// watchers are the probes and ejectors of all pools.
type watchers struct {
	clock    func() time.Duration
	events   *events
	watches  []*health.Watch
	pools    []*balancer.Pool
	byPool   map[string]*poolWatch
	deciding []*health.Watch // those whose first probes decide
	ejectors map[*balancer.Server]*health.Ejector
}

// poolWatch is what watches a pool. A nil field is a way that is not used.
type poolWatch struct {
	probes  *health.Watch
	ejector *health.Ejector
}

// watch starts the probes and the ejectors. Servers that old, which may be nil,
// watches too keep the state that they have there.
func watch(pools []*config.BuiltPool, clock func() time.Duration, e *events, old *watchers) *watchers {
	w := &watchers{clock: clock, events: e, ejectors: map[*balancer.Server]*health.Ejector{}, byPool: map[string]*poolWatch{}}
	for _, p := range pools {
		var was poolWatch
		if old != nil && old.byPool[p.Balancer.Name()] != nil {
			was = *old.byPool[p.Balancer.Name()]
		}
		w.add(p, was)
	}
	return w
}

// add watches a pool. A cause that is not watched for any more is cleared.
func (w *watchers) add(p *config.BuiltPool, was poolWatch) {
	servers, now := p.Balancer.Servers(), &poolWatch{}
	markUnresolved(p.Pool, w.clock())
	w.byPool[p.Balancer.Name()] = now
	w.pools = append(w.pools, p.Balancer)
	if p.Ejection != nil {
		j := health.NewEjector(p.Balancer, *p.Ejection, w.clock, w.events.ejected, was.ejector)
		now.ejector = j
		for _, s := range servers {
			w.ejectors[s] = j
		}
	}
	if p.Probes != nil {
		x := health.Start(subjects(p), p.Probes.Schedule, w.clock, w.events.changed, was.probes)
		now.probes = x
		w.watches = append(w.watches, x)
		if p.Probes.Schedule.Initial == health.Probe {
			w.deciding = append(w.deciding, x)
		}
	}
	for _, s := range servers {
		if p.Ejection == nil {
			s.Set(balancer.Ejected, false, w.clock())
		}
		if p.Probes == nil {
			s.Set(balancer.Unhealthy, false, w.clock())
		}
	}
}

// markUnresolved sets the cause Unresolved of servers without an address. Build
// makes them as down, with an unspecified address as their target.
func markUnresolved(p *l4.Pool, now time.Duration) {
	for i, s := range p.Balancer.Servers() {
		a := p.Targets[i].Addr()
		absent := !a.IsUnix() && a.AddrPort().Addr().IsUnspecified()
		s.Set(balancer.Unresolved, absent, now)
		if absent {
			s.Set(balancer.Configured, false, now)
		}
	}
}

// subjects are the servers of p that are probed: all except those that are
// configured as down or have no address.
func subjects(p *config.BuiltPool) []health.Subject {
	var all []health.Subject
	d := l4.NewDialer(p.Pool, l4.ProxyInherit)
	for _, s := range p.Balancer.Servers() {
		if s.Causes()&(balancer.Configured|balancer.Unresolved) == 0 {
			all = append(all, health.Subject{
				Server: s, Dial: d.Probe(s, p.Probes.Port),
				Check: p.Probes.Check, Deep: p.Probes.Deep, Every: p.Probes.DeepPace,
			})
		}
	}
	return all
}

// ejections are the servers that are ejected now.
func (w *watchers) ejections() map[*balancer.Server]health.Ejected {
	all := map[*balancer.Server]health.Ejected{}
	for _, p := range w.byPool {
		for _, e := range p.ejector.Ejections() {
			all[e.Server] = e
		}
	}
	return all
}

// outcome records how an attempt at s ended.
func (w *watchers) outcome(s *balancer.Server, r l4.Reason) {
	j := w.ejectors[s]
	switch {
	case j == nil, !r.ServersFault():
	case r == "":
		j.Passed(s)
	default:
		j.Failed(s, string(r))
	}
}

// decide waits for the first probe where that decides, at most until ctx is
// done: a probe has its own timeout. After it the state of the pools is what
// they begin with.
func (w *watchers) decide(ctx context.Context) {
	for _, x := range w.deciding {
		_ = x.First(ctx)
	}
	for _, p := range w.pools {
		w.events.assess(p)
	}
}

// close ends all probes and ejections.
func (w *watchers) close() {
	for _, x := range w.watches {
		x.Close()
	}
	for _, j := range w.ejectors {
		j.Close()
	}
}
