package balancer

import "net/netip"

// A Selection is the state of one connection's picks in one pool: the client,
// the servers it has tried, and the policy's position. The zero value with
// Client set is ready for use, as is a Selection after Reset. It must be used
// by one goroutine at a time. After a copy, only one of the two may be used
// for further picks.
type Selection struct {
	// Client is the client's address; it must not change between picks. The
	// zero Addr is a peer without an address, such as that of a unix socket.
	Client netip.Addr

	count   int32    // servers tried
	lone    int32    // the first tried server with an index above 63; 0 is none
	tried   uint64   // bit i: server i was tried, for the first 64
	further []uint64 // the same for the servers after those; allocated when the second of them is tried

	// The position of nginx-hash on its ring; see ring.pick.
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
