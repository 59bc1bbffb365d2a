package bench

import (
	"context"
	"fmt"
	"time"

	"culvert/bench/load"
	"culvert/bench/measure"
	"culvert/bench/result"
)

// warmConns is the number of connections opened before memory is first read, so
// that memory which a proxy allocates once is not counted as that of connections.
const warmConns = 64

// idle measures connections that have sent a hello, received an answer, and are
// idle.
func idle() []workload {
	var list []workload
	for _, n := range []int{1000, relayConns, maxConns} {
		w := workload{
			Workload: result.Workload{
				Name: fmt.Sprintf("idle/%d", n), Title: fmt.Sprintf("%d connections", n), X: float64(n), XLabel: "connections",
			},
			fresh:   true,
			seconds: 5,
			skip:    carries(n),
			measure: func(ctx context.Context, s *site) (values, error) {
				return hold(ctx, s, n, func(n int) (*load.Held, error) { return load.Hold(ctx, s.target(0), n) })
			},
		}
		if n == maxConns { // with fewer, the steps in which the runtime allocates memory are too coarse
			w.Bars = []result.Bar{{Metric: "memory", Against: result.Absolute, Max: 0.5}}
			w.once = true
		}
		list = append(list, w)
	}
	return in("idle", "Idle connections", idleMetrics("KiB/conn"), list)
}

func idleMetrics(memory string) []result.Metric {
	return []result.Metric{
		{Name: "memory", Unit: memory}, {Name: "slab", Unit: "KiB/conn"}, {Name: "fds", Unit: "fds/conn"},
		{Name: "ping_cpu", Unit: "us/ping"}, p50, p99, errorCount,
	}
}

// hold opens n connections, measures their memory, and pings each as often as a
// chat client does.
func hold(ctx context.Context, s *site, n int, open func(n int) (*load.Held, error)) (values, error) {
	warm, err := open(warmConns)
	if err != nil {
		return nil, err
	}
	defer warm.Close()
	before, err := weigh(s)
	if err != nil {
		return nil, err
	}
	held, err := open(n)
	if err != nil {
		return nil, err
	}
	defer held.Close()
	after, err := weigh(s)
	if err != nil {
		return nil, err
	}
	v := after.per(before, n)
	return v, ping(ctx, s, held, v)
}

// pingEvery is how often a Mattermost client pings its WebSocket.
const pingEvery = 30 * time.Second

// settleTime is the time for a proxy to finish its work on new connections.
const settleTime = 1500 * time.Millisecond

// ping adds to v the cost of periodic messages on every connection. In a shorter
// measurement only a part of the connections sends one.
func ping(ctx context.Context, s *site, held *load.Held, v values) error {
	settle, stop := context.WithTimeout(ctx, settleTime)
	defer stop()
	if _, err := held.Ping(settle, pingEvery); err != nil {
		return err
	}
	before, err := take(s)
	if err != nil {
		return err
	}
	within, cancel := context.WithTimeout(ctx, s.opts.Length)
	defer cancel()
	out, err := held.Ping(within, pingEvery)
	if err != nil || ctx.Err() != nil {
		return err
	}
	s.heard(out)
	after, err := take(s)
	if err != nil {
		return err
	}
	w, err := after.since(before, out, per("ping"))
	if err != nil {
		return err
	}
	v["ping_cpu"], v["p50"], v["p99"], v["errors"] = w["cpu"], w["p50"], w["p99"], w["errors"]
	return nil
}

// weight is the memory and the descriptors of a proxy and the kernel.
type weight struct{ memory, slab, fds float64 }

func weigh(s *site) (weight, error) {
	pids := s.PIDs()
	memory, err := measure.Memory(pids)
	if err != nil {
		return weight{}, err
	}
	fds, err := measure.FDs(pids)
	if err != nil {
		return weight{}, err
	}
	_, slab, err := measure.Slab()
	return weight{float64(memory), float64(slab), float64(fds)}, err
}

func (w weight) per(before weight, n int) values {
	return values{
		"memory": (w.memory - before.memory) / 1024 / float64(n),
		"slab":   (w.slab - before.slab) / 1024 / float64(n),
		"fds":    (w.fds - before.fds) / float64(n),
	}
}
