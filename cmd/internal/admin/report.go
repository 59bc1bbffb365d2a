package admin

import "culvert/l4"

// Report returns the data of the status page, for programs.
func (src *Source) Report() *Report {
	page := &statusPage{src: *src}
	stats := src.Stats()
	r := &Report{
		Version: src.Version, Limit: stats.MaxConnections, Buffered: stats.BufferedBytes,
		Draining: src.Draining != nil && src.Draining(),
	}
	for _, l := range stats.Listeners {
		row := rowOf(l)
		r.Listeners = append(r.Listeners, ListenerReport{Name: l.Name, Accepted: l.Accepted, Active: l.Active, Rejected: row.Rejected})
	}
	for _, p := range poolsOf(stats.Servers, page.known()) {
		pool := PoolReport{Name: p.Name, Panics: p.Panics}
		for _, s := range p.Servers {
			pool.Servers = append(pool.Servers, s.report())
		}
		r.Pools = append(r.Pools, pool)
	}
	return r
}

func (r serverRow) report() ServerReport {
	failures := map[string]uint64{}
	for why, n := range r.Failures {
		failures[string(why)] = n
	}
	return ServerReport{
		Name: r.Server.Name(), Address: r.Server.Address(), State: r.State(), Check: r.Check(),
		Active: r.Active, Connections: r.Connections, BytesUp: r.BytesUp, BytesDown: r.BytesDown,
		Failures: failures, Failovers: r.Failovers,
	}
}

// rowOf adds up what a listener rejected.
func rowOf(l l4.ListenerStats) listenerRow {
	row := listenerRow{ListenerStats: l}
	for how, n := range l.Ended {
		if !how.Reason.Relayed() {
			row.Rejected += n
		}
	}
	return row
}
