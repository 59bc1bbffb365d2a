package bench

import (
	"context"
	"net/netip"

	"culvert/bench/load"
	"culvert/bench/origin"
	"culvert/bench/peer"
	"culvert/bench/result"
)

// workload is one row of the report: its name, the setup of the proxies, and the
// function that makes one measurement.
type workload struct {
	result.Workload

	// setup changes the setup of all proxies; nil means one plain server.
	setup func(*peer.Setup, *origin.Process)
	// beside are variants of the subject, for a comparison with itself.
	beside []variant
	// skip leaves out peers for which the workload is not meaningful.
	skip func(name string) bool
	// fresh starts a new proxy for every measurement.
	fresh bool
	// seconds is the minimum length of one measurement; 0 means that of the
	// options.
	seconds float64
	// once limits the workload to one round, because it takes long and varies
	// little.
	once bool
	// needsRoot is set if the workload compares with root and must run as root.
	needsRoot bool

	measure func(context.Context, *site) (values, error)
}

// variant is the subject under another name and with another setup.
type variant struct {
	name  string
	setup func(*peer.Setup)
}

// values are the results of one measurement, by metric.
type values = map[string]float64

// site is the environment of one measurement: a running proxy, and what its
// clients need.
type site struct {
	*peer.Running
	origin *origin.Process
	hello  []byte
	opts   Options
	first  error // of a client
}

// heard records the errors of clients.
func (s *site) heard(out load.Outcome) {
	if s.first == nil {
		s.first = out.FirstError
	}
}

// target returns the address to which clients connect; each uses an address of
// its own if the workload is about picking a server.
func (s *site) target(sources int) load.Target {
	t := load.Target{Addr: s.Addr, Hello: s.hello, ServerName: peer.ServerName}
	for i := range sources {
		t.Sources = append(t.Sources, netip.AddrFrom4([4]byte{127, 1, byte(i >> 8), byte(i)}))
	}
	return t
}

// Names and sizes that several workloads share.
const (
	direct = "direct" // the peer without a proxy

	// maxServers is the number of servers of the largest pool.
	maxServers = 1000
	// maxConns is the number of connections that every proxy can carry with
	// 20,000 descriptors, in addition to the warm-up ones: HAProxy accepts
	// 9,000.
	maxConns = 8900
	// relayConns is the same for the plain relay, whose io.Copy holds a pipe
	// of two descriptors for each direction.
	relayConns = 3000
)

// groups lists all workloads in the order of the report.
func groups() []workload {
	var all []workload
	for _, g := range []func() []workload{connections, handshakes, bulk, messages, responses, idle, failover, reload, growth, termination, unprivileged} {
		all = append(all, g()...)
	}
	return all
}

// The metrics that workloads share. Times are in microseconds unless the unit
// is another.
var (
	rate       = result.Metric{Name: "rate", Unit: "1/s", Higher: true}
	p50        = result.Metric{Name: "p50", Unit: "us"}
	p99        = result.Metric{Name: "p99", Unit: "us"}
	p999       = result.Metric{Name: "p999", Unit: "us"}
	machineCPU = result.Metric{Name: "machine_cpu", Unit: "%"}
	errorCount = result.Metric{Name: "errors", Unit: "errors"}
)

// carries is a skip for peers that cannot carry n concurrent connections.
func carries(n int) func(string) bool {
	return func(name string) bool { return name == direct || name == "relay" && n > relayConns }
}

// costs are the metrics of a workload whose headline is processor time.
func costs(unit string) []result.Metric {
	return []result.Metric{{Name: "cpu", Unit: unit}, rate, p50, p99, p999, machineCPU, errorCount}
}
