package bench

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"culvert/bench/load"
	"culvert/bench/origin"
	"culvert/bench/peer"
	"culvert/bench/result"
)

// termination measures the cost of terminating TLS in the proxy, which checks a
// secret in requests and forwards them as plain HTTP/1.1.
func termination() []workload {
	list := []workload{
		answered("http1", "1 KiB, HTTP/1.1, 32 connections", load.RequestOptions{Response: 1 << 10, Conns: concurrency}, per("request")),
		answered("http2", "1 KiB, HTTP/2, 8 streams on each of 4 connections",
			load.RequestOptions{Response: 1 << 10, Conns: 4, Streams: 8}, per("request")),
		visited("full", "new connection, full handshake, one request, 8 at a time", load.RequestOptions{Response: 1 << 10, Conns: 8}),
		visited("resumed", "new connection, resumed, one request, 8 at a time", load.RequestOptions{Response: 1 << 10, Conns: 8, Resume: true}),
		answered("down", "1 MiB down, 8 connections", load.RequestOptions{Response: 1 << 20, Conns: 8}, gib),
		answered("up", "1 MiB up, 8 connections", load.RequestOptions{Response: 2, Body: 1 << 20, Conns: 8}, gib),
		webSockets(1000),
		neighbours(),
	}
	for i := range list {
		list[i].skip = endsNoTLS
		list[i].setup = func(s *peer.Setup, o *origin.Process) { s.HTTP = o.HTTP[:1] }
	}
	return in("termination", "TLS that ends in the proxy", costs("us/request"), list)
}

// endsNoTLS is a skip for peers whose setup does not terminate TLS.
func endsNoTLS(name string) bool {
	kind, _, _ := strings.Cut(name, "-") // nginx-1.31
	return kind != "culvert" && kind != "nginx" && kind != "haproxy"
}

// ended is the target of clients whose TLS the proxy terminates.
func (s *site) ended() load.Target {
	return load.Target{Addr: s.TLSAddr, ServerName: peer.EndedName}
}

// answered measures requests on persistent connections.
func answered(name, title string, o load.RequestOptions, u unit) workload {
	o.Secret = peer.Secret
	w := workload{
		Workload: result.Workload{
			Name: "termination/" + name, Title: title, Metrics: costs(u.name),
			Bars: []result.Bar{{Metric: "cpu", Against: "nginx", Max: 1.5}},
		},
		measure: func(ctx context.Context, s *site) (values, error) {
			ld, err := load.NewRequests(ctx, s.ended(), o)
			if err != nil {
				return nil, err
			}
			return cost(ctx, s, ld, u)
		},
	}
	if u.bytes > 0 {
		w.Metrics[1].Unit = "GiB/s"
	}
	return w
}

// visited measures connections with one request each.
func visited(name, title string, o load.RequestOptions) workload {
	o.Secret = peer.Secret
	metrics := costs("us/handshake")
	return workload{
		Workload: result.Workload{
			Name: "termination/" + name, Title: title,
			Metrics: append(metrics[:1:1], append([]result.Metric{{Name: "per_cpu", Unit: "1/CPU s", Higher: true}}, metrics[1:]...)...),
			Bars:    []result.Bar{{Metric: "cpu", Against: "nginx", Max: 1.5}},
		},
		measure: func(ctx context.Context, s *site) (values, error) {
			v, err := cost(ctx, s, load.NewVisits(s.ended(), o), per("handshake"))
			if err == nil && v["cpu"] > 0 {
				v["per_cpu"] = 1e6 / v["cpu"]
			}
			return v, err
		},
	}
}

// webSockets measures n WebSockets that have exchanged a message and are idle.
func webSockets(n int) workload {
	return workload{
		Workload: result.Workload{
			Name: fmt.Sprintf("termination/websockets/%d", n), Title: fmt.Sprintf("%d idle WebSockets", n), Metrics: idleMetrics("KiB/WebSocket"),
			Bars: []result.Bar{{Metric: "memory", Against: "nginx", Max: 1}},
		},
		fresh: true,
		measure: func(ctx context.Context, s *site) (values, error) {
			return hold(ctx, s, n, func(n int) (*load.Held, error) {
				return load.HoldWebSockets(ctx, s.ended(), n, load.RequestOptions{Secret: peer.Secret})
			})
		},
	}
}

