// Command culvert is a Layer-4 load balancer that routes TLS connections by
// the server name in their ClientHello and passes them on untouched.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"culvert/cmd/internal/config"
)

func main() { os.Exit(execute(os.Args[1:])) }

// The exit statuses.
const (
	statusOK     = 0
	statusFailed = 1
	statusUsage  = 2 // the command line makes no sense
)

// execute runs the command line and returns the exit status.
func execute(args []string) int {
	root := rootCommand()
	root.SetArgs(args)
	started := noteStart(root)
	cmd, err := root.ExecuteC()
	if err == nil {
		return statusOK
	}
	if status := exitStatus(0); errors.As(err, &status) {
		return int(status)
	}
	printError(os.Stderr, err)
	if wrong := (usageError)(""); *started && !errors.As(err, &wrong) {
		return statusFailed
	}
	fmt.Fprintf(os.Stderr, "Try '%s --help'.\n", cmd.CommandPath())
	return statusUsage
}

// A usageError is a mistake on the command line that a command found out
// after it began to run.
type usageError string

func (e usageError) Error() string { return string(e) }

func usageErrorf(format string, args ...any) error {
	return usageError(fmt.Sprintf(format, args...))
}

// oneFile is for commands whose only argument is the configuration file.
func oneFile(cmd *cobra.Command, args []string) error {
	switch len(args) {
	case 0:
		return usageErrorf("which file? %s FILE", cmd.CommandPath())
	case 1:
		return nil
	}
	return usageErrorf("one file, please: %s FILE", cmd.CommandPath())
}

// completeFile completes the file that oneFile asks for.
func completeFile(_ *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return []cobra.Completion{"yaml", "yml"}, cobra.ShellCompDirectiveFilterFileExt
}

// completeFlag has the values of a flag completed.
func completeFlag(cmd *cobra.Command, flag string, complete cobra.CompletionFunc) {
	if err := cmd.RegisterFlagCompletionFunc(flag, complete); err != nil {
		panic(err) // the flag was declared just before
	}
}

func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "culvert",
		Short: "Layer-4 load balancer that routes TLS by server name and leaves it sealed",
		Long: `culvert accepts TLS connections, reads the server name in their first bytes,
picks a server of the pool that name leads to, and passes every byte on
untouched: certificates and keys stay on the servers.`,
		Example: `  culvert demo
  culvert check culvert.yaml
  culvert run culvert.yaml`,
		Version:       thisBuild().Version,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetVersionTemplate(thisBuild().String())
	root.AddCommand(
		runCommand(),
		checkCommand(),
		demoCommand(),
		explainCommand(),
		doctorCommand(),
		schemaCommand(),
		sniffCommand(),
		statusCommand(),
		topCommand(),
		connectionsCommand(),
		killCommand(),
		drainCommand(),
		undrainCommand(),
		reloadCommand(),
		upgradeCommand(),
		versionCommand(),
	)
	return root
}

// noteStart makes the commands under root report that they began to run:
// every error before that is about the command line.
func noteStart(root *cobra.Command) (started *bool) {
	started = new(bool)
	for _, c := range root.Commands() {
		run := c.RunE
		if run == nil {
			continue
		}
		c.RunE = func(cmd *cobra.Command, args []string) error {
			*started = true
			return run(cmd, args)
		}
	}
	return started
}

// printError writes err as "culvert: err", unless the log has told of it.
// Errors of a configuration file stay as they are: each of their lines begins
// with file:line:column, which editors follow.
func printError(w io.Writer, err error) {
	if errors.Is(err, errReported) {
		return
	}
	if list := (config.Errors)(nil); errors.As(err, &list) {
		fmt.Fprintln(w, list)
		return
	}
	fmt.Fprintf(w, "culvert: %s\n", strings.TrimSpace(err.Error()))
}
