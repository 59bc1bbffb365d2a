package bench

import (
	"context"
	"fmt"

	"culvert/bench/load"
	"culvert/bench/result"
)

// bulk is the maximum throughput of streams, in each direction.
func bulk() []workload {
	bars := map[int]float64{1: 0.5, 4: 0.5, 64: 0.85, 512: 0.5}
	var list []workload
	for _, dir := range []load.Direction{load.Down, load.Up} {
		for _, n := range []int{1, 4, 64, 512} {
			w := workload{
				Workload: result.Workload{
					Name: fmt.Sprintf("bulk/%s/%d", dir, n), Title: fmt.Sprintf("%s, streams: %d", dir, n),
					X: float64(n), XLabel: "streams", Series: dir.String(),
				},
				measure: func(ctx context.Context, s *site) (values, error) {
					ld, err := load.NewStreams(ctx, s.target(0), n, dir, s.origin.Taken)
					if err != nil {
						return nil, err
					}
					return cost(ctx, s, ld, gib)
				},
			}
			if n >= 64 {
				w.seconds = 3 // the start of so many streams is dominated by loss and recovery
			}
			if dir == load.Down {
				w.Bars = []result.Bar{{Metric: "cpu", Against: "best", Max: bars[n]}}
			}
			list = append(list, w)
		}
	}
	metrics := []result.Metric{{Name: "cpu", Unit: gib.name}, {Name: "rate", Unit: "GiB/s", Higher: true}, machineCPU, errorCount}
	return in("bulk", "Bulk transfer", metrics, list)
}

// responses are downloads of several sizes. A proxy that splices has a cost at
// the end of each, a proxy that copies at the start.
func responses() []workload {
	var list []workload
	for _, kib := range []int{1, 4, 16, 64, 256, 1024} {
		bar := result.Bar{Metric: "cpu", Against: "nginx", Max: 1}
		if kib >= 64 {
			bar.Max = 0.6
		}
		list = append(list, workload{
			Workload: result.Workload{
				Name: fmt.Sprintf("responses/%dKiB", kib), Title: fmt.Sprintf("%d KiB, 8 at a time", kib),
				X: float64(kib), XLabel: "KiB", Bars: []result.Bar{bar},
			},
			measure: func(ctx context.Context, s *site) (values, error) {
				ld, err := load.NewResponses(ctx, s.target(0), kib<<10, 8)
				if err != nil {
					return nil, err
				}
				return cost(ctx, s, ld, per("response"))
			},
		})
	}
	return in("responses", "Request and response", costs("us/response"), list)
}
