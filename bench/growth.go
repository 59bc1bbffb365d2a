package bench

import (
	"context"
	"fmt"

	"culvert/bench/load"
	"culvert/bench/origin"
	"culvert/bench/peer"
	"culvert/bench/result"
)

// growth measures the cost of the same work with growing numbers of names,
// servers and connections.
func growth() []workload {
	var list []workload
	for _, n := range []int{1, 1000, 100_000} {
		list = append(list, workload{
			Workload: result.Workload{
				Name: fmt.Sprintf("growth/routes/%d", n), Title: fmt.Sprintf("new connections, %d routes", n),
				Metrics: costs("us/conn"), X: float64(n), XLabel: "routes", Series: "routes",
			},
			setup:   func(s *peer.Setup, _ *origin.Process) { s.Routes = n - 1 },
			skip:    notDirect,
			measure: openAndClose,
		})
	}
	for _, n := range []int{2, 100, maxServers} {
		list = append(list, workload{
			Workload: result.Workload{
				Name: fmt.Sprintf("growth/servers/%d", n), Title: fmt.Sprintf("new connections, %d servers", n),
				Metrics: costs("us/conn"), X: float64(n), XLabel: "servers", Series: "servers",
			},
			setup: func(s *peer.Setup, o *origin.Process) { s.Servers = o.Plain[:n] },
			skip:  notDirect,
			measure: func(ctx context.Context, s *site) (values, error) {
				return cost(ctx, s, load.NewConnections(s.target(1000), concurrency), per("conn"))
			},
		})
	}
	for _, n := range []int{100, 1000, maxConns} {
		list = append(list, workload{
			Workload: result.Workload{
				Name: fmt.Sprintf("growth/connections/%d", n), Title: fmt.Sprintf("5,000 messages/s over %d connections", n),
				Metrics: costs("us/msg"), X: float64(n), XLabel: "connections", Series: "connections",
			},
			skip: carries(n),
			measure: func(ctx context.Context, s *site) (values, error) {
				ld, err := load.NewMessages(ctx, s.target(0), load.MessageOptions{Size: 200, Conns: n, Rate: 5000})
				if err != nil {
					return nil, err
				}
				return cost(ctx, s, ld, per("msg"))
			},
		})
	}
	return in("growth", "As work grows", nil, list)
}

// unprivileged measures the cost of the limits of ordinary users, especially
// those of pipes: culvert as user nobody compared with culvert as root.
func unprivileged() []workload {
	asRoot := []variant{{"culvert as root", func(s *peer.Setup) { s.Unprivileged = false }}}
	var list []workload
	for _, w := range append(bulk(), connections()[0]) {
		if w.Series == load.Up.String() || w.X == 1 {
			continue
		}
		w.Name, w.Series = "unprivileged/"+w.Name, ""
		w.X, w.XLabel = 0, ""
		w.setup = func(s *peer.Setup, _ *origin.Process) { s.Unprivileged = true }
		w.beside = asRoot
		w.Bars = []result.Bar{{Metric: "cpu", Against: asRoot[0].name, Max: 1.1}}
		w.needsRoot = true
		list = append(list, w)
	}
	return in("unprivileged", "As an unprivileged user", nil, list)
}
