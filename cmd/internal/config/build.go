package config

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"culvert/balancer"
	"culvert/l4"
	"culvert/l4/socket"
)

// Resolve finds the addresses of a host, as (*net.Resolver).LookupNetIP does
// for the network "ip". Several may be asked for at the same time.
type Resolve func(ctx context.Context, host string) ([]netip.Addr, error)

// mostLookups is how many hosts are resolved at a time.
const mostLookups = 16

// Build resolves the host names among the servers' addresses, once, and makes
// what an engine runs. A host with several addresses becomes several servers,
// each with the weight and limits of the entry, and each known by its ip:port.
// A server with a configured name must have a single address. Pools balanced
// by nginx-hash hash the host as written. Each call makes pools of its own.
// The error is of type [Errors].
func (f *File) Build(ctx context.Context, resolve Resolve) (*l4.Config, error) {
	b := builder{file: f, answers: lookUp(ctx, f.hosts(), resolve)}
	return b.build()
}

// Unresolved is Build as far as the file alone goes: a host name stands for
// one server, known by its address as written, and the pools have no Targets.
// An engine cannot run the result; it shows where connections would go.
func (f *File) Unresolved() (*l4.Config, error) {
	b := builder{file: f}
	return b.build()
}

// hosts returns the distinct hosts of the servers.
func (f *File) hosts() []string {
	var all []string
	for _, p := range f.pools {
		for _, s := range p.servers {
			if s.endpoint.isHost() {
				all = append(all, s.endpoint.host)
			}
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// An answer is what resolving a host gave.
type answer struct {
	addrs []netip.Addr // sorted, IPv4-mapped ones as IPv4
	err   error
}

func lookUp(ctx context.Context, hosts []string, resolve Resolve) map[string]answer {
	found := make([]answer, len(hosts))
	slots := make(chan struct{}, mostLookups)
	var wait sync.WaitGroup
	for i, host := range hosts {
		slots <- struct{}{}
		wait.Go(func() {
			found[i].addrs, found[i].err = resolve(ctx, host)
			<-slots
		})
	}
	wait.Wait()
	answers := make(map[string]answer, len(hosts))
	for i, host := range hosts {
		answers[host] = found[i].normal()
	}
	return answers
}

// normal sorts the addresses: a server's place in a pool must not depend on
// the order of an answer.
func (a answer) normal() answer {
	addrs := make([]netip.Addr, len(a.addrs))
	for i, addr := range a.addrs {
		addrs[i] = addr.Unmap()
	}
	slices.SortFunc(addrs, netip.Addr.Compare)
	return answer{slices.Compact(addrs), a.err}
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
	if l.pool.pool.set() {
		out.Pool = b.pools[l.pool.pool.text]
		return &out
	}
	var routes []*l4.Route
	for _, r := range l.routes {
		alpn := texts(r.alpn)
		for _, name := range r.names {
			route := b.route(r.target)
			route.ServerName, route.ALPN = name.text, alpn
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
	cfg := balancer.Config{Name: p.name.text, Policy: p.policy, IPv6Prefix: p.prefix, BoundedLoad: p.bound}
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
	a := b.answers[s.endpoint.host]
	switch {
	case a.err != nil:
		return nil, fmt.Errorf("resolve %s: %w", s.endpoint.host, a.err)
	case len(a.addrs) == 0:
		return nil, fmt.Errorf("resolve %s: it has no address", s.endpoint.host)
	case len(a.addrs) > 1 && s.config.Name != "":
		return nil, fmt.Errorf("the server %s has a name, but %s has %d addresses: list them, or remove the name", s.config.Name, s.endpoint.host, len(a.addrs))
	}
	var all []member
	for _, addr := range a.addrs {
		all = append(all, s.member(p.policy, socket.IP(netip.AddrPortFrom(addr, s.endpoint.port))))
	}
	return all, nil
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
