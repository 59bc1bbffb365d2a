package main

import (
	"cmp"
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"culvert/balancer"
	"culvert/cmd/internal/accesslog"
	"culvert/cmd/internal/admin"
	"culvert/cmd/internal/config"
	"culvert/cmd/internal/resolve"
	"culvert/l4"
)

// service is everything that runs for a configuration. Each part is started
// by start and ended by drain.
type service struct {
	log       *slog.Logger
	clock     func() time.Duration // of the engine and of the servers' health
	events    *events
	watchers  atomic.Pointer[watchers]
	access    atomic.Pointer[accesslog.Log] // nil: off
	lost      atomic.Uint64                 // lines of access logs that were closed
	engine    *l4.Engine
	closer    closer
	policies  atomic.Pointer[map[string]config.Sessions] // by pool
	ends      *terminators
	started   time.Time
	draining  atomic.Bool
	upgrading atomic.Bool
	left      chan struct{} // closed when another process has taken over: successor
	renamed   chan struct{} // other names are in use

	successor int // the process; valid once left is closed

	changing sync.Mutex // held by a reload and by an upgrade; guards what follows
	file     *config.File
	cfg      *l4.Config
	resolver *resolve.Resolver
	stop     context.CancelFunc // ends what runs in the background
	admin    *admin.Server      // nil: not configured
	control  *admin.Control     // nil: not configured
}

// startService brings everything up, or nothing. The listeners are bound
// before the admin address: who may not bind either is told of the one that
// matters. Nothing is served before everything is there.
func startService(file *config.File, from *inheritance, log *slog.Logger) (*service, error) {
	resolver := resolve.New(file.DNS)
	cfg, err := buildConfig(file, resolver)
	if err != nil {
		return nil, err
	}
	begun := time.Now().Add(-from.clock())
	s := &service{
		log: log, file: file, cfg: cfg, resolver: resolver, started: time.Now(), left: make(chan struct{}), renamed: make(chan struct{}, 1),
		clock: func() time.Duration { return time.Since(begun) },
	}
	access, err := accesslog.Open(file.Log.Access, accesslog.Options{Log: log})
	if err != nil {
		return nil, err
	}
	s.access.Store(access)
	s.setSessions(file)
	s.events = newEvents(file.Notify, log)
	if err = s.bringUp(from); err != nil {
		s.stopWatching()
		s.closeOutputs(flushTimeout)
		return nil, err
	}
	s.engine.Run()
	s.events.follow(s.serverDown, s.serverBack)
	ctx, stop := context.WithCancel(context.Background())
	s.stop = stop
	go s.follow(ctx)
	if s.admin != nil {
		s.admin.Serve(s.source())
	}
	if s.control != nil {
		s.control.Serve(&operator{s})
	}
	s.tellStarted()
	return s, nil
}

// bringUp opens what can fail to open, and takes over what there is to take.
func (s *service) bringUp(from *inheritance) error {
	if err := s.startEngine(from); err != nil {
		return err
	}
	err := s.listenAdmin(from)
	if err == nil {
		err = from.take(s)
	}
	if err != nil {
		s.engine.Discard()
	}
	return err
}

// buildConfig makes what the engine runs of file, with what r finds.
func buildConfig(file *config.File, r *resolve.Resolver) (*l4.Config, error) {
	ctx, cancel := context.WithTimeout(context.Background(), resolveTimeout)
	defer cancel()
	return file.Build(ctx, r)
}

// startEngine begins to watch the servers, and opens the listeners.
func (s *service) startEngine(from *inheritance) (err error) {
	from.informPools(s.cfg)
	s.watchers.Store(watch(s.file.Health(s.cfg), s.clock, s.events, nil))
	s.watchers.Load().decide(context.Background())
	s.ends = s.newTerminators(cmp.Or(s.cfg.Loops, l4.DefaultLoops()))
	handlers, err := s.ends.prepare(s.file, s.cfg)
	if err != nil {
		return err
	}
	s.engine, err = l4.Prepare(s.cfg, l4.Hooks{
		Log: s.log, Now: s.clock,
		Record:  func(r *l4.Record) { s.access.Load().Add(r) },
		Outcome: func(sv *balancer.Server, r l4.Reason, _ time.Duration) { s.watchers.Load().outcome(sv, r) },
	}, l4.Inheritance{Sockets: from.sockets})
	if err != nil {
		handlers.discard()
		return err
	}
	handlers.commit(s.upstream)
	return nil
}

func (s *service) stopWatching() {
	s.watchers.Load().close()
	s.events.close()
}

// listenAdmin opens the admin address and the control socket, if the file has
// them.
func (s *service) listenAdmin(from *inheritance) (err error) {
	a := s.file.Admin
	if a.Address.IsValid() {
		if s.admin, err = admin.Listen(a.Address.String(), from.socket(adminKey(a.Address))); err != nil {
			return err
		}
	}
	if a.Socket != "" {
		s.control, err = admin.ListenControl(a.Socket, a.Group, from.socket(controlKey(a.Socket)), s.log)
	}
	return err
}

// tellStarted logs where everything is, and "ready" last. How many connections
// fit the file may have thought otherwise about.
func (s *service) tellStarted() {
	for i, addr := range s.engine.Addrs() {
		s.log.Info("listening on "+addr.String(), "listener", s.cfg.Listeners[i].Name)
	}
	if s.admin != nil {
		s.log.Info("admin on http://" + s.admin.Addr().String())
	}
	if s.control != nil {
		s.log.Info("admin socket " + s.file.Admin.Socket)
	}
	for _, name := range s.resolver.Missing() {
		s.log.Warn("a name cannot be looked up, its servers are down until it can", "name", name)
	}
	limit := s.engine.Stats().MaxConnections
	if configured := s.cfg.Limits.Connections; int64(configured) > limit {
		s.log.Warn("limits.connections is more than the descriptors carry (ulimit -n, LimitNOFILE)", "connections", limit, "configured", configured)
	}
	tellManager(s.log, daemon.SdNotifyReady)
	s.log.Info("ready", "max_connections", limit, "loops", s.engine.Loops())
}

// source is what the admin server shows.
func (s *service) source() admin.Source {
	src := source(s.engine, func() uint64 { return s.lost.Load() + s.access.Load().Dropped() }, s.log)
	src.Health, src.Requests, src.Draining = s.health, s.requests, s.draining.Load
	return src
}

// source is what an admin server shows of a running engine.
func source(e *l4.Engine, dropped func() uint64, log *slog.Logger) admin.Source {
	b := thisBuild()
	return admin.Source{Stats: e.Stats, Dropped: dropped, Version: b.Version, Commit: b.Commit, Log: log}
}

// health is what the admin server shows of the servers.
func (s *service) health() *admin.Health {
	h := &admin.Health{Changes: s.events.totals(), Ejections: s.watchers.Load().ejections()}
	for _, x := range s.watchers.Load().watches {
		h.Checks = append(h.Checks, x.Status()...)
	}
	return h
}
