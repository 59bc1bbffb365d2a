package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"culvert/cmd/internal/admin"
)

// defaultSocket is where culvert's unit has its control socket.
const defaultSocket = "/run/culvert/admin.sock"

// envSocket names the variable for a socket at another path.
const envSocket = "CULVERT_SOCKET"

// ask makes cmd one that asks a running culvert.
func ask(cmd *cobra.Command, run func(c *admin.Client, out io.Writer, args []string) error) *cobra.Command {
	var path string
	cmd.Flags().StringVar(&path, "socket", cmp.Or(os.Getenv(envSocket), defaultSocket),
		"control socket of the running culvert, as admin.socket has it; or $"+envSocket)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return run(admin.NewClient(path), cmd.OutOrStdout(), args)
	}
	return cmd
}

func statusCommand() *cobra.Command {
	var asJSON bool
	cmd := ask(&cobra.Command{
		Use:   "status",
		Short: "Show listeners, pools and servers of the running culvert",
		Args:  cobra.NoArgs,
	}, func(c *admin.Client, out io.Writer, _ []string) error {
		r, err := c.Report()
		if err != nil {
			return err
		}
		if asJSON {
			return printJSON(out, r)
		}
		return printStatus(out, &r)
	})
	cmd.Flags().BoolVar(&asJSON, "json", false, "print what the control socket answered")
	return cmd
}

func printJSON(out io.Writer, v any) error {
	e := json.NewEncoder(out)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

func printStatus(out io.Writer, r *admin.Report) error {
	state := "serving"
	if r.Draining {
		state = "draining"
	}
	fmt.Fprintf(out, "culvert %s, %s, pid %d, up %s, %d of %d connections\n\n", r.Version, state, r.PID,
		time.Since(r.Started).Round(time.Second), r.Connections, r.Limit)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "LISTENER\tADDRESS\tACTIVE\tACCEPTED\tREJECTED")
	for _, l := range r.Listeners {
		fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%d\n", l.Name, l.Address, l.Active, l.Accepted, l.Rejected)
	}
	fmt.Fprintln(w)
	fmt.Fprintln(w, "POOL\tSERVER\tSTATE\tACTIVE\tCONNECTIONS\tFAILED\tUP\tDOWN\tLAST CHECK")
	for _, p := range r.Pools {
		for _, s := range p.Servers {
			fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%d\t%d\t%s\t%s\t%s\n", p.Name, s.Name, s.State, s.Active, s.Connections,
				failed(&s), admin.FormatBytes(s.BytesUp), admin.FormatBytes(s.BytesDown), s.Check)
		}
		if p.Panics {
			fmt.Fprintf(w, "%s\t(too few are in service: unhealthy and ejected ones are used, too)\n", p.Name)
		}
	}
	return w.Flush()
}

func failed(s *admin.ServerReport) (n uint64) {
	for _, some := range s.Failures {
		n += some
	}
	return n
}

// addFilter declares the flags that say which connections are meant.
func addFilter(cmd *cobra.Command, f *admin.Filter) {
	flags := cmd.Flags()
	flags.StringVar(&f.Client, "client", "", "of this address, or prefix such as 10.0.0.0/8")
	flags.StringVar(&f.ServerName, "name", "", "that asked for this server name")
	flags.StringVar(&f.Listener, "listener", "", "of this listener")
	flags.StringVar(&f.Route, "route", "", "of this route: its server_name, or default")
	flags.StringVar(&f.Pool, "pool", "", "of this pool")
	flags.StringVar(&f.Server, "server", "", "of this server, by name")
	flags.Var(secondsFlag(&f.MinIdle), "idle", "without a byte for so long, such as 10m")
	flags.Var(secondsFlag(&f.MinAge), "age", "at least so old, such as 24h")
}

func connectionsCommand() *cobra.Command {
	var f admin.Filter
	var asJSON bool
	limit := 100
	cmd := ask(&cobra.Command{
		Use:     "connections",
		Short:   "List connections, the newest first",
		Example: "  culvert connections --server chat-2 --idle 10m\n  culvert connections --client 192.0.2.7 --json",
		Args:    cobra.NoArgs,
	}, func(c *admin.Client, out io.Writer, _ []string) error {
		l, err := c.Connections(f, limit)
		if err != nil {
			return err
		}
		if asJSON {
			return printJSON(out, l)
		}
		return printConnections(out, &l)
	})
	addFilter(cmd, &f)
	cmd.Flags().Var(wholeFlag(&limit), "limit", "list at most so many")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print what the control socket answered")
	return cmd
}

func printConnections(out io.Writer, l *admin.ConnectionList) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "ID\tCLIENT\tNAME\tPOOL\tSERVER\tAGE\tIDLE\tUP\tDOWN")
	for _, c := range l.Connections {
		fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", c.ID, c.Client, cmp.Or(c.ServerName, "-"), cmp.Or(c.Pool, "-"),
			cmp.Or(c.Server, "-"), time.Since(c.Start).Round(time.Second), seconds(c.Idle), admin.FormatBytes(c.BytesUp), admin.FormatBytes(c.BytesDown))
	}
	if n := len(l.Connections); n < l.Total {
		fmt.Fprintf(w, "%d of %d shown (--limit)\n", n, l.Total)
	}
	return w.Flush()
}

func seconds(s float64) time.Duration {
	return time.Duration(s * float64(time.Second)).Round(time.Second)
}

