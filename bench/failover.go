package bench

import (
	"context"
	"fmt"
	"time"

	"culvert/bench/load"
	"culvert/bench/origin"
	"culvert/bench/peer"
	"culvert/bench/result"
)

// Parameters of failover. Clients have many addresses, so that a hash sends half
// of them to the failed server first.
const (
	failoverClients  = 64
	failoverRequests = 128
	failoverPatience = 5 * time.Second

	// failoverConnect is the connect timeout of all proxies. Their defaults
	// range from 3 s to a minute, and would determine the result.
	failoverConnect = time.Second
	// failoverFirstByte is the timeout of the first byte, if a proxy has one.
	failoverFirstByte = time.Second
)

// failover measures the effect on clients when one of two servers does not work.
func failover() []workload {
	bad := []struct {
		name, title string
		addr        func(*origin.Process) string
	}{
		{"refused", "a server refuses", func(o *origin.Process) string { return o.Refused }},
		{"black-hole", "a server's machine is gone", func(o *origin.Process) string { return o.BlackHole }},
		{"silent", "a server accepts and is silent", func(o *origin.Process) string { return o.Silent }},
	}
	metrics := []result.Metric{{Name: "errors", Unit: "% of requests"}, {Name: "p50", Unit: "ms"}, {Name: "p99", Unit: "ms"}, {Name: "max", Unit: "ms"}}
	var list []workload
	for _, b := range bad {
		list = append(list, workload{
			Workload: result.Workload{Name: "failover/" + b.name, Title: b.title},
			setup:    func(s *peer.Setup, o *origin.Process) { twoServers(s, o.TLS[0], b.addr(o)) },
			fresh:    true,
			skip:     notDirect,
			measure:  requests,
		})
	}
	list = append(list, workload{
		Workload: result.Workload{
			Name: "failover/killed", Title: "a server dies under its connections",
			Metrics: []result.Metric{{Name: "errors", Unit: "% of reconnects"}, {Name: "cut", Unit: "connections"}, {Name: "p50", Unit: "ms"}, {Name: "max", Unit: "ms"}},
		},
		setup:   func(s *peer.Setup, o *origin.Process) { twoServers(s, o.Plain[0], o.Plain[1]) },
		fresh:   true,
		skip:    notDirect,
		measure: killed,
	})
	return in("failover", "Failover", metrics, list)
}

func twoServers(s *peer.Setup, good, bad string) {
	s.Servers = []string{good, bad}
	s.ConnectTimeout, s.FirstByte = failoverConnect, failoverFirstByte
}

func requests(ctx context.Context, s *site) (values, error) {
	out := load.FirstBytes(ctx, s.target(failoverClients), failoverRequests, 8, failoverPatience)
	s.heard(out)
	return noticed(out), ctx.Err()
}

// noticed returns the clients' latencies in a failover, in milliseconds.
func noticed(out load.Outcome) values {
	v := values{"errors": 100 * float64(out.Errors) / float64(max(1, out.Errors+out.Count))}
	if h := out.Latency; h.TotalCount() > 0 {
		v["p50"], v["p99"], v["max"] = float64(h.ValueAtQuantile(50))/1000, float64(h.ValueAtQuantile(99))/1000, float64(h.Max())/1000
	}
	return v
}

// killed kills one server while it has its share of the connections, and makes
// all clients reconnect at once.
func killed(ctx context.Context, s *site) (values, error) {
	held, err := load.Hold(ctx, s.target(failoverClients), failoverClients)
	if err != nil {
		return nil, err
	}
	defer held.Close()
	if err := s.origin.Kill(1); err != nil {
		return nil, err
	}
	within, cancel := context.WithTimeout(ctx, s.opts.Length)
	defer cancel()
	out, err := load.NewConnections(s.target(failoverClients), 8).Run(within)
	if err != nil {
		return nil, err
	}
	s.heard(out)
	v := noticed(out)
	v["cut"] = float64(held.Lost(ctx))
	if err := s.origin.Revive(1); err != nil {
		return nil, fmt.Errorf("bring the server back: %w", err)
	}
	return v, ctx.Err()
}

func notDirect(name string) bool { return name == direct }
