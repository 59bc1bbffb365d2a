package bench

import (
	"context"
	"fmt"

	"culvert/bench/load"
	"culvert/bench/result"
)

// messages are small and echoed at once, as in a chat.
func messages() []workload {
	var list []workload
	for _, perSecond := range []int{20, 500, 2000, 5000, 20000} {
		w := message(200, perSecond, 1.05)
		w.X, w.XLabel = float64(perSecond), "messages/s"
		list = append(list, w)
	}
	list = append(list, message(200, 0, 1))
	for _, size := range []int{64, 1 << 10, 4 << 10, 16 << 10} {
		list = append(list, message(size, 2000, 0), message(size, 0, 0))
	}
	list = append(list, skew())
	return in("messages", "Messages", costs("us/msg"), list)
}

// message is a ping-pong of size bytes, perSecond times a second, or as fast as
// possible if perSecond is 0. bar 0 means no bar.
func message(size, perSecond int, bar float64) workload {
	name, title := fmt.Sprintf("%d", perSecond), fmt.Sprintf("%d B, %d/s", size, perSecond)
	conns := 50
	if perSecond == 0 {
		name, title, conns = "saturated", fmt.Sprintf("%d B, saturated", size), concurrency
	}
	w := workload{
		Workload: result.Workload{Name: fmt.Sprintf("messages/%dB/%s", size, name), Title: title},
		measure: func(ctx context.Context, s *site) (values, error) {
			ld, err := load.NewMessages(ctx, s.target(0), load.MessageOptions{Size: size, Conns: conns, Rate: perSecond})
			if err != nil {
				return nil, err
			}
			return cost(ctx, s, ld, per("msg"))
		},
	}
	if perSecond > 0 && perSecond < 100 {
		w.seconds = 5 // in a shorter time there are too few messages
	}
	if bar > 0 {
		w.Bars = []result.Bar{{Metric: "cpu", Against: "best", Max: bar, Goal: 0.95}}
	}
	return w
}

// skew is 500 messages a second beside a stream at full speed. It measures how
// long the messages wait.
func skew() workload {
	return workload{
		Workload: result.Workload{
			Name: "messages/beside-bulk", Title: "200 B, 500/s, beside one saturating stream",
			Metrics: []result.Metric{p99, p50, p999, {Name: "stream", Unit: "GiB/s", Higher: true}, rate, machineCPU, errorCount},
		},
		measure: func(ctx context.Context, s *site) (values, error) {
			stream, err := load.NewStreams(ctx, s.target(0), 1, load.Down, nil)
			if err != nil {
				return nil, err
			}
			defer stream.Close()
			ld, err := load.NewMessages(ctx, s.target(0), load.MessageOptions{Size: 200, Conns: 50, Rate: 500})
			if err != nil {
				return nil, err
			}
			within, cancel := context.WithCancel(ctx)
			moved := make(chan float64, 1)
			go func() {
				out, _ := stream.Run(within)
				moved <- gib.of(out) / out.Elapsed.Seconds()
			}()
			v, err := cost(ctx, s, ld, per("msg"))
			cancel()
			perSecond := <-moved
			if err != nil {
				return nil, err
			}
			delete(v, "cpu") // of messages and stream together
			v["stream"] = perSecond
			return v, nil
		},
	}
}
