package balancer

import (
	"encoding/binary"
	"fmt"
	"net/netip"
)

// A key is a client address in the form that the hashing policies use: 16
// bytes, read as two little-endian words because xxHash reads them so.
//
// IPv4 is the IPv4-mapped IPv6 form, so a client has one key whether it came
// over an IPv4 or a dual-stack socket. IPv6 is cut to a prefix, because the
// lower bits of one household or host change often. Without an address all
// bytes are zero.
//
// It is a struct and not an array because the compiler does not keep arrays
// in registers.
type key struct{ first, second uint64 }

// A keyer makes keys. mask has the bits of an IPv6 address that are used.
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

// key returns the client's key. It uses AsSlice, whose result the compiler
// keeps on the stack, and not As16: the result of As16 is written in halves
// and then copied whole, and that store-forwarding stall costs 5 ns.
func (k keyer) key(client netip.Addr) key {
	b := client.AsSlice()
	switch len(b) {
	case 0:
		return key{}
	case 4:
		return key{0, uint64(binary.LittleEndian.Uint32(b))<<32 | mapped}
	}
	w := key{word(b), word(b[8:])}
	if w.first == 0 && uint32(w.second) == mapped {
		return w
	}
	return key{w.first & k.mask.first, w.second & k.mask.second}
}

// mapped is the lower half of the second word of an IPv4-mapped address: the
// bytes 00 00 ff ff before the IPv4 address.
const mapped = 0xffff0000
