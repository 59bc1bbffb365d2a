package bench

import (
	"context"
	"net/netip"

	"culvert/bench/load"
	"culvert/bench/origin"
	"culvert/bench/peer"
	"culvert/bench/result"
)

// workload is one row of the report: what it is called, how the proxies are
// set up for it, and how one measurement is made.
type workload struct {
	result.Workload

	// setup changes what all proxies serve; nil: one plain server.
	setup func(*peer.Setup, *origin.Process)
	// beside are further ways to run the subject, for a comparison with itself.
	beside []variant
	// skip leaves out peers that the workload says nothing about.
	skip func(name string) bool
	// fresh starts the proxy anew for every measurement.
	fresh bool
	// seconds is how long one measurement takes at least; 0: as the options say.
	seconds float64
	// once is measured in one round only: it takes long and varies little.
	once bool
	// needsRoot says that it compares with root, and so needs to be it.
	needsRoot bool

	measure func(context.Context, *site) (values, error)
}

// variant is the subject under another name and with another setup.
type variant struct {
	name  string
	setup func(*peer.Setup)
}

// values are one measurement's, by metric.
type values = map[string]float64

// site is what one measurement works on: a proxy that serves, and what its
// clients need.
type site struct {
	*peer.Running
	origin *origin.Process
	hello  []byte
	opts   Options
	first  error // that a client met
}

// heard remembers what clients met.
func (s *site) heard(out load.Outcome) {
	if s.first == nil {
		s.first = out.FirstError
	}
}

// target is where clients connect, each from an address of its own if the
// workload is about picking a server.
func (s *site) target(sources int) load.Target {
	t := load.Target{Addr: s.Addr, Hello: s.hello, ServerName: peer.ServerName}
	for i := range sources {
		t.Sources = append(t.Sources, netip.AddrFrom4([4]byte{127, 1, byte(i >> 8), byte(i)}))
	}
	return t
}

// Names and sizes that several workloads share.
const (
	direct = "direct" // the peer that is no proxy

	// mostServers is how many servers the largest pool has.
	mostServers = 1000
	// mostConns is as many connections as each proxy carries with 20,000
	// descriptors beside those that warm it up: HAProxy takes 9,000.
	mostConns = 8900
	// relayConns is as many as the plain relay does, whose io.Copy holds a
	// pipe of two descriptors for each direction.
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
// says otherwise.
var (
	rate       = result.Metric{Name: "rate", Unit: "1/s", Higher: true}
	p50        = result.Metric{Name: "p50", Unit: "us"}
	p99        = result.Metric{Name: "p99", Unit: "us"}
	p999       = result.Metric{Name: "p999", Unit: "us"}
	machineCPU = result.Metric{Name: "machine_cpu", Unit: "%"}
	errorCount = result.Metric{Name: "errors", Unit: "errors"}
)

// carries is a skip for n connections at a time.
func carries(n int) func(string) bool {
	return func(name string) bool { return name == direct || name == "relay" && n > relayConns }
}

// costs are the metrics of a workload whose headline is processor time.
func costs(unit string) []result.Metric {
	return []result.Metric{{Name: "cpu", Unit: unit}, rate, p50, p99, p999, machineCPU, errorCount}
}
