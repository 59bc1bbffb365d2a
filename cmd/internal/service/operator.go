package service

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"culvert/balancer"
	"culvert/cmd/internal/admin"
	"culvert/l4"
)

// operator does what the control socket is asked to do.
type operator struct{ *Service }

// Report implements admin.Operator.
func (o *operator) Report() *admin.Report { return o.Status() }

// List implements admin.Operator.
func (o *operator) List(f admin.Filter) ([]admin.ConnectionReport, error) {
	match, err := f.Match()
	if err != nil {
		return nil, err
	}
	if err := o.checkNames(f); err != nil {
		return nil, err
	}
	all := []admin.ConnectionReport{}
	for _, c := range o.engine.Connections(match) {
		all = append(all, admin.ConnectionReport{
			ID: c.ID, Client: clientText(c.Client), Listener: c.Listener, ServerName: c.ServerName, ALPN: c.ALPN, Route: c.Route,
			Pool: c.Pool, Server: c.Server, Start: c.Start, Idle: c.Idle.Seconds(), BytesUp: c.BytesUp, BytesDown: c.BytesDown,
		})
	}
	return all, nil
}

// clientText writes a client's address.
func clientText(a netip.AddrPort) string {
	if !a.IsValid() {
		return "unix"
	}
	return a.String()
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
	if err := o.checkNames(r.Filter); err != nil {
		return admin.Done{}, err
	}
	if pace == (l4.Pace{OldestFirst: pace.OldestFirst}) {
		n := o.engine.CloseConnections(context.Background(), match, pace)
		return admin.Done{Message: "closed", Connections: n}, nil
	}
	n := len(o.engine.Connections(match))
	go o.engine.CloseConnections(o.closer.base, match, pace)
	return admin.Done{Message: "closing", Connections: n}, nil
}

// checkNames refuses the names of what is neither in the file nor in any
// connection: servers and listeners that were removed live on in theirs.
func (o *operator) checkNames(f admin.Filter) error {
	var listeners, pools, servers []string
	r := o.Report()
	for _, l := range r.Listeners {
		listeners = append(listeners, l.Name)
	}
	for _, p := range r.Pools {
		pools = append(pools, p.Name)
		for _, s := range p.Servers {
			if f.Pool == "" || f.Pool == p.Name {
				servers = append(servers, s.Name)
			}
		}
	}
	for _, err := range []error{
		o.checkName("listener", f.Listener, listeners, func(c *l4.Connection) string { return c.Listener }),
		o.checkName("pool", f.Pool, pools, func(c *l4.Connection) string { return c.Pool }),
		o.checkName("server", f.Server, servers, func(c *l4.Connection) string { return c.Server }),
	} {
		if err != nil {
			return err
		}
	}
	return nil
}

func (o *operator) checkName(what, name string, known []string, of func(*l4.Connection) string) error {
	if name == "" || slices.Contains(known, name) {
		return nil
	}
	if some := o.engine.Connections(func(c *l4.Connection) bool { return of(c) == name }); len(some) > 0 {
		return nil
	}
	return unknown(what, name, known)
}

// unknown names some of those that are known.
func unknown(what, name string, known []string) error {
	return fmt.Errorf("no %s is called %q: there are %s", what, name, strings.Join(known[:min(len(known), 20)], ", "))
}

// Drain implements admin.Operator.
func (o *operator) Drain(r admin.DrainRequest) (admin.Done, error) {
	pace, err := r.L4()
	if err != nil {
		return admin.Done{}, err
	}
	done, changed, err := o.setDrained(r.Server, true)
	if err != nil {
		return done, err
	}
	done.Message = "draining"
	if !changed {
		done.Message = "was drained already"
	}
	if r.Close {
		done.Message += ", closing its connections"
		go o.closeServer(done.Pool, done.Server, "it is drained", pace)
	}
	return done, nil
}

// Undrain implements admin.Operator. What Drain is still closing stays open.
func (o *operator) Undrain(r admin.DrainRequest) (admin.Done, error) {
	done, changed, err := o.setDrained(r.Server, false)
	if err != nil {
		return done, err
	}
	out := o.whyOut(done.Pool, done.Server)
	switch {
	case changed && out == "":
		done.Message = "in service again"
	case changed:
		done.Message = "drained no more, but still " + out
	case out == "":
		done.Message = "was not drained, it is in service"
	default:
		done.Message = "was not drained; still " + out
	}
	return done, nil
}

// whyOut says why a server gets no new connections, "" if it does.
func (o *operator) whyOut(pool, server string) string {
	for _, p := range o.Report().Pools {
		for _, s := range p.Servers {
			switch {
			case p.Name != pool || s.Name != server || s.State == admin.StateOn || s.State == admin.StateBackup:
			case s.Check != "":
				return s.State + " (" + s.Check + ")"
			default:
				return s.State
			}
		}
	}
	return ""
}

// setDrained sets the state of a server, and of no other.
func (o *operator) setDrained(ref string, drained bool) (done admin.Done, changed bool, err error) {
	o.changing.Lock() // a reload would bring another set of servers
	defer o.changing.Unlock()
	if err := o.mayChange(); err != nil {
		return done, false, err
	}
	s, err := findServer(o.now.Engine, ref)
	if err != nil {
		return done, false, err
	}
	done = admin.Done{Pool: s.Pool().Name(), Server: s.Name(), Connections: int(s.Active())}
	if changed = s.Set(balancer.Drained, drained, o.clock()); changed {
		o.events.drained(s, drained)
	}
	if drained && !s.Pool().Usable() {
		done.Warning = fmt.Sprintf("no server of the pool %s is left for new connections", done.Pool)
	}
	if !drained {
		o.closer.end(fullName(done.Pool, done.Server))
		o.serverBack(s)
	}
	return done, changed, nil
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
		return nil, unknown("server", ref, names)
	}
	names = nil
	for _, s := range found {
		names = append(names, fullName(s.Pool().Name(), s.Name()))
	}
	return nil, fmt.Errorf("%q is in several pools, say which one: %s", ref, strings.Join(names, " or "))
}

// Reload implements admin.Operator.
func (o *operator) Reload() error {
	if err := o.Service.Reload(); err != nil {
		return admin.Logged{Err: err}
	}
	return nil
}

// Upgrade implements admin.Operator.
func (o *operator) Upgrade() error {
	err := o.Service.Upgrade()
	if err != nil && !errors.Is(err, ErrReplaced) {
		return admin.Logged{Err: err}
	}
	return err
}