// neighbours measures messages on passed-through connections: alone, then beside
// clients that keep the terminating part busy, and then beside the same clients
// at another process, which shows the effect of the busy processors alone.
func neighbours() workload {
	times := result.Metric{Name: "slowdown", Unit: "times"}
	return workload{
		Workload: result.Workload{
			Name: "termination/beside", Title: "200 B through, 500/s, beside 8 clients of requests and handshakes",
			Metrics: []result.Metric{
				times, {Name: "of_process", Unit: "times"}, {Name: "alone", Unit: "us"}, {Name: "beside", Unit: "us"}, {Name: "elsewhere", Unit: "us"},
				{Name: "requests", Unit: "1/s", Higher: true}, {Name: "handshakes", Unit: "1/s", Higher: true}, errorCount,
			},
			Bars: []result.Bar{{Metric: times.Name, Against: result.Absolute, Max: 1.2}, {Metric: "of_process", Against: result.Absolute, Max: 1.2}},
		},
		seconds: 3, // a shorter time has too few messages for a p99
		measure: measureNeighbours,
	}
}

func measureNeighbours(ctx context.Context, s *site) (values, error) {
	other, err := s.Another(ctx)
	if err != nil {
		return nil, err
	}
	defer other.Stop()
	ld, err := load.NewMessages(ctx, s.target(0), load.MessageOptions{Size: 200, Conns: 50, Rate: 500})
	if err != nil {
		return nil, err
	}
	defer ld.Close()
	v := values{}
	if v["alone"], err = messageP99(ctx, s, ld); err != nil {
		return nil, err
	}
	there := s.ended()
	there.Addr = other.TLSAddr
	if v["elsewhere"], err = messagesBeside(ctx, s, ld, there, values{}); err != nil {
		return nil, err
	}
	if v["beside"], err = messagesBeside(ctx, s, ld, s.ended(), v); err != nil {
		return nil, err
	}
	v["slowdown"], v["of_process"] = v["beside"]/v["alone"], v["beside"]/v["elsewhere"]
	return v, nil
}

// messagesBeside is messageP99 while clients keep t busy. The clients' results
// are added to v.
func messagesBeside(ctx context.Context, s *site, ld load.Load, t load.Target, v values) (p99 float64, err error) {
	o := load.RequestOptions{Secret: peer.Secret, Response: 1 << 10, Conns: 4}
	requests, err := load.NewRequests(ctx, t, o)
	if err != nil {
		return 0, err
	}
	defer requests.Close()
	within, cancel := context.WithCancel(ctx)
	var busy sync.WaitGroup
	var answers, visits load.Outcome
	busy.Go(func() { answers, _ = requests.Run(within) })
	busy.Go(func() { visits, _ = load.NewVisits(t, o).Run(within) })
	p99, err = messageP99(ctx, s, ld)
	cancel()
	busy.Wait()
	s.heard(answers)
	s.heard(visits)
	v["requests"], v["handshakes"] = perSecond(answers), perSecond(visits)
	v["errors"] = float64(answers.Errors + visits.Errors)
	return p99, err
}

func perSecond(o load.Outcome) float64 { return float64(o.Count) / o.Elapsed.Seconds() }

// messageP99 runs the messages for a while and returns the p99 of their latency,
// in microseconds.
func messageP99(ctx context.Context, s *site, ld load.Load) (float64, error) {
	v, err := cost(ctx, s, kept{ld}, per("msg"))
	return v["p99"], err
}

// kept is a load that stays open after it was measured.
type kept struct{ load.Load }

// Close does nothing.
func (kept) Close() {}
