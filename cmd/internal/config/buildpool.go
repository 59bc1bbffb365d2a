package config

import (
	"cmp"
	"net/netip"
	"net/url"
	"time"

	"culvert/balancer"
	"culvert/health"
	"culvert/l4"
	"culvert/l4/socket"
)

// Defaults of pools.
const (
	// DefaultPanic is the share of servers in service below which all are used.
	DefaultPanic = 1.0 / 3

	// DefaultRetryBudget is the further attempts of a pool that ejects servers,
	// where few attempts fail, as a share of its connections.
	DefaultRetryBudget = 0.2

	// DefaultSessionPace is the time over which connections are closed, so
	// that their clients do not all come back at once.
	DefaultSessionPace = 30 * time.Second
)

// Defaults of ejections.
const (
	DefaultEjectionFailures = 3
	DefaultEjectionTime     = 10 * time.Second
	DefaultEjectionMaxTime  = 5 * time.Minute
	DefaultEjectionShare    = 0.5
)

func (b *builder) pool(p *Pool) *l4.Pool {
	members := b.members(p)
	cfg := balancer.Config{
		Name: p.Name, Policy: cmp.Or(p.Policy, balancer.ClientAddress), IPv6Prefix: p.IPv6Prefix, BoundedLoad: p.BoundedLoad,
		SlowStart: p.SlowStart, Panic: orOff(p.Panic, DefaultPanic),
	}
	out := &l4.Pool{
		ConnectTimeout: p.ConnectTimeout, FirstByteTimeout: p.FirstByteTimeout, FailoverTimeout: p.FailoverTimeout, Tries: p.Tries,
		Session: p.Session.limits(), TCP: p.TCP.Options(), Sources: p.sources(), Transparent: p.Transparent,
		RetryBudget: p.retryBudget(), SendProxy: p.SendProxy,
	}
	for _, m := range members {
		cfg.Servers = append(cfg.Servers, m.config)
		if b.answers != nil {
			out.Targets = append(out.Targets, socket.NewTarget(m.addr))
		}
	}
	if len(b.errs) > 0 {
		return nil
	}
	var err error
	if out.Balancer, err = balancer.New(cfg); err != nil {
		b.errorAt(p.Position, "%v", err)
	}
	return out
}

// orOff returns a value that is off when it is negative, which is 0 for the
// data plane, and the default when it is 0.
func orOff(v, byDefault float64) float64 { return max(0, cmp.Or(v, byDefault)) }

func (p *Pool) retryBudget() float64 {
	if p.ejection() == nil {
		return max(0, p.RetryBudget)
	}
	return orOff(p.RetryBudget, DefaultRetryBudget)
}

func (p *Pool) sources() []netip.Addr {
	var all []netip.Addr
	for _, a := range p.Sources {
		all = append(all, a.Unmap())
	}
	return all
}

// firstTime returns how long the first ejection lasts.
func (e *Ejection) firstTime() time.Duration { return cmp.Or(e.Time, DefaultEjectionTime) }

// ejection returns when servers are ejected; nil: never.
func (p *Pool) ejection() *health.Ejection {
	e := p.Ejection
	if e == nil {
		e = &Ejection{}
	}
	if e.Off {
		return nil
	}
	return &health.Ejection{
		Failures: cmp.Or(e.Failures, DefaultEjectionFailures), Window: e.Window, Time: e.firstTime(),
		MaxTime: cmp.Or(e.MaxTime, DefaultEjectionMaxTime), Share: cmp.Or(e.Share, DefaultEjectionShare),
	}
}

// Pace returns how fast connections are closed.
func (s *Sessions) Pace() l4.Pace {
	if s.Within == 0 && s.PerSecond > 0 {
		return l4.Pace{PerSecond: s.PerSecond}
	}
	return l4.Pace{Within: cmp.Or(s.Within, DefaultSessionPace)}
}

// builtPools returns the pools that connections can get to.
func (b *builder) builtPools(engine *l4.Config) []*BuiltPool {
	byName := map[string]*Pool{}
	for _, p := range live(b.config.Pools) {
		byName[p.Name] = p
	}
	var all []*BuiltPool
	for _, p := range engine.Pools() {
		from := byName[p.Balancer.Name()]
		out := &BuiltPool{Pool: p, Config: from, Ejection: from.ejection(), Probes: b.probes(from)}
		if from.SiteURL != "" {
			out.SiteURL = b.site(from)
		}
		all = append(all, out)
	}
	return all
}

func (b *builder) site(p *Pool) *url.URL {
	u, err := parseSite(p.SiteURL)
	if err != nil {
		b.errorAt(p.ValueAt("site_url"), "%v", err)
	}
	return u
}
