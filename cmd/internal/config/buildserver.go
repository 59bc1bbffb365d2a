package config

import (
	"cmp"
	"fmt"
	"net/netip"
	"strings"

	"culvert/balancer"
	"culvert/l4/socket"
)

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
