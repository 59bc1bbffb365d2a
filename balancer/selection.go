package balancer

import "net/netip"

// A Selection is one connection's way through one pool: who the client is,
// which servers it has tried, and where the policy stands. The zero value
// with Client set is ready, and so is one after Reset. It belongs to one
// goroutine at a time; a copy is independent until either is picked with
// again.
type Selection struct {
	// Client is the client's address; it must not change between picks. The
	// zero Addr stands for a peer without one, such as a unix socket's.
	Client netip.Addr

	count   int32    // servers tried
	lone    int32    // the first tried server with an index above 63; 0 is none
	tried   uint64   // bit i: server i was tried, for the first 64
	further []uint64 // the same for the servers after those, made for the second one

	// Where nginx-hash stands on its ring; see ring.pick.
	point uint32
	steps uint8
	begun bool
}

// Reset makes s ready for another connection or another pool.
func (s *Selection) Reset(client netip.Addr) { *s = Selection{Client: client} }

// Has reports whether srv was picked or excluded.
func (s *Selection) Has(srv *Server) bool { return s.has(srv.index) }

// has reports whether the server with index i was tried.
func (s *Selection) has(i int) bool {
	if i < 64 {
		return s.tried>>i&1 != 0
	}
	if s.further == nil {
		return int(s.lone) == i
	}
	return s.further[i/64-1]>>(i%64)&1 != 0
}

// mark records that the server with index i of n was tried. A connection
// seldom tries a second server, so the first one fits without allocating,
// whatever the pool's size.
func (s *Selection) mark(i, n int) {
	if s.has(i) {
		return
	}
	s.count++
	if i < 64 {
		s.tried |= 1 << i
		return
	}
	if s.lone == 0 {
		s.lone = int32(i)
		return
	}
	if s.further == nil {
		s.further = make([]uint64, (n-1)/64)
		s.further[s.lone/64-1] |= 1 << (s.lone % 64)
	}
	s.further[i/64-1] |= 1 << (i % 64)
}
