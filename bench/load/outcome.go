package load

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Outcome is the result of a run.
type Outcome struct {
	Count      int64                   // units of work that were finished
	Bytes      int64                   // of streams, at the receiver
	Errors     int64                   // units that began and failed, or did not end in time
	FirstError error                   // nil if there was none
	Latency    *hdrhistogram.Histogram // in microseconds, including units that were due and never sent; nil if not measured
	Elapsed    time.Duration           // to the end of the run's ctx, without the time of units that ended later
}

// Latencies are recorded from 1 us to a minute with an error of at most 0.1 %.
const (
	shortest  = 1
	longest   = 60_000_000
	precision = 3
)

// maxTallies limits the number of histograms of a crowd, of 140 KiB each. Up to
// that number each worker has its own; more workers share them.
const maxTallies = 64

// tally is the part of an outcome of one worker or several. It is safe for
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

// overdue records d as the latency of a unit that was due d ago and never sent,
// as a lower bound.
func (t *tally) overdue(d time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.record(d)
}

func (t *tally) record(d time.Duration) {
	_ = t.latency.RecordValue(min(max(d.Microseconds(), shortest), longest)) // within its range
}

// failed counts a unit that failed. If ctx is cancelled it counts nothing,
// because that caused the failure.
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

// crowd is a set of concurrent workers with the same work.
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

// newSilentCrowd returns a crowd without latencies.
func newSilentCrowd(n int) crowd {
	c := crowd{workers: n, tallies: make([]*tally, min(n, maxTallies))}
	for i := range c.tallies {
		c.tallies[i] = new(tally)
	}
	return c
}

// run runs all workers until each returns, and adds up the tallies. It leaves
// them empty, so that the next run starts without delay.
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
