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

// A benchmark called reference is the baseline of those beside it: a fixed
// piece of work whose speed does not depend on the package. bench/check
// compares the others with it in the same run.

// BenchmarkPick's reference hashes the client's address with every server's,
// as plain rendezvous hashing would.
func BenchmarkPick(b *testing.B) {
	for _, n := range []int{3, 16, 1000} {
		servers := addressed(n)
		for _, policy := range Policies() {
			b.Run(fmt.Sprintf("%d/%s", n, policy), func(b *testing.B) {
				benchmarkPick(b, Config{Policy: policy, Servers: servers})
			})
		}
		b.Run(fmt.Sprintf("%d/reference", n), func(b *testing.B) { benchmarkLibrary(b, servers) })
	}
}

func benchmarkPick(b *testing.B, cfg Config) {
	from := clients(1024)
	p := mustPool(b, cfg)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		s := Selection{Client: from[i&1023]}
		srv, err := p.Pick(&s, 0)
		if err != nil {
			b.Fatal(err)
		}
		srv.Release()
	}
}

// BenchmarkPickByWeights is client-address with 16 servers of so many
// different weights.
func BenchmarkPickByWeights(b *testing.B) {
	servers := addressed(16)
	for _, weights := range []int{1, 2, 4} {
		b.Run(fmt.Sprint(weights), func(b *testing.B) {
			for i := range servers {
				servers[i].Weight = i%weights + 1
			}
			benchmarkPick(b, Config{Servers: servers})
		})
	}
	b.Run("reference", func(b *testing.B) { benchmarkLibrary(b, servers) })
}

// BenchmarkHash compares hashing a key and 16 identities prepared with
// hashing them through the library.
func BenchmarkHash(b *testing.B) {
	servers := addressed(16)
	k := keyer{}.key(netip.MustParseAddr("192.0.2.1"))
	b.Run("prepared", func(b *testing.B) {
		suffixes := make([]suffix, len(servers))
		for i, s := range servers {
			suffixes[i] = newSuffix(s.Address)
		}
		b.SetBytes(hashedBytes(servers))
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
	b.Run("reference", func(b *testing.B) { benchmarkLibrary(b, servers) })
}

// benchmarkLibrary hashes a client's address followed by each server's with
// the library.
func benchmarkLibrary(b *testing.B, servers []ServerConfig) {
	addr := netip.MustParseAddr("192.0.2.1").As16()
	b.SetBytes(hashedBytes(servers))
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
}

// hashedBytes returns how many bytes benchmarkLibrary hashes.
func hashedBytes(servers []ServerConfig) int64 {
	n := 0
	for _, s := range servers {
		n += len(netip.Addr{}.As16()) + len(s.Address)
	}
	return int64(n)
}

var sink uint64
