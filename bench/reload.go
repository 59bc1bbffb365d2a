package bench

import (
	"context"
	"errors"
	"sync"
	"time"

	"culvert/bench/load"
	"culvert/bench/peer"
	"culvert/bench/result"
)

// The load on a proxy during a change.
const (
	reloadHeld = 200
	reloadRate = 500
)

// reload measures the effect on clients when a proxy loads a new configuration,
// or is replaced by another process.
func reload() []workload {
	metrics := []result.Metric{
		{Name: "lost", Unit: "connections"}, {Name: "errors", Unit: "errors"}, {Name: "took", Unit: "ms"}, p99, {Name: "max", Unit: "us"},
	}
	return in("reload", "Reload and restart under load", metrics, []workload{
		change("reload", "200 connections and 500 new ones a second: reload", (*peer.Running).Reload),
		change("restart", "the same: restart", (*peer.Running).Restart),
	})
}

func change(name, title string, do func(*peer.Running, context.Context) error) workload {
	return workload{
		Workload: result.Workload{Name: "reload/" + name, Title: title},
		fresh:    true,
		skip:     notDirect,
		measure: func(ctx context.Context, s *site) (values, error) {
			return underLoad(ctx, s, func() error { return do(s.Running, ctx) })
		},
	}
}

// underLoad changes the proxy while it is under load.
func underLoad(ctx context.Context, s *site, change func() error) (values, error) {
	held, err := load.Hold(ctx, s.target(0), reloadHeld)
	if err != nil {
		return nil, err
	}
	defer held.Close()
	within, cancel := context.WithTimeout(ctx, s.opts.Length)
	defer cancel()
	var out load.Outcome
	var wg sync.WaitGroup
	wg.Go(func() { out, _ = load.NewConnectionsAtRate(s.target(0), reloadRate).Run(within) })
	start := time.Now()
	err = change()
	took := time.Since(start)
	if errors.Is(err, peer.ErrNoReload) || errors.Is(err, peer.ErrNoProcess) {
		cancel()
	}
	wg.Wait()
	if err != nil {
		return nil, err
	}
	s.heard(out)
	v := values{"lost": float64(held.Lost(ctx)), "errors": float64(out.Errors), "took": took.Seconds() * 1000}
	if h := out.Latency; h.TotalCount() > 0 {
		v["p99"], v["max"] = float64(h.ValueAtQuantile(99)), float64(h.Max())
	}
	return v, ctx.Err()
}
