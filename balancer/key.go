package balancer

import (
	"fmt"
	"net/netip"
)

// A key is a client address as the hashing policies see it: 16 bytes, read as
// two little-endian words because that is how xxHash reads them.
//
// IPv4 is the IPv4-mapped IPv6 form, so a client has one key whether it came
// over an IPv4 or a dual-stack socket. IPv6 is cut to a prefix, because a
// household or a host changes its lower bits at will. Without an address all
// bytes are zero.
//
// It is a struct and not an array because the compiler keeps no array in
// registers.
type key struct{ first, second uint64 }

// A keyer makes keys; mask has the bits of IPv6 addresses that count.
type keyer struct{ mask key }

func newKeyer(prefix int) (keyer, error) {
	if prefix == 0 {
		prefix = 64
	}
	if prefix < 1 || prefix > 128 {
		return keyer{}, fmt.Errorf("IPv6 prefix %d: want 1 to 128", prefix)
	}
	var b [16]byte
	for i := range prefix {
		b[i/8] |= 0x80 >> (i % 8)
	}
	return keyer{mask: key{word(b[:8]), word(b[8:])}}, nil
}

func (k keyer) key(client netip.Addr) key {
	b := client.As16()
	w := key{word(b[:8]), word(b[8:])}
	if client.Is4() || client.Is4In6() {
		return w
	}
	return key{w.first & k.mask.first, w.second & k.mask.second}
}
