package bench

import (
	"context"
	"errors"
	"fmt"
	"time"

	"culvert/bench/load"
	"culvert/bench/measure"
)

// warmUp is the part of a measurement's length that runs before measuring.
const warmUp = 0.15

// unit is the unit of work of a cost: n pieces of work, or n bytes if bytes is
// set.
type unit struct {
	name  string // of the cost: "us/conn"
	scale time.Duration
	bytes float64
}

var gib = unit{name: "s/GiB", scale: time.Second, bytes: 1 << 30}

func per(what string) unit { return unit{name: "us/" + what, scale: time.Microsecond} }

func (u unit) of(o load.Outcome) float64 {
	if u.bytes > 0 {
		return float64(o.Bytes) / u.bytes
	}
	return float64(o.Count)
}

// cost runs a load and returns its cost and its outcome.
func cost(ctx context.Context, s *site, ld load.Load, u unit) (values, error) {
	defer ld.Close()
	length := s.opts.Length
	if _, err := runFor(ctx, ld, time.Duration(float64(length)*warmUp)); err != nil && !errors.Is(err, errNoWork) {
		return nil, err
	}
	before, err := take(s)
	if err != nil {
		return nil, err
	}
	out, err := runFor(ctx, ld, length)
	if err != nil {
		return nil, err
	}
	s.heard(out)
	after, err := take(s)
	if err != nil {
		return nil, err
	}
	return after.since(before, out, u)
}

var errNoWork = errors.New("no work was done")

// runFor runs ld for d. Errors of clients are counted; only if no unit of work
// succeeds does runFor return an error.
func runFor(ctx context.Context, ld load.Load, d time.Duration) (load.Outcome, error) {
	if err := ctx.Err(); err != nil {
		return load.Outcome{}, err
	}
	within, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	out, err := ld.Run(within)
	if err == nil && out.Count == 0 && out.Bytes == 0 {
		err = errNoWork
		if out.FirstError != nil {
			err = fmt.Errorf("%w: %w", errNoWork, out.FirstError)
		}
	}
	return out, errors.Join(err, ctx.Err())
}

// reading is a snapshot of the kernel's accounting.
type reading struct {
	proxy   measure.Usage
	machine measure.MachineTime
}

func take(s *site) (r reading, err error) {
	if r.proxy, err = measure.ReadUsage(s.PIDs()); err != nil {
		return r, fmt.Errorf("ended while it was measured: %w", err)
	}
	r.machine, err = measure.Machine()
	return r, err
}

func (r reading) since(before reading, out load.Outcome, u unit) (values, error) {
	v := values{"rate": u.of(out) / out.Elapsed.Seconds(), "errors": float64(out.Errors)}
	if len(r.proxy) > 0 { // without a proxy the cost is 0, which has no ratio
		v["cpu"] = float64(r.proxy.Since(before.proxy)) / float64(u.scale) / u.of(out)
	}
	if m := r.machine.Sub(before.machine); m.Busy+m.Idle > 0 {
		v["machine_cpu"] = 100 * float64(m.Busy) / float64(m.Busy+m.Idle)
	}
	if h := out.Latency; h != nil && h.TotalCount() > 0 {
		v["p50"], v["p99"], v["p999"] = float64(h.ValueAtQuantile(50)), float64(h.ValueAtQuantile(99)), float64(h.ValueAtQuantile(99.9))
	}
	return v, nil
}
