package load

import (
	"context"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Outcome is what a run did.
type Outcome struct {
	Count      int64                   // units of work that were finished
	Bytes      int64                   // of streams, at the receiver
	Errors     int64                   // units that were begun and failed
	FirstError error                   // nil: none
	Latency    *hdrhistogram.Histogram // of each unit, in microseconds; nil: not measured
	Elapsed    time.Duration
}

// Latencies are kept from 1 us to a minute with an error of at most 0.1 %.
const (
	shortest  = 1
	longest   = 60_000_000
	precision = 3
)

// tally is one worker's part of an outcome.
type tally struct {
	count, bytes, errors int64
	first                error
	latency              *hdrhistogram.Histogram
}

func newTally() *tally {
	return &tally{latency: hdrhistogram.New(shortest, longest, precision)}
}

// done counts a unit that took d.
func (t *tally) done(d time.Duration) {
	t.count++
	_ = t.latency.RecordValue(min(max(d.Microseconds(), shortest), longest)) // within its range
}

// failed counts a unit that did not work out, unless it was cut off. A dial can
// notice the deadline of ctx before ctx does.
func (t *tally) failed(ctx context.Context, err error) {
	if end, ok := ctx.Deadline(); ctx.Err() != nil || ok && time.Now().After(end) {
		return
	}
	t.errors++
	if t.first == nil {
		t.first = err
	}
}

// crowd are workers that do the same side by side.
type crowd []*tally

func newCrowd(n int) crowd {
	c := make(crowd, n)
	for i := range c {
		c[i] = newTally()
	}
	return c
}

// run runs all workers until each returns, and sums up.
func (c crowd) run(work func(i int, t *tally)) Outcome {
	start := time.Now()
	var wg sync.WaitGroup
	for i, t := range c {
		*t = tally{latency: t.latency}
		t.latency.Reset()
		wg.Go(func() { work(i, t) })
	}
	wg.Wait()
	out := Outcome{Elapsed: time.Since(start), Latency: hdrhistogram.New(shortest, longest, precision)}
	for _, t := range c {
		out.Count += t.count
		out.Bytes += t.bytes
		out.Errors += t.errors
		out.Latency.Merge(t.latency)
		if out.FirstError == nil {
			out.FirstError = t.first
		}
	}
	return out
}

// errorPause keeps a client whose connections are refused from spinning.
const errorPause = 5 * time.Millisecond

// pause waits for d or until ctx ends, and reports whether it may go on.
func pause(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
