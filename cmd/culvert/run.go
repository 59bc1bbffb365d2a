package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/spf13/cobra"

	"culvert/balancer"
	"culvert/cmd/internal/accesslog"
	"culvert/cmd/internal/admin"
	"culvert/cmd/internal/config"
	"culvert/cmd/internal/resolve"
	"culvert/l4"
)

// Limits of starting and stopping.
const (
	resolveTimeout = 5 * time.Second        // all host names of the file
	flushTimeout   = 2 * time.Second        // last access log lines, last scrape
	abandonTimeout = 200 * time.Millisecond // the same after a second signal

	keptShare = 8 // of a cgroup's memory, for bytes kept for slow peers: an eighth
)

func runCommand() *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:   "run FILE",
		Short: "Serve what a configuration file says",
		Long: `run reads the file, binds its listeners and serves until SIGTERM or SIGINT.
Then it stops accepting and waits for the connections to end, at most for the
file's drain_timeout. A second signal ends it at once, with status 1.

What happens is logged on standard error; the access log, one line for each
connection, goes where the file says.`,
		Example: `  culvert run /etc/culvert/culvert.yaml
  culvert run --log-format json culvert.yaml`,
		Args:              oneFile,
		ValidArgsFunction: completeFile,
		RunE: func(cmd *cobra.Command, args []string) error {
			return run(args[0], format, cmd.ErrOrStderr())
		},
	}
	cmd.Flags().StringVar(&format, "log-format", "text", "format of the log on standard error: text or json")
	completeFlag(cmd, "log-format", cobra.FixedCompletions([]cobra.Completion{"text", "json"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// errReported ends the program with status 1 when the log has said why.
var errReported = errors.New("reported")

// run serves path until a signal.
func run(path, format string, stderr io.Writer) error {
	signal.Ignore(syscall.SIGPIPE) // a reader of our output that leaves is no reason to end
	signals := listen()
	defer signals.stop()

	out := newSpool(stderr)
	defer closeWithin(abandonTimeout, out.close)
	log, err := newLogger(out, format)
	if err != nil {
		return err
	}
	defer tellDropped(log, out)
	from, err := inherit()
	if err != nil {
		return err
	}
	s, err := begin(path, from, log)
	if err != nil {
		from.fail(err)
		return err
	}
	sig := s.awaitEnd(signals)
	if sig == nil {
		return s.leave()
	}
	return s.drain(sig, signals)
}

// begin serves what the file says, with what another process left.
func begin(path string, from *inheritance, log *slog.Logger) (*service, error) {
	file, err := config.Load(path)
	if err != nil {
		return nil, err
	}
	for _, w := range file.Warnings {
		log.Warn(w.Error())
	}
	file.LimitKept(limitMemory(log) / keptShare)
	return startService(file, from, log)
}

// signals are those that mean something. Each kind has a channel of its own,
// so that none is lost while another is dealt with; of a kind that comes again
// meanwhile one is enough.
type signals struct{ end, reload, upgrade chan os.Signal }

func listen() *signals {
	s := &signals{make(chan os.Signal, 2), make(chan os.Signal, 1), make(chan os.Signal, 1)}
	signal.Notify(s.end, syscall.SIGTERM, syscall.SIGINT)
	signal.Notify(s.reload, syscall.SIGHUP)
	signal.Notify(s.upgrade, syscall.SIGUSR2)
	return s
}

func (s *signals) stop() {
	signal.Stop(s.end)
	signal.Stop(s.reload)
	signal.Stop(s.upgrade)
}

// tellDropped says how much of the log is missing. It comes last, and what
// was queued then may be lost too.
func tellDropped(log *slog.Logger, out *spool) {
	if n := out.dropped.Load(); n > 0 {
		log.Warn("standard error was not read, lines of this log were dropped", "lines", n)
	}
}

// awaitEnd returns the first signal that asks for the end, or nil when another
// process has taken over.
func (s *service) awaitEnd(signals *signals) os.Signal {
	for {
		select {
		case <-s.left:
			return nil
		default:
		}
		select {
		case <-s.left:
			return nil
		case sig := <-signals.end:
			return sig
		case <-signals.reload:
			_ = s.reload() // which logs how it went
		case <-signals.upgrade:
			_ = s.upgrade()
		}
	}
}

func newLogger(w io.Writer, format string) (*slog.Logger, error) {
	switch format {
	case "text":
		return slog.New(slog.NewTextHandler(w, nil)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{ReplaceAttr: writeUnits})), nil
	}
	return nil, usageErrorf("--log-format %q: expected text or json", format)
}

// writeUnits makes a duration a text with its unit, which JSON would give as
// a number of nanoseconds.
func writeUnits(_ []string, a slog.Attr) slog.Attr {
	if a.Value.Kind() == slog.KindDuration {
		a.Value = slog.StringValue(a.Value.Duration().String())
	}
	return a
}

// service is everything that runs for a configuration. Each part is started
// by start and ended by drain.
type service struct {
	log      *slog.Logger
	clock    func() time.Duration // of the engine and of the servers' health
	events   *events
	watchers atomic.Pointer[watchers]
	access   atomic.Pointer[accesslog.Log] // nil: off
	lost     atomic.Uint64                 // lines of access logs that were closed
	engine   *l4.Engine
	closer   closer
	policies atomic.Pointer[map[string]config.Sessions] // by pool
	started  time.Time
	draining atomic.Bool
	left     chan struct{} // closed when another process has taken over: successor
	renamed  chan struct{} // other names are in use

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
	s.engine, err = l4.Prepare(s.cfg, l4.Hooks{
		Log: s.log, Now: s.clock,
		Record:  func(r *l4.Record) { s.access.Load().Add(r) },
		Outcome: func(sv *balancer.Server, r l4.Reason, _ time.Duration) { s.watchers.Load().outcome(sv, r) },
	}, l4.Inheritance{Sockets: from.sockets})
	return err
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
	src.Health, src.Draining = s.health, s.draining.Load
	return src
}

// source is what an admin server shows of a running engine.
func source(e *l4.Engine, dropped func() uint64, log *slog.Logger) admin.Source {
	b := thisBuild()
	return admin.Source{Stats: e.Stats, Dropped: dropped, Version: b.Version, Commit: b.Commit, Log: log}
}

// health is what the admin server shows of the servers.
func (s *service) health() *admin.Health {
	h := &admin.Health{Changes: s.events.totals()}
	for _, x := range s.watchers.Load().watches {
		h.Checks = append(h.Checks, x.Status()...)
	}
	return h
}

// drain serves the connections there are, until they have ended, the drain
// timeout has passed, or another signal comes. The admin server answers
// until then.
func (s *service) drain(sig os.Signal, signals *signals) error {
	s.draining.Store(true)
	select {
	case <-s.unchanging():
	case <-signals.end:
		return errReported
	}
	select {
	case <-s.left: // before it knew: the end is for who has the connections
		_ = syscall.Kill(s.successor, sig.(syscall.Signal))
		return s.leave()
	default:
	}
	s.stop()
	tellManager(s.log, daemon.SdNotifyStopping)
	timeout := s.file.DrainTimeout
	s.log.Info("draining", "signal", sig.String(), "timeout", timeout)
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	cut := make(chan int, 1)
	go func() { cut <- s.engine.Shutdown(ctx) }()
	select {
	case n := <-cut:
		s.stopWatching()
		s.closeOutputs(flushTimeout)
		s.log.Info("stopped", "connections_cut", n)
		return nil
	case sig = <-s.nextEnd(signals):
		s.closeOutputs(abandonTimeout)
		s.log.Error("a second signal ended the drain", "signal", sig.String(), "connections_cut", s.engine.Active())
		return errReported
	}
}

// unchanging returns a channel that is closed when no reload and no upgrade is
// under way. With s.draining set none begins, and one that is, ends soon.
func (s *service) unchanging() <-chan struct{} {
	done := make(chan struct{})
	go func() {
		s.changing.Lock()
		defer s.changing.Unlock()
		close(done)
	}()
	return done
}

// nextEnd delivers what awaitEnd returns.
func (s *service) nextEnd(signals *signals) <-chan os.Signal {
	end := make(chan os.Signal, 1)
	go func() { end <- s.awaitEnd(signals) }()
	return end
}

// closeOutputs ends what depends on the engine, as far as it does in time.
func (s *service) closeOutputs(limit time.Duration) {
	closeWithin(limit, func(ctx context.Context) {
		if err := s.access.Load().Close(ctx); err != nil {
			s.log.Error(err.Error())
		}
		if s.admin != nil {
			if err := s.admin.Close(ctx); err != nil {
				s.log.Warn("admin server cut off a request", "error", err)
			}
		}
		if s.control != nil {
			if err := s.control.Close(ctx); err != nil {
				s.log.Warn("admin socket cut off a request", "error", err)
			}
		}
	})
}

func closeWithin(limit time.Duration, f func(context.Context)) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	f(ctx)
}
