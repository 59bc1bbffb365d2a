package config

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"culvert/balancer"
	"culvert/cmd/internal/resolve"
	"culvert/l4"
	"culvert/l4/socket"
)

// Resolver finds what names stand for. Its methods may be called from several
// goroutines at once.
type Resolver interface {
	Addrs(ctx context.Context, host string) ([]netip.Addr, error)
	Services(ctx context.Context, name string) ([]resolve.Service, error)
}

// mostLookups is how many hosts are resolved at a time.
const mostLookups = 16

// Build resolves the host names among the servers' addresses, once, and makes
// what an engine runs. A host with several addresses becomes several servers,
// each with the weight and limits of the entry, and each known by its ip:port.
// A server with a configured name must have a single address. Pools balanced
// by nginx-hash hash the host as written. Each call makes pools of its own.
// The error is of type [Errors].
func (f *File) Build(ctx context.Context, r Resolver) (*l4.Config, error) {
	b := builder{file: f, answers: lookUp(ctx, f.hosts(), r)}
	return b.build()
}

// Unresolved is Build as far as the file alone goes: a host name stands for
// one server, known by its address as written, and the pools have no Targets.
// An engine cannot run the result; it shows where connections would go.
func (f *File) Unresolved() (*l4.Config, error) {
	b := builder{file: f}
	return b.build()
}

// hosts returns the distinct names of the servers.
func (f *File) hosts() []endpoint {
	seen := map[string]bool{}
	var all []endpoint
	for _, p := range f.pools {
		for _, s := range p.servers {
			if e := s.endpoint; e.isHost() && !seen[e.key()] {
				seen[e.key()] = true
				all = append(all, e)
			}
		}
	}
	return all
}

// An answer is what resolving a name gave.
type answer struct {
	found []location
	err   error
}

// A location is one address that a name stands for, with what an SRV record says
// of it.
type location struct {
	addr   netip.Addr
	port   uint16 // 0: the one in the file
	weight int    // 0: the one in the file
	backup bool
}

func lookUp(ctx context.Context, names []endpoint, r Resolver) map[string]answer {
	found := make([]answer, len(names))
	slots := make(chan struct{}, mostLookups)
	var wait sync.WaitGroup
	for i, e := range names {
		slots <- struct{}{}
		wait.Go(func() {
			found[i].found, found[i].err = e.lookUp(ctx, r)
			<-slots
		})
	}
	wait.Wait()
	answers := make(map[string]answer, len(names))
	for i, e := range names {
		answers[e.key()] = found[i]
	}
	return answers
}

// lookUp returns the places of e in an order that does not depend on that of
// an answer, and neither does a server's place in a pool.
func (e endpoint) lookUp(ctx context.Context, r Resolver) ([]location, error) {
	if e.srv {
		return e.services(ctx, r)
	}
	addrs, err := r.Addrs(ctx, e.host)
	var all []location
	for _, a := range sorted(addrs) {
		all = append(all, location{addr: a})
	}
	return all, err
}

func sorted(addrs []netip.Addr) []netip.Addr {
	all := make([]netip.Addr, len(addrs))
	for i, a := range addrs {
		all[i] = a.Unmap()
	}
	slices.SortFunc(all, netip.Addr.Compare)
	return slices.Compact(all)
}

// services returns the places of an SRV name. Those of the lowest priority are
// primaries, the others backups (RFC 2782).
func (e endpoint) services(ctx context.Context, r Resolver) ([]location, error) {
	services, err := r.Services(ctx, e.host)
	if err != nil {
		return nil, err
	}
	services = slices.SortedFunc(slices.Values(services), byPriority)
	var all []location
	seen := map[netip.AddrPort]bool{}
	for _, s := range services {
		host := strings.TrimSuffix(s.Host, ".")
		addrs, err := r.Addrs(ctx, host)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", host, err)
		}
		for _, a := range sorted(addrs) {
			if to := netip.AddrPortFrom(a, s.Port); !seen[to] { // else two names of one server
				seen[to] = true
				all = append(all, location{a, s.Port, max(1, int(s.Weight)), s.Priority > services[0].Priority})
			}
		}
	}
	return all, nil
}

func byPriority(a, b resolve.Service) int {
	return cmp.Or(cmp.Compare(a.Priority, b.Priority), cmp.Compare(a.Host, b.Host), cmp.Compare(a.Port, b.Port), cmp.Compare(a.Weight, b.Weight))
}

// A builder makes one l4.Config.
type builder struct {
	file    *File
	answers map[string]answer // nil: host names stay as written
	pools   map[string]*l4.Pool
	errs    Errors
}

func (b *builder) errorAt(at place, format string, args ...any) {
	b.errs = append(b.errs, at.error(b.file.Path, format, args...))
}

