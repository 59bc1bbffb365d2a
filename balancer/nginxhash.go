package balancer

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"net/netip"
	"slices"
	"strings"
)

const (
	pointsPerWeight = 160

	// maxSteps is how many points a connection may pass over, in all its
	// tries together, before it falls back to round robin.
	maxSteps = 20

	// maxPoints bounds the ring's memory, 8 bytes a point: ten servers of
	// weight 10000 fit.
	maxPoints = 1 << 24
)

// ring is the consistent hash of nginx's "hash $remote_addr consistent" (see
// ngx_stream_upstream_hash_module.c): 160 points on a circle of 32-bit values
// for each unit of weight, computed from the server address as configured. A
// client maps to the first point at or after the CRC32 of its own address as
// text.
//
// It differs where nginx's behaviour is undefined or an artefact: when two
// addresses have an equal point, the first in the configuration gets it
// (nginx sorts with an unstable sort), and an IPv4-mapped client is treated
// as the IPv4 one (nginx hashes ::ffff:192.0.2.1 when its listener is
// dual-stack).
type ring struct {
	points []point
	owners [][]int32 // for each address, the slots of its members
}

// A point is a 32-bit position and, in the lower half, an index in owners.
type point uint64

func (p point) owner() uint32 { return uint32(p) }

// newRing places the members. Members that are down have points too, so that
// only their clients move.
func newRing(members []*Server) (*ring, error) {
	var weights int64
	for _, s := range members {
		weights += s.weight
	}
	if weights*pointsPerWeight > maxPoints {
		return nil, fmt.Errorf("%s: the weights add up to %d, at most %d fit the ring",
			NGINXHash, weights, maxPoints/pointsPerWeight)
	}
	r := &ring{points: make([]point, 0, weights*pointsPerWeight)}
	owners := make(map[string]int)
	for _, s := range members {
		i, known := owners[s.address]
		if !known {
			i = len(r.owners)
			owners[s.address] = i
			r.owners = append(r.owners, nil)
		}
		r.owners[i] = append(r.owners[i], int32(s.slot))
		r.place(s, uint32(i))
	}
	r.sort()
	return r, nil
}

// place adds s's points. Each point is the CRC32 of "host NUL port" followed
// by the previous point.
func (r *ring) place(s *Server, owner uint32) {
	host, port := splitAddress(s.address)
	base := crc32.ChecksumIEEE([]byte(host + "\x00" + port))
	var prev [4]byte
	for range s.weight * pointsPerWeight {
		h := crc32.Update(base, crc32.IEEETable, prev[:])
		r.points = append(r.points, point(h)<<32|point(owner))
		binary.LittleEndian.PutUint32(prev[:], h)
	}
}

// sort orders the points and removes all but the first of equal ones. As
// owners are numbered in configured order, comparing whole points keeps that
// order.
func (r *ring) sort() {
	slices.Sort(r.points)
	r.points = slices.CompactFunc(r.points, func(a, b point) bool { return a>>32 == b>>32 })
	r.points = slices.Clip(r.points)
}

// splitAddress splits an address as nginx does for hashing: the port is the
// text after the last colon if it consists of digits. The last group of a
// bare IPv6 address is therefore taken as a port. A unix socket has no port.
func splitAddress(a string) (host, port string) {
	if len(a) >= 5 && strings.EqualFold(a[:5], "unix:") {
		return a[5:], ""
	}
	host = strings.TrimRight(a, "0123456789")
	if before, ok := strings.CutSuffix(host, ":"); ok {
		return before, a[len(host):]
	}
	return a, ""
}

// pick is the nginx-hash policy. The Selection keeps the position on the ring
// and the number of points passed over from one pick to the next: a retry
// starts at the point of the server that just failed. After maxSteps points,
// and with a single server, the pick is by round robin.
func (r *ring) pick(a *attempt) *Server {
	if len(a.tier.members) < 2 {
		return pickNext(a)
	}
	sel := a.sel
	if !sel.begun {
		sel.point, sel.begun = r.find(sel.Client), true
	}
	for sel.steps <= maxSteps {
		if s := r.among(a, r.points[sel.point].owner()); s != nil {
			return s
		}
		sel.steps++
		if sel.point++; int(sel.point) == len(r.points) {
			sel.point = 0
		}
	}
	return pickNext(a)
}

// find returns the index of the point that the client maps to.
func (r *ring) find(client netip.Addr) uint32 {
	var text [64]byte
	h := checksum(appendRemoteAddr(text[:0], client))
	i, _ := slices.BinarySearchFunc(r.points, h, func(p point, h uint32) int {
		return cmp.Compare(uint32(p>>32), h)
	})
	return uint32(i % len(r.points))
}

// checksum is crc32.ChecksumIEEE without the heap allocation, which that
// function causes for its argument.
func checksum(b []byte) uint32 {
	h := ^uint32(0)
	for _, c := range b {
		h = crc32.IEEETable[byte(h)^c] ^ h>>8
	}
	return ^h
}

// among picks one of the members with owner's address, by round robin. Usually
// there is only one member; the rotation then needs no update.
func (r *ring) among(a *attempt, owner uint32) *Server {
	slots := r.owners[owner]
	if len(slots) > 1 {
		return pickNextOf(a, func(s *Server) bool {
			return slices.Contains(slots, int32(s.slot)) && a.allows(s)
		})
	}
	if s := a.tier.members[slots[0]]; a.allows(s) && a.take(s) {
		return s
	}
	return nil
}

// appendRemoteAddr appends nginx's $remote_addr of the client: see
// ngx_sock_ntop and ngx_inet6_ntop in ngx_inet.c. That is RFC 5952's form,
// but without a zone, and with most addresses under ::/96 ending in dotted
// decimals.
func appendRemoteAddr(b []byte, client netip.Addr) []byte {
	if !client.IsValid() {
		return append(b, "unix:"...)
	}
	client = client.Unmap()
	if client.Is4() {
		return client.AppendTo(b)
	}
	a := client.As16()
	if !endsDotted(a) {
		return client.WithZone("").AppendTo(b)
	}
	return netip.AddrFrom4([4]byte(a[12:])).AppendTo(append(b, "::"...))
}

// endsDotted is ngx_inet6_ntop's test for an embedded IPv4 address.
func endsDotted(a [16]byte) bool {
	if [12]byte(a[:12]) != [12]byte{} {
		return false
	}
	return a[12] != 0 || a[13] != 0 || a[14] != 0 && a[15] != 1
}
