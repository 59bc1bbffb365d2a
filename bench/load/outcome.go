package load

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Outcome is what a run did.
type Outcome struct {
	Count      int64                   // units of work that were finished
	Bytes      int64                   // of streams, at the receiver
	Errors     int64                   // units that were begun and failed, or did not end in time
	FirstError error                   // nil: none
	Latency    *hdrhistogram.Histogram // in microseconds: of each unit, and of those that were due and never sent; nil: not measured
	Elapsed    time.Duration           // to the end of the run's ctx; what was still under way then is not in it
}

// Latencies are kept from 1 us to a minute with an error of at most 0.1 %.
const (
	shortest  = 1
	longest   = 60_000_000
	precision = 3
)

// mostTallies bounds the histograms of a crowd, of 140 KiB each: up to so many
// workers have one of their own, more share.
const mostTallies = 64

// tally is one worker's part of an outcome, or that of some. It is safe for
// concurrent use.
type tally struct {
	mu            sync.Mutex
	count, errors int64
	first         error
	latency       *hdrhistogram.Histogram // nil: not measured
}

// done counts a unit that took d.
func (t *tally) done(d time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.count++
	t.record(d)
}

// overdue keeps the latency of a unit that was due d ago and never sent: it
// would have been at least that.
func (t *tally) overdue(d time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.record(d)
}

func (t *tally) record(d time.Duration) {
	_ = t.latency.RecordValue(min(max(d.Microseconds(), shortest), longest)) // within its range
}

// failed counts a unit that did not work out. That everything was given up
// (ctx is cancelled) is not its fault.
func (t *tally) failed(ctx context.Context, err error) {
	if errors.Is(ctx.Err(), context.Canceled) {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.errors++
	if t.first == nil {
		t.first = err
	}
}

// crowd are workers that do the same side by side.
type crowd struct {
	workers int
	tallies []*tally
}

func newCrowd(n int) crowd {
	c := newSilentCrowd(n)
	for _, t := range c.tallies {
		t.latency = hdrhistogram.New(shortest, longest, precision)
	}
	return c
}

// newSilentCrowd is one whose workers have no latencies.
func newSilentCrowd(n int) crowd {
	c := crowd{workers: n, tallies: make([]*tally, min(n, mostTallies))}
	for i := range c.tallies {
		c.tallies[i] = new(tally)
	}
	return c
}

// run runs all workers until each returns, and sums up. Summing up leaves the
// tallies empty for the next run, whose start is so not kept waiting.
func (c crowd) run(ctx context.Context, work func(i int, t *tally)) Outcome {
	start := time.Now()
	var wg sync.WaitGroup
	for i := range c.workers {
		wg.Go(func() { work(i, c.tallies[i%len(c.tallies)]) })
	}
	wg.Wait()
	out := Outcome{Elapsed: endOf(ctx).Sub(start), Latency: hdrhistogram.New(shortest, longest, precision)}
	for _, t := range c.tallies {
		t.addTo(&out)
	}
	return out
}

// addTo adds t to out and empties it.
func (t *tally) addTo(out *Outcome) {
	out.Count += t.count
	out.Errors += t.errors
	if out.FirstError == nil {
		out.FirstError = t.first
	}
	if t.latency != nil {
		out.Latency.Merge(t.latency)
		t.latency.Reset()
	}
	t.count, t.errors, t.first = 0, 0, nil
}
