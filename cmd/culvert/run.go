package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"runtime"
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
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return run(args[0], format, cmd.ErrOrStderr())
		},
	}
	cmd.Flags().StringVar(&format, "log-format", "text", "format of the log on standard error: text or json")
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
		return slog.New(slog.NewJSONHandler(w, nil)), nil
	}
	return nil, fmt.Errorf("--log-format %q: expected text or json", format)
}

// service is everything that runs for a configuration. Each part is started
// by start and ended by drain.
type service struct {
	log    *slog.Logger
	access *accesslog.Log
	engine *l4.Engine
	admin  *admin.Server // nil: not configured
	drainT time.Duration

	draining atomic.Bool
}

// startService brings everything up, or nothing.
func startService(file *config.File, log *slog.Logger) (*service, error) {
	cfg, err := resolveAndBuild(file)
	if err != nil {
		return nil, err
	}
	s := &service{log: log, drainT: file.DrainTimeout}
	if s.access, err = accesslog.Open(file.Log.Access, accesslog.Options{Log: log}); err != nil {
		return nil, err
	}
	if file.Admin.Address.IsValid() {
		if s.admin, err = admin.Listen(file.Admin.Address.String()); err != nil {
			s.closeOutputs(flushTimeout)
			return nil, err
		}
	}
	if err = s.startEngine(cfg); err != nil {
		s.closeOutputs(flushTimeout)
		return nil, err
	}
	s.serveAdmin()
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
	reserveThreads(engine.Loops())
	for i, addr := range engine.Addrs() {
		s.log.Info("listening on "+addr.String(), "listener", cfg.Listeners[i].Name)
	}
	s.tellLimit(cfg.Limits.Connections)
	return nil
}

// tellLimit says how many connections fit, which the file may have thought
// otherwise about.
func (s *service) tellLimit(configured int) {
	limit := s.engine.Stats().MaxConnections
	if int64(configured) > limit {
		s.log.Warn("limits.connections is more than the descriptors carry (ulimit -n, LimitNOFILE)", "connections", limit, "configured", configured)
		return
	}
	s.log.Info("ready", "max_connections", limit, "loops", s.engine.Loops())
}

// reserveThreads sees to it that Go runs a goroutine more than there are
// loops at a time: a loop with work to do yields late, and the access log
// and the admin server would wait for it.
func reserveThreads(loops int) {
	runtime.GOMAXPROCS(max(runtime.GOMAXPROCS(0), loops+1))
}

func (s *service) serveAdmin() {
	if s.admin == nil {
		return
	}
	src := source(s.engine, s.access, s.log)
	src.Draining = s.draining.Load
	s.admin.Serve(src)
	s.log.Info("admin on http://" + s.admin.Addr().String())
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
	s.log.Info("draining", "signal", sig, "timeout", s.drainT)
	ctx, cancel := context.WithTimeout(context.Background(), s.drainT)
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
		s.log.Error("a second signal ended the drain", "signal", sig, "connections_cut", s.engine.Active())
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
