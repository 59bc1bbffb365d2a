package l4

import (
	"net/netip"
	"sync"
	"sync/atomic"

	"github.com/cespare/xxhash/v2"
)

// reserve takes a place for a connection in the engine and in the listener,
// exactly: no two loops can share the last one.
func (e *Engine) reserve(a *accepter) bool {
	if e.active.Add(1) > e.maxConns.Load() {
		e.active.Add(-1)
		return false
	}
	s, most := a.shared, int64(a.cfg.MaxConnections)
	if n := s.active.Add(1); most > 0 && n > most {
		s.active.Add(-1)
		e.active.Add(-1)
		return false
	}
	return true
}

func (e *Engine) unreserve(s *listenerState) {
	s.active.Add(-1)
	e.active.Add(-1)
}

// prefixLimit bounds how many connections wait for their hello per client
// prefix: an IPv4 address, or an IPv6 /64, which is what one customer gets
// (RFC 6177). Peers on a unix socket have no prefix and no limit. Connections
// whose hello arrives whole with the accept never come here. Safe for
// concurrent use.
type prefixLimit struct {
	max    atomic.Int32 // <= 0: no limit
	shards [64]struct {
		sync.Mutex
		count map[netip.Addr]int32
	}
}

func prefixOf(a netip.Addr) netip.Addr {
	if !a.Is6() {
		return a
	}
	p, err := a.WithZone("").Prefix(64)
	if err != nil {
		return a
	}
	return p.Addr()
}

// enter counts one more connection, or reports that there are too many.
func (p *prefixLimit) enter(a netip.Addr) bool {
	if !a.IsValid() {
		return true
	}
	key := prefixOf(a)
	s := &p.shards[shardOf(key)]
	s.Lock()
	defer s.Unlock()
	if most := p.max.Load(); most > 0 && s.count[key] >= most {
		return false
	}
	if s.count == nil {
		s.count = map[netip.Addr]int32{}
	}
	s.count[key]++
	return true
}

// leave is the reverse of a successful enter.
func (p *prefixLimit) leave(a netip.Addr) {
	if !a.IsValid() {
		return
	}
	key := prefixOf(a)
	s := &p.shards[shardOf(key)]
	s.Lock()
	defer s.Unlock()
	if s.count[key]--; s.count[key] <= 0 {
		delete(s.count, key)
	}
}

func shardOf(a netip.Addr) int {
	b := a.As16()
	return int(xxhash.Sum64(b[:]) % 64)
}
