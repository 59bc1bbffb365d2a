package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"culvert/cmd/internal/config"
	"culvert/cmd/internal/doctor"
	"culvert/cmd/internal/resolve"
	"culvert/cmd/internal/yaml"
)

// statusWarned is doctor's, when nothing is wrong and not everything right.
const statusWarned = 3

// An exitStatus ends the program with a status of its own; what there was to
// say was said.
type exitStatus int

func (e exitStatus) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

func doctorCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "doctor FILE",
		Short: "Say whether a Mattermost deployment hangs together",
		Long: `doctor asks every server of the pools with "health: mattermost" or a "site_url"
directly, as clients and culvert would: certificates, ping, SiteURL, single
sign-on, WebSockets, clocks, versions. It changes nothing on them and takes at
most 30 seconds; no culvert needs to run. The exit status is 0 if all is well,
1 if something is wrong, 3 if there are only warnings.`,
		Args:              oneFile,
		ValidArgsFunction: completeFile,
		RunE: func(cmd *cobra.Command, args []string) error {
			return examine(cmd.Context(), cmd.OutOrStdout(), args[0], asJSON)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func examine(ctx context.Context, out io.Writer, path string, asJSON bool) error {
	file, _, err := yaml.Load(path)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, doctor.MostTime) // names included
	defer cancel()
	b, err := resolved(ctx, file)
	if err != nil {
		return err
	}
	r, err := doctor.Doctor{}.Examine(ctx, b)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if err := printReport(out, r, asJSON); err != nil {
		return err
	}
	switch r.Result {
	case doctor.Wrong:
		return exitStatus(statusFailed)
	case doctor.Warning:
		return exitStatus(statusWarned)
	}
	return nil
}

// resolveTimeout bounds the lookup of all host names of the file.
const resolveTimeout = 5 * time.Second

func resolved(ctx context.Context, c *config.Config) (*config.Built, error) {
	ctx, cancel := context.WithTimeout(ctx, resolveTimeout)
	defer cancel()
	return c.Build(ctx, resolve.New(c.DNS.Config()))
}

func printReport(out io.Writer, r *doctor.Report, asJSON bool) error {
	if !asJSON {
		return r.Print(out)
	}
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(r)
}
