// Command culvert-bench measures culvert, nginx, HAProxy and others on this
// machine, and reports the cost of each.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"culvert/bench/check"
	"culvert/bench/origin"
	"culvert/bench/peer"
)

// The exit statuses: success; a part could not be measured, or a figure became
// worse in a comparison; interrupted by Ctrl-C.
const (
	exitPartly      = 1
	exitInterrupted = 130
)

// commit is the commit that this program was built from, set by the linker.
var commit string

// errPartly is a failure whose reasons have already been printed.
var errPartly = errors.New("")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := command().ExecuteContext(ctx)
	interrupted := ctx.Err() != nil
	stop()
	switch {
	case err == nil:
	case interrupted:
		fmt.Fprintln(os.Stderr, "culvert-bench: interrupted; everything that was started is stopped")
		os.Exit(exitInterrupted)
	default:
		if !errors.Is(err, errPartly) {
			fmt.Fprintln(os.Stderr, "culvert-bench:", err)
		}
		os.Exit(exitPartly)
	}
}

func command() *cobra.Command {
	root := &cobra.Command{
		Use:           "culvert-bench",
		Short:         "Measure culvert beside nginx and HAProxy on this machine",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	root.AddCommand(runCommand(), listCommand(), reportCommand(), compareCommand(), readmeCommand(),
		raw("check", "Compare `go test -bench` output with the baseline", func(args []string) error { return check.Command(args, os.Stdin, os.Stdout) }),
		hidden(raw("origin", "The servers behind the proxies", origin.Command)),
		hidden(raw("relay", "A plain Go relay, to compare with", peer.RelayCommand)))
	return root
}

// raw returns a command that parses its flags itself.
func raw(use, short string, run func(args []string) error) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, DisableFlagParsing: true,
		RunE: func(_ *cobra.Command, args []string) error { return run(args) },
	}
}

// hidden returns a command for the processes that run starts.
func hidden(c *cobra.Command) *cobra.Command {
	c.Hidden = true
	return c
}
