package balancer

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/cespare/xxhash/v2"
)

// addressed returns n servers with weights 1 to 4 and addresses as they
// occur in practice.
func addressed(n int) []ServerConfig {
	servers := make([]ServerConfig, n)
	for i := range servers {
		servers[i] = ServerConfig{Address: fmt.Sprintf("10.0.%d.%d:443", i/250, i%250+1), Weight: i%4 + 1}
	}
	return servers
}

// clients returns n client addresses, half of them IPv6 in prefixes of their
// own.
func clients(n int) []netip.Addr {
	list := make([]netip.Addr, n)
	for i := range list {
		v4 := [4]byte{198, 18, byte(i >> 8), byte(i)}
		v6 := [16]byte{0: 0x20, 1: 0x01, 2: 0x0d, 3: 0xb8, 5: byte(i >> 16), 6: byte(i >> 8), 7: byte(i), 15: 1}
		if i%2 == 0 {
			v4[1] += byte(i >> 16)
			list[i] = netip.AddrFrom4(v4)
			continue
		}
		list[i] = netip.AddrFrom16(v6)
	}
	return list
}

func BenchmarkPick(b *testing.B) {
	from := clients(1024)
	for _, policy := range Policies() {
		for _, n := range []int{2, 16, 1000} {
			b.Run(fmt.Sprintf("%s/%d", policy, n), func(b *testing.B) {
				p, err := New(Config{Policy: policy, Servers: addressed(n)})
				if err != nil {
					b.Fatal(err)
				}
				b.ReportAllocs()
				i := 0
				for b.Loop() {
					var s Selection
					s.Client = from[i&1023]
					srv, err := p.Pick(&s, 0)
					if err != nil {
						b.Fatal(err)
					}
					srv.Release()
					i++
				}
			})
		}
	}
}

// BenchmarkPickByWeights is client-address with 16 servers of so many
// different weights.
func BenchmarkPickByWeights(b *testing.B) {
	from := clients(1024)
	for _, weights := range []int{1, 2, 4} {
		b.Run(fmt.Sprint(weights), func(b *testing.B) {
			servers := addressed(16)
			for i := range servers {
				servers[i].Weight = i%weights + 1
			}
			p := mustPool(b, Config{Servers: servers})
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				s := Selection{Client: from[i&1023]}
				srv, err := p.Pick(&s, 0)
				if err != nil {
					b.Fatal(err)
				}
				srv.Release()
				i++
			}
		})
	}
}

// BenchmarkHash compares hashing a key and 16 identities through the library
// with hashing them prepared.
func BenchmarkHash(b *testing.B) {
	servers := addressed(16)
	k := keyer{}.key(netip.MustParseAddr("192.0.2.1"))
	b.Run("library", func(b *testing.B) {
		addr := netip.MustParseAddr("192.0.2.1").As16()
		b.ReportAllocs()
		for b.Loop() {
			var sum uint64
			for i := range servers {
				var buf [64]byte
				n := copy(buf[:], addr[:])
				n += copy(buf[n:], servers[i].Address)
				sum ^= xxhash.Sum64(buf[:n])
			}
			sink = sum
		}
	})
	b.Run("prepared", func(b *testing.B) {
		suffixes := make([]suffix, len(servers))
		for i, s := range servers {
			suffixes[i] = newSuffix(s.Address)
		}
		b.ReportAllocs()
		for b.Loop() {
			var sum uint64
			var p prefix
			p.set(k, false)
			for i := range suffixes {
				sum ^= suffixes[i].sum(&p)
			}
			sink = sum
		}
	})
}

var sink uint64
