package bench

import (
	"context"
	"fmt"

	"culvert/bench/load"
	"culvert/bench/origin"
	"culvert/bench/peer"
	"culvert/bench/result"
)

// concurrency is the number of concurrent clients of a closed loop.
const concurrency = 32

// connections are short connections: hello, one reply, end.
func connections() []workload {
	closed := workload{
		Workload: result.Workload{Name: "connections/closed", Title: "32 at a time"},
		measure:  openAndClose,
	}
	closed.Bars = []result.Bar{{Metric: "cpu", Against: "nginx", Max: 1, Goal: 0.75}}
	off := closed
	off.Name, off.Title = "connections/half-close-off", "32 at a time, half-close not kept"
	off.setup = func(s *peer.Setup, _ *origin.Process) { s.HalfClose = false }
	off.skip = func(name string) bool { return name == "haproxy" } // cannot be configured so
	off.Bars = []result.Bar{{Metric: "cpu", Against: "nginx", Max: 0.85}}
	list := []workload{closed, off}
	for _, perSecond := range []int{500, 2000} {
		list = append(list, workload{
			Workload: result.Workload{Name: fmt.Sprintf("connections/%d", perSecond), Title: fmt.Sprintf("%d/s, whatever happens", perSecond)},
			measure: func(ctx context.Context, s *site) (values, error) {
				return cost(ctx, s, load.NewConnectionsAtRate(s.target(0), perSecond), per("conn"))
			},
		})
	}
	return in("connections", "New connections", costs("us/conn"), list)
}

func openAndClose(ctx context.Context, s *site) (values, error) {
	return cost(ctx, s, load.NewConnections(s.target(0), concurrency), per("conn"))
}

// handshakes are complete logins: TLS between client and server, a small request
// and its reply.
func handshakes() []workload {
	return in("handshakes", "TLS handshakes through the proxy", costs("us/login"), []workload{{
		Workload: result.Workload{Name: "handshakes/closed", Title: "8 at a time"},
		setup:    func(s *peer.Setup, o *origin.Process) { s.Servers = o.TLS[:1] },
		measure: func(ctx context.Context, s *site) (values, error) {
			return cost(ctx, s, load.NewHandshakes(s.target(0), 8), per("login"))
		},
	}})
}

// in puts workloads into one group of the report, and sets the metrics of those
// that have none.
func in(group, title string, metrics []result.Metric, list []workload) []workload {
	for i := range list {
		list[i].Group, list[i].GroupTitle = group, title
		if list[i].Metrics == nil {
			list[i].Metrics = metrics
		}
	}
	return list
}
