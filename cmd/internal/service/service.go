package service

import (
	"cmp"
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"culvert/balancer"
	"culvert/cmd/internal/accesslog"
	"culvert/cmd/internal/config"
	"culvert/cmd/internal/resolve"
	"culvert/l4"
	"culvert/l4/socket"
)

// Service serves a configuration. Its methods are safe for concurrent use.
type Service struct {
	opts      Options
	log       *slog.Logger
	clock     func() time.Duration // of the engine and of the servers' health
	events    *events
	watchers  atomic.Pointer[watchers]
	access    atomic.Pointer[accesslog.Log] // nil: off
	lost      atomic.Uint64                 // lines that closed access logs have dropped
	engine    *l4.Engine
	closer    closer
	policies  atomic.Pointer[map[string]*config.Sessions] // by pool
	ends      *terminators
	started   time.Time
	draining  atomic.Bool
	upgrading atomic.Bool
	replaced  chan struct{} // closed when another process has taken over: newProcess
	renamed   chan struct{} // the names to look up have changed

	newProcess int // its ID; valid once replaced is closed

	changing sync.Mutex // held by a replacement and by an upgrade; guards what follows
	now      *config.Built
	resolver *resolve.Resolver
	stop     context.CancelFunc // ends what runs in the background
	servers  adminServers
}

// Start checks c and serves it, or leaves nothing open and returns why. The listeners are bound
// before the admin address, so that a process that may bind neither reports the
// listener. No connection is served before everything is open.
func Start(c *config.Config, opts Options) (*Service, error) {
	opts = opts.withDefaults()
	s, err := start(c, opts)
	if err != nil {
		closeWithin(flushTimeout, func(ctx context.Context) { _ = opts.Access.Close(ctx) })
	}
	return s, err
}

func start(c *config.Config, opts Options) (*Service, error) {
	from := opts.Inherited
	begun := time.Now().Add(-from.clock())
	s := &Service{
		opts: opts, log: opts.Log, resolver: resolve.New(c.DNS.Config()), started: time.Now(),
		replaced: make(chan struct{}), renamed: make(chan struct{}, 1),
		clock: func() time.Duration { return time.Since(begun) },
	}
	warnings, err := check(c)
	if err != nil {
		return nil, err
	}
	s.logWarnings(warnings)
	if s.now, err = s.build(c, s.resolver); err != nil {
		return nil, err
	}
	access, err := s.openAccess(c)
	if err != nil {
		return nil, err
	}
	s.access.Store(access)
	s.setSessions(s.now)
	s.events = newEvents(c.Notify.Config(), s.log)
	if err = s.open(from); err != nil {
		s.stopWatching()
		s.closeOutputs(flushTimeout)
		return nil, err
	}
	s.run()
	return s, nil
}

// open opens what can fail to open, and takes over what there is to take.
func (s *Service) open(from *Inheritance) error {
	if err := s.startEngine(from); err != nil {
		return err
	}
	err := s.servers.open(s.now, from, s.log)
	if err == nil {
		err = from.take(s)
	}
	if err != nil {
		s.engine.Discard()
	}
	return err
}

// startEngine begins to watch the servers, and opens the listeners.
func (s *Service) startEngine(from *Inheritance) (err error) {
	from.informPools(s.now.Engine)
	s.watchers.Store(watch(s.now.Pools, s.clock, s.events, nil))
	s.watchers.Load().decide(context.Background())
	s.ends = s.newTerminators(cmp.Or(s.now.Engine.Loops, l4.DefaultLoops()))
	handlers, err := s.ends.prepare(s.now)
	if err != nil {
		return err
	}
	s.engine, err = l4.Prepare(s.now.Engine, l4.Hooks{
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

// run serves what was opened.
func (s *Service) run() {
	ctx, stop := context.WithCancel(context.Background())
	s.stop, s.closer.base = stop, ctx
	s.engine.Run()
	s.events.follow(s.serverDown, s.serverBack)
	go s.followNames(ctx)
	s.servers.serve(s)
	s.logStart()
}

// logStart logs where everything is, and "ready" last. The number of
// connections that fit may be less than the configuration expects.
func (s *Service) logStart() {
	for i, addr := range s.engine.Addrs() {
		s.log.Info("listening on "+addr.String(), "listener", s.now.Engine.Listeners[i].Name)
	}
	s.servers.logStart(s.log, &s.now.Config.Admin)
	for _, name := range s.resolver.Missing() {
		s.log.Warn("a name cannot be looked up, its servers are down until it can", "name", name)
	}
	limit := s.engine.Stats().MaxConnections
	if configured := s.now.Engine.Limits.Connections; int64(configured) > limit {
		s.log.Warn("limits.connections is more than the descriptors carry (ulimit -n, LimitNOFILE)", "connections", limit, "configured", configured)
	}
	s.opts.Manager(managerReady)
	s.log.Info("ready", "max_connections", limit, "loops", s.engine.Loops())
}

// Addrs returns where the listeners are bound, in the order of the
// configuration: a port given as 0 has become a real one.
func (s *Service) Addrs() []socket.Addr { return s.engine.Addrs() }

// Pools returns the pools that connections can get to. They are replaced with
// the configuration.
func (s *Service) Pools() (all []*balancer.Pool) {
	s.changing.Lock()
	defer s.changing.Unlock()
	for _, p := range s.now.Engine.Pools() {
		all = append(all, p.Balancer)
	}
	return all
}

// Active returns how many connections are open.
func (s *Service) Active() int64 { return s.engine.Active() }

func (s *Service) stopWatching() {
	if w := s.watchers.Load(); w != nil {
		w.close()
	}
	s.events.close()
}
