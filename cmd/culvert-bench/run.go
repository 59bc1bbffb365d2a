package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"culvert/bench"
	"culvert/bench/peer"
	"culvert/bench/report"
	"culvert/bench/result"
)

// runFlags are the flags of run.
type runFlags struct {
	bench.Options
	binaries []string // name=path
	without  []string
	save     string
}

func runCommand() *cobra.Command {
	var f runFlags
	c := &cobra.Command{
		Use:   "run",
		Short: "Measure every workload on every peer, in turns, and write a report",
		Long: `Measure every workload on every peer, in turns, on loopback.

Each workload is printed as soon as it is measured: the cost of each proxy, the
ratio of culvert's to it, and what its clients saw. At the end the whole is
written as JSON and as an HTML page. A peer whose program is missing is one line;
the others are measured. Ctrl-C stops all processes and keeps what was measured.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return f.run(c.Context()) },
	}
	c.Flags().IntVar(&f.Rounds, "rounds", 5, "measurements of each workload on each peer")
	c.Flags().DurationVar(&f.Length, "duration", 1500*time.Millisecond, "length of one measurement")
	c.Flags().IntVar(&f.Workers, "workers", runtime.NumCPU(), "loops, workers or threads of every proxy")
	c.Flags().StringSliceVar(&f.Only, "only", nil, "`names` of workloads or groups; all by default (culvert-bench list)")
	c.Flags().StringArrayVar(&f.binaries, "peer", nil, "another build of a peer: `name=path`; nginx-1.31=path is measured beside nginx")
	c.Flags().StringSliceVar(&f.without, "without", nil, "`names` of peers to leave out")
	c.Flags().StringVar(&f.save, "save", "", "write `path`.json and path.html (default culvert-bench-DATE)")
	return c
}

func (f *runFlags) run(ctx context.Context) error {
	if f.Rounds < 1 || f.Workers < 1 || f.Length < 100*time.Millisecond {
		return fmt.Errorf("--rounds and --workers begin at 1, --duration at 100ms")
	}
	f.Commit = commit
	var err error
	if f.Self, err = os.Executable(); err != nil {
		return err
	}
	if f.Peers, err = choosePeers(f.Self, f.binaries, f.without); err != nil {
		return err
	}
	if f.save == "" {
		f.save = "culvert-bench-" + time.Now().Format("20060102-1504")
	}
	if err := os.MkdirAll(filepath.Dir(f.save), 0o755); err != nil {
		return err
	}
	progress := report.NewProgress(os.Stderr)
	f.Progress = func(s string) { progress.Show("%s", s) }
	f.Done = func(r *result.Report, w *result.Workload) {
		progress.Clear()
		report.Line(os.Stdout, r, w)
	}
	r, err := bench.Run(ctx, f.Options)
	progress.Clear()
	if r == nil {
		return err
	}
	return f.finish(r, err)
}

// finish writes the results, even if they are incomplete.
func (f *runFlags) finish(r *result.Report, err error) error {
	if len(r.Workloads) > 0 {
		report.Bars(os.Stdout, r)
		if err := save(f.save, r); err != nil {
			return err
		}
		fmt.Printf("\nwritten: %s.html and %s.json\n", f.save, f.save)
	}
	for _, p := range r.Problems {
		fmt.Fprintln(os.Stderr, "culvert-bench:", p)
	}
	if err == nil && len(r.Problems) > 0 {
		return errPartly
	}
	return err
}

// save writes the report as path.json and path.html.
func save(path string, r *result.Report) error {
	for suffix, write := range map[string]func(io.Writer, *result.Report) error{
		".json": func(w io.Writer, r *result.Report) error { return r.Write(w) },
		".html": report.HTML,
	} {
		f, err := os.Create(path + suffix)
		if err != nil {
			return err
		}
		if err := write(f, r); err != nil {
			f.Close()
			return fmt.Errorf("write %s%s: %w", path, suffix, err)
		}
		if err := f.Close(); err != nil {
			return err
		}
	}
	return nil
}

// choosePeers applies --peer and --without to the known peers.
func choosePeers(self string, binaries, without []string) ([]peer.Peer, error) {
	peers := peer.Known(self)
	for _, b := range binaries {
		name, path, ok := strings.Cut(b, "=")
		kind, _, _ := strings.Cut(name, "-")
		i := slices.IndexFunc(peers, func(p peer.Peer) bool { return p.Name == kind })
		switch {
		case !ok || path == "" || i < 0 || peers[i].Binary == "":
			return nil, fmt.Errorf("--peer %s: want name=path, where the name is one of %s, or begins with one and a hyphen", b, peerNames(peers))
		case name == kind:
			peers[i] = peers[i].WithBinary(path)
		default:
			another := peers[i].WithBinary(path)
			another.Name = name
			peers = append(peers, another)
		}
	}
	for _, name := range without {
		i := slices.IndexFunc(peers, func(p peer.Peer) bool { return p.Name == name })
		if i < 0 {
			return nil, fmt.Errorf("--without %s: no such peer; there are %s", name, peerNames(peers))
		}
		peers = slices.Delete(peers, i, i+1)
	}
	return peers, nil
}

func peerNames(peers []peer.Peer) string {
	var names []string
	for _, p := range peers {
		names = append(names, p.Name)
	}
	return strings.Join(names, ", ")
}
