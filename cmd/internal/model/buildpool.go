package config

import (
	"cmp"
	"fmt"
	"net/netip"
	"net/url"
	"strings"
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

// A member is a server with one address.
type member struct {
	config balancer.ServerConfig
	addr   socket.Addr // invalid while unresolved
}

// members returns the servers of p, which must differ in address and identity.
// One whose address is wrong is left out: Check reports it.
func (b *builder) members(p *Pool) []member {
	var all []member
	seen := map[string]Position{}
	for _, s := range live(p.Servers) {
		e, err := parseServer(s.Address)
		if err != nil {
			continue
		}
		found, err := b.expand(p, s, e)
		if err != nil {
			b.errorAt(s.ValueAt("address"), "%v", err)
			continue
		}
		for _, m := range found {
			b.checkNew(seen, s, m)
		}
		all = append(all, found...)
	}
	return all
}

// checkNew reports a member whose address or name is among those seen, and
// adds it to them.
func (b *builder) checkNew(seen map[string]Position, s *Server, m member) {
	address := strings.ToLower(m.config.Address)
	if m.addr.IsValid() {
		address = m.addr.String()
	}
	keys := []string{address}
	if name := m.config.Name; name != "" && name != address { // both are identities
		keys = append(keys, name)
	}
	at := s.ValueAt("address")
	for _, key := range keys {
		if first, ok := seen[key]; ok {
			b.errorAt(at, "the server %s is in the pool already%s", Quote(key), onLine(",", first, at))
			return
		}
	}
	for _, key := range keys {
		seen[key] = at
	}
}

// expand returns s with each of its addresses.
func (b *builder) expand(p *Pool, s *Server, e endpoint) ([]member, error) {
	if !e.isHost() || b.answers == nil {
		return []member{{s.config(), e.addr}}, nil
	}
	a := b.answers[e.key()]
	switch {
	case a.err != nil && b.config.DNS.Optional:
		return []member{s.absent(e.port)}, nil
	case a.err != nil:
		return nil, fmt.Errorf("resolve %s: %w", e.host, a.err)
	case len(a.found) == 0:
		return nil, fmt.Errorf("resolve %s: it has no address", e.host)
	case len(a.found) > 1 && s.Name != "":
		return nil, fmt.Errorf("the server %s has a name, but %s has %d addresses: list them, or remove the name", s.Name, e.host, len(a.found))
	}
	var all []member
	for _, f := range a.found {
		cfg := s.config()
		if f.weight > 0 {
			cfg.Weight, cfg.Backup = f.weight, f.backup
		}
		all = append(all, at(cfg, p.Policy, socket.IP(netip.AddrPortFrom(f.addr, cmp.Or(f.port, e.port)))))
	}
	return all, nil
}

// config returns what the balancer needs, with the address as written.
func (s *Server) config() balancer.ServerConfig {
	return balancer.ServerConfig{
		Name: s.Name, Address: s.Address, Weight: s.Weight, Backup: s.Backup, Down: s.Down,
		MaxConns: s.MaxConns, MaxRate: s.MaxRate, MaxWait: s.MaxWait,
	}
}

// absent is a server whose name has no address yet: it is out of service until
// a later look.
func (s *Server) absent(port uint16) member {
	cfg := s.config()
	cfg.Down = true
	return member{cfg, socket.IP(netip.AddrPortFrom(netip.IPv4Unspecified(), port))}
}

// at returns a server at one address that its host has. For nginx-hash the
// address stays as written: nginx hashes the host name, and uses its addresses
// in turn.
func at(cfg balancer.ServerConfig, policy balancer.Policy, addr socket.Addr) member {
	if policy != balancer.NGINXHash {
		cfg.Address = addr.String()
	} else if cfg.Name == "" {
		cfg.Name = addr.String()
	}
	return member{cfg, addr}
}
