package balancer

import (
	"errors"
	"net/netip"
	"sync"
	"testing"
)

// Concurrent picks must fill every server exactly to its limit.
func TestMaxConnsIsExact(t *testing.T) {
	const loops, picks, limit = 16, 400, 100
	for _, policy := range Policies() {
		t.Run(string(policy), func(t *testing.T) {
			servers := named("a", "b", "c", "d", "e", "f")
			for i := range servers {
				servers[i].MaxConns = limit
				servers[i].Backup = i > 3
			}
			p := mustPool(t, Config{Policy: policy, Servers: servers})
			var wg sync.WaitGroup
			var got [loops]int
			for l := range loops {
				wg.Go(func() { got[l] = pickMany(t, p, l, picks, limit) })
			}
			wg.Wait()
			total := 0
			for _, n := range got {
				total += n
			}
			if total != limit*len(servers) {
				t.Errorf("%d picks succeeded, want %d", total, limit*len(servers))
			}
			for _, s := range p.Servers() {
				if s.Active() != limit {
					t.Errorf("%s has %d active, want %d", s.Name(), s.Active(), limit)
				}
			}
		})
	}
}

// pickMany picks for n connections of different clients and returns how many
// picks succeeded.
func pickMany(t *testing.T, p *Pool, loop, n int, limit int64) int {
	got := 0
	for i := range n {
		s := Selection{Client: netip.AddrFrom4([4]byte{10, byte(loop), byte(i >> 8), byte(i)})}
		srv, err := p.Pick(&s, 0)
		if err != nil {
			if !errors.Is(err, ErrAllFull) {
				t.Errorf("Pick: %v", err)
			}
			continue
		}
		got++
		if srv.Active() > limit {
			t.Errorf("%s has %d active, the limit is %d", srv.Name(), srv.Active(), limit)
		}
	}
	return got
}

// After all releases every count must be 0, even if servers go up and down
// meanwhile.
func TestPickAndReleaseConcurrently(t *testing.T) {
	for _, policy := range Policies() {
		t.Run(string(policy), func(t *testing.T) {
			cfg := Config{Policy: policy, Servers: addressed(8)}
			if policy.hashes() {
				cfg.BoundedLoad = 1.2
			}
			p := mustPool(t, cfg)
			var wg sync.WaitGroup
			for l := range 8 {
				wg.Go(func() {
					for i := range 500 {
						flap := p.Servers()[l]
						flap.Set(Configured, i%3 == 0, 0)
						s := Selection{Client: netip.AddrFrom4([4]byte{10, byte(l), byte(i >> 8), byte(i)})}
						for srv, err := p.Pick(&s, 0); err == nil; srv, err = p.Pick(&s, 0) {
							srv.Release()
						}
						p.Order(s.Client, 0)
					}
				})
			}
			wg.Wait()
			for _, s := range p.Servers() {
				if s.Active() != 0 {
					t.Errorf("%s has %d active at the end", s.Name(), s.Active())
				}
			}
		})
	}
}