// addPace declares the flags that say how fast connections are closed.
func addPace(cmd *cobra.Command, p *admin.Pace, rate string) {
	cmd.Flags().Var(rateFlag(&p.PerSecond), rate, "close so many connections a second, such as 50/s")
	cmd.Flags().Var(secondsFlag(&p.Within), "within", "close them evenly over this time, such as 10m")
	cmd.Flags().BoolVar(&p.OldestFirst, "oldest-first", false, "close the oldest first, not in random order")
	cmd.MarkFlagsMutuallyExclusive(rate, "within")
}

func killCommand() *cobra.Command {
	var r admin.CloseRequest
	cmd := ask(&cobra.Command{
		Use:     "kill [ID...]",
		Short:   "Close connections",
		Long:    "kill closes the connections with these IDs, or those that all its filters fit:\nat once, or at a pace. Clients reconnect; those of a server that is to get none\nback need `culvert drain`.",
		Example: "  culvert kill 4711\n  culvert kill --pool mattermost --idle 1h --rate 20/s",
	}, func(c *admin.Client, out io.Writer, args []string) error {
		for _, a := range args {
			id, err := strconv.ParseUint(a, 10, 64)
			if err != nil {
				return usageErrorf("%q is no ID of a connection: `culvert connections` lists them", a)
			}
			r.IDs = append(r.IDs, id)
		}
		d, err := c.Close(r)
		if err == nil && d.Connections == 0 && len(args) > 0 {
			return errors.New("no such connection is open: `culvert connections` lists them")
		}
		return told(out, d, err)
	})
	addFilter(cmd, &r.Filter)
	addPace(cmd, &r.Pace, "rate")
	return cmd
}

func told(out io.Writer, d admin.Done, err error) error {
	if err != nil {
		return err
	}
	if d.Server != "" {
		_, err = fmt.Fprintf(out, "%s/%s: %s, %s\n", d.Pool, d.Server, d.Message, count(d.Connections, "connection"))
	} else {
		_, err = fmt.Fprintf(out, "%s %s\n", d.Message, count(d.Connections, "connection"))
	}
	if err == nil && d.Warning != "" {
		_, err = fmt.Fprintf(out, "warning: %s\n", d.Warning)
	}
	return err
}

// oneServer is for commands whose only argument is a server.
func oneServer(cmd *cobra.Command, args []string) error {
	switch len(args) {
	case 0:
		return usageErrorf("which server? %s SERVER, or POOL/SERVER", cmd.CommandPath())
	case 1:
		return nil
	}
	return usageErrorf("one server, please: %s SERVER, or POOL/SERVER", cmd.CommandPath())
}

func drainCommand() *cobra.Command {
	var r admin.DrainRequest
	cmd := ask(&cobra.Command{
		Use:   "drain SERVER",
		Short: "Send a server no new connections, and close those it has at a pace",
		Long: `drain takes a server out of service until undrain, also over reloads and
upgrades. Its connections stay, unless --close or --within says how fast they
are closed: their clients then come back to other servers one by one.`,
		Example: "  culvert drain chat-2\n  culvert drain mattermost/chat-2 --within 10m",
		Args:    oneServer,
	}, func(c *admin.Client, out io.Writer, args []string) error {
		r.Server = args[0]
		r.Close = r.PerSecond > 0 || r.Within > 0
		d, err := c.Drain(r)
		return told(out, d, err)
	})
	addPace(cmd, &r.Pace, "close")
	return cmd
}

func undrainCommand() *cobra.Command {
	return ask(&cobra.Command{
		Use:   "undrain SERVER",
		Short: "Send a drained server connections again",
		Args:  oneServer,
	}, func(c *admin.Client, out io.Writer, args []string) error {
		d, err := c.Undrain(args[0])
		if err == nil {
			_, err = fmt.Fprintf(out, "%s/%s: %s\n", d.Pool, d.Server, d.Message)
		}
		return err
	})
}

func reloadCommand() *cobra.Command {
	return ask(&cobra.Command{
		Use:   "reload",
		Short: "Have the running culvert read its file again",
		Long: `reload makes the running culvert read its configuration file again, as SIGHUP
does. If anything is wrong with it nothing changes. Connections go on.`,
		Args: cobra.NoArgs,
	}, func(c *admin.Client, out io.Writer, _ []string) error { return plainly(out)(c.Reload()) })
}

func upgradeCommand() *cobra.Command {
	return ask(&cobra.Command{
		Use:   "upgrade",
		Short: "Have a new culvert take over from the running one",
		Long: `upgrade makes the running culvert start its program anew, from the file that it
was started from, and hand everything over to it: the listeners with what waits
in their queues, and every connection. SIGUSR2 does the same. When the new
program cannot start, the old one goes on.`,
		Args: cobra.NoArgs,
	}, func(c *admin.Client, out io.Writer, _ []string) error {
		d, err := c.Upgrade()
		if refused := admin.Refusal(""); errors.As(err, &refused) {
			err = fmt.Errorf("not upgraded, the running process goes on: %w", err)
		}
		return plainly(out)(d, err)
	})
}

func plainly(out io.Writer) func(admin.Done, error) error {
	return func(d admin.Done, err error) error {
		if err == nil {
			_, err = fmt.Fprintln(out, d.Message)
		}
		return err
	}
}
