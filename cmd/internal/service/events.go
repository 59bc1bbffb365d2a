package service

import (
	"context"
	"log/slog"
	"maps"
	"sync"
	"time"

	"culvert/balancer"
	"culvert/cmd/internal/admin"
	"culvert/cmd/internal/notify"
	"culvert/health"
)

// events logs, counts and sends notifications of what happens to servers. It
// lives as long as the Service, over all replacements.
type events struct {
	log *slog.Logger

	mu       sync.Mutex
	down     func(*balancer.Server) // nil: not followed yet
	back     func(*balancer.Server)
	cfg      notify.Config
	notifier *notify.Notifier
	counts   map[admin.Change]uint64
	panics   map[string]bool // the pools whose panic was logged
}

func newEvents(cfg notify.Config, log *slog.Logger) *events {
	return &events{log: log, cfg: cfg, notifier: notify.Start(cfg, log), counts: map[admin.Change]uint64{}, panics: map[string]bool{}}
}

// setTeller changes what is notified.
func (e *events) setTeller(cfg notify.Config) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if cfg.Equal(e.cfg) {
		return
	}
	go e.notifier.Close() // may wait for a notification in progress
	e.cfg, e.notifier = cfg, notify.Start(cfg, e.log)
}

func (e *events) close() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.notifier.Close()
}

// changed is called by a health.Watch.
func (e *events) changed(c health.Change) {
	if c.Up {
		e.note(slog.LevelInfo, "server is up", c.Server, notify.Up, "", "probes", c.Probes)
		e.tell(c.Server, notify.Up)
		return
	}
	e.tell(c.Server, notify.Down)
	e.note(slog.LevelWarn, "server is down", c.Server, notify.Down, c.Err.Error(), "probes", c.Probes)
}

// ejected is called by a health.Ejector.
func (e *events) ejected(j health.Ejected) {
	if j.For == 0 {
		e.note(slog.LevelInfo, "ejection is over", j.Server, notify.Readmitted, "")
		e.tell(j.Server, notify.Readmitted)
		return
	}
	e.note(slog.LevelWarn, "server ejected", j.Server, notify.Ejected, j.Why, "for", j.For)
}

// follow has down called when a server's checks fail, and back when one cause
// less keeps a server out of service, from now on.
func (e *events) follow(down, back func(*balancer.Server)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.down, e.back = down, back
}

func (e *events) tell(s *balancer.Server, event string) {
	e.mu.Lock()
	f := e.back
	if event == notify.Down {
		f = e.down
	}
	e.mu.Unlock()
	if f != nil {
		f(s)
	}
}

// drained is called by an operator.
func (e *events) drained(s *balancer.Server, drained bool) {
	if drained {
		e.note(slog.LevelInfo, "server drained", s, notify.Drained, "")
		return
	}
	e.note(slog.LevelInfo, "server undrained", s, notify.Undrained, "")
}

func (e *events) note(level slog.Level, msg string, s *balancer.Server, event, reason string, attrs ...any) {
	pool := s.Pool().Name()
	attrs = append([]any{"pool", pool, "server", s.Name()}, attrs...)
	if reason != "" {
		attrs = append(attrs, "reason", reason)
	}
	e.log.Log(context.Background(), level, msg, attrs...)
	e.assess(s.Pool())
	e.mu.Lock()
	defer e.mu.Unlock()
	e.counts[admin.Change{Pool: pool, Server: s.Name(), Event: event}]++
	e.notifier.Send(notify.Event{Time: time.Now().UTC(), Event: event, Pool: pool, Server: s.Name(), Address: s.Address(), Reason: reason})
}

// assess logs when a pool begins to panic, and when that is over. The lock is
// held meanwhile, so that what is logged last is how it is.
func (e *events) assess(p *balancer.Pool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	name, panics := p.Name(), p.Panics()
	if panics == e.panics[name] {
		return
	}
	e.panics[name] = panics
	up, of := p.InService()
	if panics {
		e.log.Warn("too few servers are in service, all are used", "pool", name, "in_service", up, "of", of)
		return
	}
	e.log.Info("enough servers are in service again", "pool", name, "in_service", up, "of", of)
}

// totals returns how often each thing happened.
func (e *events) totals() map[admin.Change]uint64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	return maps.Clone(e.counts)
}