func (b *builder) build() (*l4.Config, error) {
	b.pools = make(map[string]*l4.Pool, len(b.file.pools))
	for _, p := range b.file.pools {
		b.pools[p.name.text] = b.pool(p)
	}
	if err := b.errs.orNil(); err != nil {
		return nil, err
	}
	cfg := &l4.Config{Loops: b.file.loops, Limits: b.file.limits}
	for _, l := range b.file.listeners {
		cfg.Listeners = append(cfg.Listeners, b.listener(l))
	}
	if err := b.errs.orNil(); err != nil {
		return nil, err
	}
	return cfg, nil
}

func (b *builder) listener(l *listener) *l4.Listener {
	out := l.settings
	out.Plaintext = b.pools[l.plaintext.pool.text]
	if l.redirect > 0 {
		return &out
	}
	if l.pool.pool.set() {
		out.Pool = b.pools[l.pool.pool.text]
		return &out
	}
	var routes []*l4.Route
	for _, r := range l.routes {
		alpn := texts(r.alpn)
		for _, name := range r.names {
			route := b.route(r.target)
			if r.terminate != nil {
				route.Action = l4.Handle
			}
			route.ServerName, route.ALPN, route.SendProxy = name.text, alpn, r.proxy
			routes = append(routes, route)
		}
	}
	table, err := l4.NewTable(routes, b.route(l.fallback))
	if err != nil {
		b.errorAt(l.at, "%v", err)
	}
	out.Table = table
	return &out
}

func (b *builder) route(t target) *l4.Route {
	if t.pool.set() {
		return &l4.Route{Action: l4.Forward, Pool: b.pools[t.pool.text]}
	}
	return &l4.Route{Action: t.action}
}

func (b *builder) pool(p *pool) *l4.Pool {
	members := b.members(p)
	cfg := balancer.Config{Name: p.name.text, Policy: p.policy, IPv6Prefix: p.prefix, BoundedLoad: p.bound, SlowStart: p.slowStart, Panic: p.panic}
	out := p.settings
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
		b.errorAt(p.name.at, "%v", err)
	}
	return &out
}

// A member is a server with one address.
type member struct {
	config balancer.ServerConfig
	addr   socket.Addr // invalid while unresolved
}

// members returns the servers of p, which must differ in address and identity.
func (b *builder) members(p *pool) []member {
	var all []member
	seen := map[string]place{}
	for _, s := range p.servers {
		found, err := b.expand(p, s)
		if err != nil {
			b.errorAt(s.at, "%v", err)
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
func (b *builder) checkNew(seen map[string]place, s server, m member) {
	address := strings.ToLower(m.config.Address)
	if m.addr.IsValid() {
		address = m.addr.String()
	}
	keys := []string{address}
	if name := m.config.Name; name != "" && name != address { // both are identities
		keys = append(keys, name)
	}
	for _, key := range keys {
		if first, ok := seen[key]; ok {
			b.errorAt(s.at, "the server %s is in the pool already, on line %d", quote(key), first.line)
			return
		}
	}
	for _, key := range keys {
		seen[key] = s.at
	}
}

// expand returns s with each of its addresses.
func (b *builder) expand(p *pool, s server) ([]member, error) {
	if !s.endpoint.isHost() || b.answers == nil {
		return []member{{s.config, s.endpoint.addr}}, nil
	}
	a := b.answers[s.endpoint.key()]
	switch {
	case a.err != nil && b.file.namesOptional:
		return []member{s.absent()}, nil
	case a.err != nil:
		return nil, fmt.Errorf("resolve %s: %w", s.endpoint.host, a.err)
	case len(a.found) == 0:
		return nil, fmt.Errorf("resolve %s: it has no address", s.endpoint.host)
	case len(a.found) > 1 && s.config.Name != "":
		return nil, fmt.Errorf("the server %s has a name, but %s has %d addresses: list them, or remove the name", s.config.Name, s.endpoint.host, len(a.found))
	}
	var all []member
	for _, f := range a.found {
		at := s
		if f.weight > 0 {
			at.config.Weight, at.config.Backup = f.weight, f.backup
		}
		all = append(all, at.member(p.policy, socket.IP(netip.AddrPortFrom(f.addr, cmp.Or(f.port, s.endpoint.port)))))
	}
	return all, nil
}

// absent is a server whose name has no address yet: it is out of service until
// a later look.
func (s server) absent() member {
	s.config.Down = true
	return member{s.config, socket.IP(netip.AddrPortFrom(netip.IPv4Unspecified(), s.endpoint.port))}
}

// member returns s at one address that its host has. For nginx-hash the
// address stays as written: nginx hashes the host name, and takes turns among
// its addresses.
func (s server) member(policy balancer.Policy, addr socket.Addr) member {
	m := member{s.config, addr}
	if policy != balancer.NGINXHash {
		m.config.Address = addr.String()
	} else if m.config.Name == "" {
		m.config.Name = addr.String()
	}
	return m
}
