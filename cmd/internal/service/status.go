package service

import (
	"os"
	"time"

	"culvert/cmd/internal/admin"
)

// Status reports what is served, and how the servers are.
func (s *Service) Status() *admin.Report {
	src := s.source()
	r := src.Report()
	r.PID, r.Started, r.Connections = os.Getpid(), s.started, s.engine.Active()
	for i, a := range s.engine.Addrs() {
		if i < len(r.Listeners) { // else a replacement came between
			r.Listeners[i].Address = a.String()
		}
	}
	return r
}

// source is what the admin server shows.
func (s *Service) source() admin.Source {
	return admin.Source{
		Stats:   s.engine.Stats,
		Dropped: func() uint64 { return s.lost.Load() + s.access.Load().Dropped() },
		Health:  s.health, Requests: s.requests, Draining: s.draining.Load,
		Version: s.opts.Version, Commit: s.opts.Commit, Log: s.log,
	}
}

// health is what the admin server shows of the servers.
func (s *Service) health() *admin.Health {
	h := &admin.Health{Changes: s.events.totals(), Ejections: s.watchers.Load().ejections()}
	for _, x := range s.watchers.Load().watches {
		h.Checks = append(h.Checks, x.Status()...)
	}
	return h
}

// requests is what the admin server shows of routes that terminate TLS.
func (s *Service) requests() *admin.Requests {
	all := s.ends.counts.totals()
	all.Expires = map[admin.RouteName]time.Time{}
	s.ends.mu.Lock()
	defer s.ends.mu.Unlock()
	for _, x := range s.ends.running {
		if x.expires != nil {
			all.Expires[x.name] = x.expires()
		}
	}
	return all
}
