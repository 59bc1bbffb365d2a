package limit

import (
	"cmp"
	"net/netip"
	"sync"

	"github.com/cespare/xxhash/v2"
)

// Prefix says how many leading bits of an address make a client. The zero
// value is the default: a whole IPv4 address, and the /64 of an IPv6 address,
// which is what one customer gets at least (RFC 6177).
type Prefix struct {
	IPv4 int // 1 to 32; 0: 32
	IPv6 int // 1 to 128; 0: 64
}

// Of returns the first address of a's prefix. An IPv4-mapped address is the
// IPv4 one, and a zone is dropped. The zero Addr stays the zero Addr.
func (p Prefix) Of(a netip.Addr) netip.Addr {
	a = a.Unmap()
	bits := cmp.Or(p.IPv6, 64)
	if a.Is4() {
		if bits = cmp.Or(p.IPv4, 32); bits == 32 {
			return a
		}
	}
	net, err := a.Prefix(bits) // without the zone
	if err != nil {
		return a
	}
	return net.Addr()
}

// shards is how many locks a Prefixes has. With one for each of 64 parts of
// the prefixes, loops on all processors of a large machine seldom meet.
const shards = 64

// Prefixes holds a value for each client prefix. A prefix whose value is the
// zero T takes no memory. An address that is not valid counts as ::. The zero
// value is empty.
//
// A T that only time brings back to zero, such as the next slot of a rate,
// also needs a walk over what is held, from time to time; a count does not.
type Prefixes[T comparable] struct {
	Prefix Prefix // must not change after the first Update

	shards [shards]struct {
		sync.Mutex
		values map[[16]byte]T // without pointers: the garbage collector skips it
	}
}

// Update replaces the value of a's prefix by f of it. f is called once, under
// a lock of this Prefixes: it must be quick, and call no method of it.
func (p *Prefixes[T]) Update(a netip.Addr, f func(T) T) {
	key := p.Prefix.Of(a).As16()
	s := &p.shards[xxhash.Sum64(key[:])%shards]
	s.Lock()
	defer s.Unlock()
	var zero T
	was := s.values[key]
	switch now := f(was); {
	case now == was:
	case now == zero:
		delete(s.values, key)
	default:
		if s.values == nil {
			s.values = map[[16]byte]T{}
		}
		s.values[key] = now
	}
}
