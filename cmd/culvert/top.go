package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"culvert/cmd/internal/admin"
)

func topCommand() *cobra.Command {
	every, rounds := 2*time.Second, 0
	cmd := ask(&cobra.Command{
		Use:   "top",
		Short: "Show what each server does, again and again",
		Args:  cobra.NoArgs,
	}, func(c *admin.Client, out io.Writer, _ []string) error {
		if every < 100*time.Millisecond {
			return usageErrorf("--every %s: expected at least 100ms", every)
		}
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		return top(ctx, c, out, every, rounds)
	})
	cmd.Flags().Var(durationFlag(&every), "every", "time between two looks")
	cmd.Flags().Var(wholeFlag(&rounds), "rounds", "end after so many looks; 0: go on until Ctrl-C")
	return cmd
}

// clearScreen moves the cursor home and clears what is below (ECMA-48).
const clearScreen = "\x1b[H\x1b[J"

func top(ctx context.Context, c *admin.Client, out io.Writer, every time.Duration, rounds int) error {
	before, at := admin.Report{}, time.Time{}
	for n := 1; ; n++ {
		now, err := c.Report()
		if err != nil {
			return err
		}
		seen := time.Now()
		var screen bytes.Buffer
		if isTerminal(out) {
			screen.WriteString(clearScreen)
		}
		printTop(&screen, &before, &now, seen.Sub(at))
		if _, err := out.Write(screen.Bytes()); err != nil || n == rounds {
			return err
		}
		before, at = now, seen
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(every):
		}
	}
}

func isTerminal(out io.Writer) bool {
	f, ok := out.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// printTop shows the rates of each server since before.
func printTop(out io.Writer, before, now *admin.Report, since time.Duration) {
	fmt.Fprintf(out, "%s  %d of %d connections, %s buffered\n\n", time.Now().Format(time.TimeOnly), now.Connections, now.Limit,
		admin.FormatBytes(now.Buffered))
	old := map[string]admin.ServerReport{}
	for _, p := range before.Pools {
		for _, s := range p.Servers {
			old[p.Name+"/"+s.Name] = s
		}
	}
	rate := func(now, was uint64) float64 {
		if len(old) == 0 || now < was {
			return 0
		}
		return float64(now-was) / since.Seconds()
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "SERVER\tSTATE\tACTIVE\tNEW/S\tFAILED/S\tUP/S\tDOWN/S")
	for _, p := range now.Pools {
		for _, s := range p.Servers {
			was := old[p.Name+"/"+s.Name]
			fmt.Fprintf(w, "%s/%s\t%s\t%d\t%.1f\t%.1f\t%s\t%s\n", p.Name, s.Name, s.State, s.Active,
				rate(s.Connections, was.Connections), rate(failed(&s), failed(&was)),
				admin.FormatBytes(uint64(rate(s.BytesUp, was.BytesUp))), admin.FormatBytes(uint64(rate(s.BytesDown, was.BytesDown))))
		}
	}
	_ = w.Flush()
}
