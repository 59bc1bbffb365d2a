package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"culvert/cmd/internal/accesslog"
	"culvert/cmd/internal/admin"
	"culvert/cmd/internal/config"
	"culvert/l4"
)

// Limits of starting and stopping.
const (
	resolveTimeout = 5 * time.Second        // all host names of the file
	flushTimeout   = 2 * time.Second        // last access log lines, last scrape
	abandonTimeout = 200 * time.Millisecond // the same after a second signal
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
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	defer signal.Stop(signals)

	out := newSpool(stderr)
	defer closeWithin(abandonTimeout, out.close)
	log, err := newLogger(out, format)
	if err != nil {
		return err
	}
	defer tellDropped(log, out)
	file, err := config.Load(path)
	if err != nil {
		return err
	}
	for _, w := range file.Warnings {
		log.Warn(w.Error())
	}
	s, err := startService(file, log)
	if err != nil {
		return err
	}
	return s.drain(s.awaitEnd(signals), signals)
}

// tellDropped says how much of the log is missing. It comes last, and what
// was queued then may be lost too.
func tellDropped(log *slog.Logger, out *spool) {
	if n := out.dropped.Load(); n > 0 {
		log.Warn("standard error was not read, lines of this log were dropped", "lines", n)
	}
}

// awaitEnd returns the first signal that asks for the end.
func (s *service) awaitEnd(signals <-chan os.Signal) os.Signal {
	for sig := range signals {
		if sig != syscall.SIGHUP {
			return sig
		}
		s.log.Warn("SIGHUP does nothing: a changed configuration needs a restart")
	}
	return nil
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
	log          *slog.Logger
	access       *accesslog.Log
	engine       *l4.Engine
	admin        *admin.Server // nil: not configured
	drainTimeout time.Duration

	draining atomic.Bool
}

// startService brings everything up, or nothing. The listeners are bound
// before the admin address: who may not bind either is told of the one that
// matters.
func startService(file *config.File, log *slog.Logger) (*service, error) {
	cfg, err := resolveAndBuild(file)
	if err != nil {
		return nil, err
	}
	s := &service{log: log, drainTimeout: file.DrainTimeout}
	if s.access, err = accesslog.Open(file.Log.Access, accesslog.Options{Log: log}); err != nil {
		return nil, err
	}
	if err = s.startEngine(cfg); err != nil {
		s.closeOutputs(flushTimeout)
		return nil, err
	}
	if err = s.listenAdmin(file.Admin); err != nil {
		closeWithin(0, func(ctx context.Context) { s.engine.Shutdown(ctx) })
		s.closeOutputs(flushTimeout)
		return nil, err
	}
	s.tellStarted(cfg)
	return s, nil
}

func resolveAndBuild(file *config.File) (*l4.Config, error) {
	ctx, cancel := context.WithTimeout(context.Background(), resolveTimeout)
	defer cancel()
	return file.Build(ctx, lookup)
}

// lookup is a config.Resolve that asks the system's resolver.
func lookup(ctx context.Context, host string) ([]netip.Addr, error) {
	return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
}

func (s *service) startEngine(cfg *l4.Config) error {
	hooks := l4.Hooks{Log: s.log}
	if s.access != nil {
		hooks.Record = s.access.Add
	}
	engine, err := l4.Start(cfg, hooks)
	if err != nil {
		return err
	}
	s.engine = engine
	return nil
}

// listenAdmin starts the admin server, if the file has one.
func (s *service) listenAdmin(a config.Admin) (err error) {
	if !a.Address.IsValid() {
		return nil
	}
	if s.admin, err = admin.Listen(a.Address.String()); err != nil {
		return err
	}
	src := source(s.engine, s.access, s.log)
	src.Draining = s.draining.Load
	s.admin.Serve(src)
	return nil
}

// tellStarted logs where everything is, and "ready" last. How many connections
// fit the file may have thought otherwise about.
func (s *service) tellStarted(cfg *l4.Config) {
	for i, addr := range s.engine.Addrs() {
		s.log.Info("listening on "+addr.String(), "listener", cfg.Listeners[i].Name)
	}
	if s.admin != nil {
		s.log.Info("admin on http://" + s.admin.Addr().String())
	}
	limit := s.engine.Stats().MaxConnections
	if configured := cfg.Limits.Connections; int64(configured) > limit {
		s.log.Warn("limits.connections is more than the descriptors carry (ulimit -n, LimitNOFILE)", "connections", limit, "configured", configured)
	}
	s.log.Info("ready", "max_connections", limit, "loops", s.engine.Loops())
}

// source is what the admin server shows of a running engine.
func source(e *l4.Engine, access *accesslog.Log, log *slog.Logger) admin.Source {
	b := thisBuild()
	return admin.Source{Stats: e.Stats, Dropped: access.Dropped, Version: b.Version, Commit: b.Commit, Log: log}
}

// drain serves the connections there are, until they have ended, the drain
// timeout has passed, or another signal comes. The admin server answers
// until then.
func (s *service) drain(sig os.Signal, signals <-chan os.Signal) error {
	s.draining.Store(true)
	s.log.Info("draining", "signal", sig.String(), "timeout", s.drainTimeout)
	ctx, cancel := context.WithTimeout(context.Background(), s.drainTimeout)
	defer cancel()
	cut := make(chan int, 1)
	go func() { cut <- s.engine.Shutdown(ctx) }()
	select {
	case n := <-cut:
		s.closeOutputs(flushTimeout)
		s.log.Info("stopped", "connections_cut", n)
		return nil
	case sig = <-s.nextEnd(signals):
		s.closeOutputs(abandonTimeout)
		s.log.Error("a second signal ended the drain", "signal", sig.String(), "connections_cut", s.engine.Active())
		return errReported
	}
}

// nextEnd delivers what awaitEnd returns.
func (s *service) nextEnd(signals <-chan os.Signal) <-chan os.Signal {
	end := make(chan os.Signal, 1)
	go func() { end <- s.awaitEnd(signals) }()
	return end
}

// closeOutputs ends what depends on the engine, as far as it does in time.
func (s *service) closeOutputs(limit time.Duration) {
	closeWithin(limit, func(ctx context.Context) {
		if err := s.access.Close(ctx); err != nil {
			s.log.Error(err.Error())
		}
		if s.admin == nil {
			return
		}
		if err := s.admin.Close(ctx); err != nil {
			s.log.Warn("admin server cut off a request", "error", err)
		}
	})
}

func closeWithin(limit time.Duration, f func(context.Context)) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	f(ctx)
}
