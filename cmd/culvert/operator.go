package main

import (
	"context"
	"fmt"
	"os"
	"strings"

	"culvert/balancer"
	"culvert/cmd/internal/admin"
	"culvert/l4"
)

// operator does what the control socket is asked to do.
type operator struct{ *service }

// Report implements admin.Operator.
func (o *operator) Report() *admin.Report {
	src := o.source()
	r := src.Report()
	r.PID, r.Started, r.Connections = os.Getpid(), o.started, o.engine.Active()
	return r
}

// List implements admin.Operator.
func (o *operator) List(f admin.Filter) ([]admin.ConnectionReport, error) {
	match, err := f.Match()
	if err != nil {
		return nil, err
	}
	all := []admin.ConnectionReport{}
	for _, c := range o.engine.Connections(match) {
		all = append(all, admin.ConnectionReport{
			ID: c.ID, Client: addressText(c.Client), Listener: c.Listener, ServerName: c.ServerName, ALPN: c.ALPN, Route: c.Route,
			Pool: c.Pool, Server: c.Server, Start: c.Start, Idle: c.Idle.Seconds(), BytesUp: c.BytesUp, BytesDown: c.BytesDown,
		})
	}
	return all, nil
}

// Close implements admin.Operator. At a pace it goes on after it has returned.
func (o *operator) Close(r admin.CloseRequest) (admin.Done, error) {
	match, err := r.Match()
	if err != nil {
		return admin.Done{}, err
	}
	pace, err := r.L4()
	if err != nil {
		return admin.Done{}, err
	}
	if pace == (l4.Pace{OldestFirst: pace.OldestFirst}) {
		n := o.engine.CloseConnections(context.Background(), match, pace)
		return admin.Done{Message: "closed", Connections: n}, nil
	}
	n := len(o.engine.Connections(match))
	go o.engine.CloseConnections(context.Background(), match, pace)
	return admin.Done{Message: "closing", Connections: n}, nil
}

// Drain implements admin.Operator.
func (o *operator) Drain(r admin.DrainRequest) (admin.Done, error) {
	pace, err := r.L4()
	if err != nil {
		return admin.Done{}, err
	}
	done, err := o.setDrained(r.Server, true)
	if err != nil {
		return done, err
	}
	done.Message = "draining"
	if r.Close {
		done.Message = "draining, closing its connections"
		go o.closeServer(done.Pool, done.Server, "it is drained", pace)
	}
	return done, nil
}

// Undrain implements admin.Operator. What Drain is still closing stays open.
func (o *operator) Undrain(r admin.DrainRequest) (admin.Done, error) {
	done, err := o.setDrained(r.Server, false)
	done.Message = "in service again"
	return done, err
}

// setDrained sets the state of a server, and of no other.
func (o *operator) setDrained(ref string, drained bool) (admin.Done, error) {
	o.changing.Lock() // a reload would bring another set of servers
	defer o.changing.Unlock()
	if err := o.mayChange(); err != nil {
		return admin.Done{}, err
	}
	s, err := findServer(o.cfg, ref)
	if err != nil {
		return admin.Done{}, err
	}
	done := admin.Done{Pool: s.Pool().Name(), Server: s.Name(), Connections: int(s.Active())}
	if s.Set(balancer.Drained, drained, o.clock()) {
		o.events.drained(s, drained)
	}
	if !drained {
		o.closer.end(fullName(done.Pool, done.Server))
		o.serverBack(s)
	}
	return done, nil
}

// findServer returns the one server that ref can mean: pool/server, or a name
// or an address without the pool.
func findServer(cfg *l4.Config, ref string) (*balancer.Server, error) {
	var found []*balancer.Server
	var names []string
	for _, p := range cfg.Pools() {
		for _, s := range p.Balancer.Servers() {
			names = append(names, fullName(p.Balancer.Name(), s.Name()))
			if ref == fullName(p.Balancer.Name(), s.Name()) {
				return s, nil
			}
			if ref == s.Name() || ref == s.Address() {
				found = append(found, s)
			}
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return nil, fmt.Errorf("no server is called %q: there are %s", ref, strings.Join(names[:min(len(names), 20)], ", "))
	}
	names = nil
	for _, s := range found {
		names = append(names, fullName(s.Pool().Name(), s.Name()))
	}
	return nil, fmt.Errorf("%q is in several pools, say which one: %s", ref, strings.Join(names, " or "))
}

// Reload implements admin.Operator.
func (o *operator) Reload() error { return o.reload() }

// Upgrade implements admin.Operator.
func (o *operator) Upgrade() error { return o.upgrade() }
