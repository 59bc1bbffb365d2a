package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"culvert/cmd/internal/config"
	"culvert/cmd/internal/service"
	"culvert/cmd/internal/spool"
	"culvert/cmd/internal/yaml"
)

const (
	logTimeout = 200 * time.Millisecond // for the last lines of the program's log

	bufferShare = 8 // of a cgroup's memory, for bytes buffered for slow peers: an eighth
)

func runCommand() *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:   "run FILE",
		Short: "Serve what a configuration file says",
		Long: `run reads the file, binds its listeners and serves until SIGTERM or SIGINT.
Then it stops accepting and waits for the connections to end, at most for the
file's drain_timeout. A second signal ends it at once, with status 1. SIGHUP
reads the file again, and SIGUSR2 starts the program anew and hands everything
over to it: connections go on either way.

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

	out := spool.NewLines(stderr)
	defer closeLines(out)
	log, err := newLogger(out, format)
	if err != nil {
		return err
	}
	defer tellDropped(log, out)
	from, err := service.Inherit()
	if err != nil {
		return err
	}
	s, err := begin(path, from, log)
	if err != nil {
		from.Fail(err)
		return err
	}
	return serve(s, signals, log)
}

// begin serves what the file says, with what another process left.
func begin(path string, from *service.Inheritance, log *slog.Logger) (*service.Service, error) {
	limitMemory(log)
	file, err := load(path)
	if err != nil {
		return nil, err
	}
	program, err := os.Executable()
	if err != nil {
		log.Warn("this process cannot be upgraded", "error", err)
	}
	b := thisBuild()
	return service.Start(file, service.Options{
		Log: log, Inherited: from,
		Load:        func() (*config.Config, error) { return load(path) },
		BufferLimit: func() int64 { return cgroupMemory(os.ReadFile) / bufferShare },
		Program:     program, Args: os.Args[1:],
		Manager: func(states ...string) { tellManager(log, states...) },
		Version: b.Version, Commit: b.Commit,
	})
}

// load reads a file, whose warnings the service logs.
func load(path string) (*config.Config, error) {
	c, _, err := yaml.Load(path)
	return c, err
}

// tellDropped says how much of the log is missing. It comes last, and what
// was queued then may be lost too.
func tellDropped(log *slog.Logger, out spool.Lines) {
	if n := out.Dropped(); n > 0 {
		log.Warn("standard error was not read, lines of this log were dropped", "lines", n)
	}
}

// closeLines waits for the output of a log, within limits: what it does not take
// is lost, and no output is left to say so.
func closeLines(out spool.Lines) {
	ctx, cancel := context.WithTimeout(context.Background(), logTimeout)
	defer cancel()
	_ = out.Close(ctx)
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
