package balancer

import (
	"fmt"
	"net/netip"
	"testing"
)

// FuzzPick puts a pool into a random state and lets one connection try all
// servers it can: no server is picked twice, none that is down or full is
// picked, none is left out, and the order is what Order returned before.
func FuzzPick(f *testing.F) {
	f.Add(uint8(0), []byte{0, 1, 2, 3}, []byte{192, 0, 2, 1}, false)
	f.Add(uint8(2), []byte{0x10, 0x21, 0x42, 0x83, 0xff}, []byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}, true)
	f.Add(uint8(4), make([]byte, 70), []byte{}, true)
	f.Fuzz(func(t *testing.T, policy uint8, state, addr []byte, bounded bool) {
		if len(state) == 0 || len(state) > 300 {
			return
		}
		p := poolFrom(t, Policies()[int(policy)%len(Policies())], state, bounded)
		client, _ := netip.AddrFromSlice(addr)
		foretold, ok := p.Order(client, 0)
		seen := pickAll(t, p, client)
		if ok && fmt.Sprint(names(foretold)) != fmt.Sprint(names(seen)) {
			t.Errorf("Order = %v, the picks were %v", names(foretold), names(seen))
		}
		for _, s := range p.Servers() {
			if !s.Down() && s.Active() < s.maxConns && !contains(seen, s) {
				t.Errorf("%s was available and not picked", s.Name())
			}
		}
	})
}

// poolFrom makes a server from each byte: weight, down, backup, limit, load.
func poolFrom(t *testing.T, policy Policy, state []byte, bounded bool) *Pool {
	servers := make([]ServerConfig, len(state))
	for i, b := range state {
		servers[i] = ServerConfig{
			Address:  fmt.Sprintf("10.0.0.%d:443", i),
			Weight:   int(b&3) + 1,
			Down:     b&0x10 != 0,
			Backup:   i > 0 && b&0x20 != 0,
			MaxConns: int(b >> 6),
		}
	}
	cfg := Config{Policy: policy, Servers: servers}
	if bounded && policy.hashes() {
		cfg.BoundedLoad = 1.25
	}
	p := mustPool(t, cfg)
	for i, b := range state {
		for range b >> 2 & 3 {
			p.Servers()[i].Hold()
		}
	}
	return p
}

// pickAll picks until an error and releases every place at once.
func pickAll(t *testing.T, p *Pool, client netip.Addr) []*Server {
	s := Selection{Client: client}
	var seen []*Server
	for {
		srv, err := p.Pick(&s, 0)
		if err != nil {
			return seen
		}
		if contains(seen, srv) || srv.Down() || srv.Active() > srv.maxConns {
			t.Fatalf("picked %s again, or down, or full", srv.Name())
		}
		srv.Release()
		seen = append(seen, srv)
		if int(s.count) != len(seen) {
			t.Fatalf("count = %d after %d picks", int(s.count), len(seen))
		}
	}
}

func contains(list []*Server, s *Server) bool {
	for _, l := range list {
		if l == s {
			return true
		}
	}
	return false
}
