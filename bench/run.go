package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"culvert/bench/load"
	"culvert/bench/origin"
	"culvert/bench/peer"
	"culvert/bench/result"
)

// Options determine what is measured, how long and how often.
type Options struct {
	Self    string        // path of culvert-bench, which also runs as origin and relay
	Rounds  int           // measurements of each workload on each peer
	Length  time.Duration // of one measurement
	Workers int           // loops, workers or threads of every proxy
	Only    []string      // groups or names of workloads; empty means all
	Commit  string        // commit that is measured, for the report
	Peers   []peer.Peer   // culvert first: the others are compared with it

	// Progress is called with a description of the current step, Done with
	// each workload as soon as it is measured. Both are called from the
	// goroutine of Run; nil disables them.
	Progress func(string)
	Done     func(*result.Report, *result.Workload)
}

// Run measures the workloads. When ctx ends it returns the results so far,
// together with ctx's error. A peer that cannot be measured becomes a line in
// Problems, and the others are still measured; an error ends the run.
func Run(ctx context.Context, o Options) (*result.Report, error) {
	list := chosen(o.Only)
	if len(list) == 0 {
		return nil, fmt.Errorf("no workload is called %s; culvert-bench list shows all", strings.Join(o.Only, " or "))
	}
	dir, err := os.MkdirTemp("", "culvert-bench-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	r := &runner{Options: o, dir: dir, report: newReport(o)}
	if r.hello, err = load.Hello(peer.ServerName); err != nil {
		return nil, err
	}
	r.findPeers(ctx)
	if r.origin, err = origin.Start(ctx, o.Self, maxServers); err != nil {
		return nil, err
	}
	defer r.origin.Stop()
	defer r.fleet.stop()
	for _, w := range list {
		r.workload(ctx, w)
		if ctx.Err() != nil {
			break
		}
	}
	r.report.Seconds = time.Since(r.report.Started).Seconds()
	return r.report, ctx.Err()
}

// Names lists the workloads with their titles.
func Names() []string {
	var names []string
	for _, w := range groups() {
		names = append(names, fmt.Sprintf("%-32s %s: %s", w.Name, w.GroupTitle, w.Title))
	}
	return names
}

// chosen returns the workloads whose group or name, or the part of the name
// before a slash, is in only.
func chosen(only []string) []workload {
	all := groups()
	if len(only) == 0 {
		return all
	}
	return slices.DeleteFunc(all, func(w workload) bool {
		return !slices.ContainsFunc(only, func(s string) bool { return w.Name == s || strings.HasPrefix(w.Name, s+"/") })
	})
}

type runner struct {
	Options
	dir    string
	hello  []byte
	origin *origin.Process
	peers  []peer.Peer // the installed ones
	fleet  fleet
	report *result.Report
}

// findPeers keeps the peers whose programs are installed.
func (r *runner) findPeers(ctx context.Context) {
	for _, p := range r.Peers {
		if err := p.Find(); err != nil {
			if !p.Optional {
				r.problem(err)
			}
			continue
		}
		r.peers = append(r.peers, p)
		r.report.Peers = append(r.report.Peers, result.Peer{Name: p.Name, Version: p.Version(ctx)})
	}
}

func (r *runner) problem(err error) {
	r.report.Problems = append(r.report.Problems, err.Error())
}

// workload measures w on all peers, in rounds. Each round begins with another
// peer.
func (r *runner) workload(ctx context.Context, w workload) {
	if w.needsRoot && os.Getuid() != 0 {
		return // without root every process is unprivileged
	}
	entries := r.start(ctx, w)
	rounds := r.Rounds
	if w.once {
		rounds = 1
	}
	for round := range rounds {
		for i := range entries {
			e := &entries[(i+round)%len(entries)]
			if e.failed || ctx.Err() != nil {
				continue
			}
			r.progress("%s  round %d of %d  %s", w.Name, round+1, rounds, e.name)
			r.sample(ctx, &w, e, round)
		}
	}
	if len(w.Samples) == 0 {
		return
	}
	r.report.Workloads = append(r.report.Workloads, w.Workload)
	if r.Done != nil {
		r.Done(r.report, &r.report.Workloads[len(r.report.Workloads)-1])
	}
}

func (r *runner) progress(format string, args ...any) {
	if r.Progress != nil {
		r.Progress(fmt.Sprintf(format, args...))
	}
}

// start starts the peers of w, unless each measurement starts its own.
func (r *runner) start(ctx context.Context, w workload) []entry {
	entries := r.entries(w)
	if w.fresh {
		r.fleet.stop()
		return entries
	}
	for _, err := range r.fleet.run(ctx, entries, r.dir) {
		r.problem(fmt.Errorf("%s: %w", w.Name, err))
	}
	return entries
}

// sample makes one measurement. A peer that fails is not used in the rest of the
// workload.
func (r *runner) sample(ctx context.Context, w *workload, e *entry, round int) {
	s := r.site(w, e)
	v, err := r.measure(ctx, w, e, s)
	if ctx.Err() != nil {
		return
	}
	if err != nil {
		e.failed = true
		if !errors.Is(err, peer.ErrNoReload) && !errors.Is(err, peer.ErrNoProcess) {
			r.problem(fmt.Errorf("%s: %s: %w", w.Name, e.name, err))
		}
		return
	}
	sample := result.Sample{Peer: e.name, Round: round, Values: v}
	if s.first != nil {
		sample.Error = s.first.Error()
	}
	w.Samples = append(w.Samples, sample)
}

// slack is how much longer than planned a measurement may take before it is
// aborted: time for connecting, and for the delays of a proxy under stress.
const slack = 90 * time.Second

func (r *runner) site(w *workload, e *entry) *site {
	s := &site{Running: r.fleet.get(e.key()), origin: r.origin, hello: r.hello, opts: r.Options}
	s.opts.Length = max(s.opts.Length, time.Duration(w.seconds*float64(time.Second)))
	return s
}

func (r *runner) measure(ctx context.Context, w *workload, e *entry, s *site) (values, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, s.opts.Length+slack, errors.New("took too long"))
	defer cancel()
	if w.fresh {
		p, err := e.peer.Start(ctx, e.setup, r.dir)
		if err != nil {
			return nil, err
		}
		defer p.Stop()
		s.Running = p
	}
	return w.measure(ctx, s)
}
