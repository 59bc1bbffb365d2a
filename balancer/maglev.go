package balancer

import (
	"container/heap"
	"math/big"

	"github.com/cespare/xxhash/v2"
)

// The table's size: a prime, and at least a hundred entries for each member
// so that shares differ by about a percent (section 3.4 of the paper).
const (
	maglevSize      = 65537
	maglevPerMember = 100
)

// maxRedraws is how many entries a pick looks at before it compares all
// members. With half of a pool out of service, one pick in 2^64 reaches it.
const maxRedraws = 64

// maglev is the lookup table of Eisenbud et al., NSDI 2016, section 3.4.
type maglev struct {
	table  []uint16 // slots of members
	hashes []uint64 // of the identities, by slot
}

func newMaglev(members []*Server) *maglev {
	m := &maglev{table: make([]uint16, tableSize(len(members))), hashes: make([]uint64, len(members))}
	for _, s := range members {
		m.hashes[s.slot] = xxhash.Sum64String(s.name)
	}
	m.populate(byIdentity(members))
	return m
}

// tableSize returns the smallest prime that is large enough for n members.
func tableSize(n int) int {
	size := max(maglevSize, n*maglevPerMember)
	for !big.NewInt(int64(size)).ProbablyPrime(0) { // Exact below 2^64.
		size++
	}
	return size
}

// populate fills the table: in the order of the heap, each member claims the
// next unclaimed entry of its permutation until all entries are claimed.
// Members are sorted by identity, which makes the table independent of the
// configured order.
func (m *maglev) populate(sorted []*Server) {
	queue := make(claims, len(sorted))
	for i, s := range sorted {
		queue[i] = newClaim(s, m.hashes[s.slot], uint64(len(m.table)), i)
	}
	heap.Init(&queue)
	claimed := make([]bool, len(m.table))
	for range m.table {
		c := &queue[0]
		entry := c.next(claimed)
		m.table[entry], claimed[entry] = uint16(c.slot), true
		heap.Fix(&queue, 0)
	}
}

// pick is the maglev policy. The client's hash selects an entry. While the
// entry's member is not available, the hash mixed with the number of entries
// seen selects another. Such entries are spread over the whole table, so the
// clients of a lost member go to the others by weight. If maxRedraws entries
// give no available member, the pick is by rendezvous hashing among the
// available members, without their weights.
func (m *maglev) pick(a *attempt) *Server {
	k := a.tier.plan.keys.key(a.sel.Client)
	h := hashKey(k)
	for {
		s := m.find(a, h)
		if s == nil || a.take(s) {
			return s
		}
	}
}

func (m *maglev) find(a *attempt, h uint64) *Server {
	entry := h
	for n := range uint64(maxRedraws) {
		s := a.tier.members[m.table[entry%uint64(len(m.table))]]
		if a.allows(s) {
			return s
		}
		entry = mix(h, n+1)
	}
	return m.rendezvous(a, h)
}

// rendezvous returns the available member whose identity hash gives the
// highest value when mixed with the client's hash.
func (m *maglev) rendezvous(a *attempt, h uint64) *Server {
	var best *Server
	var highest uint64
	for _, s := range a.tier.members {
		if !a.allows(s) {
			continue
		}
		v := mix(h, m.hashes[s.slot])
		if best == nil || v > highest || v == highest && s.name < best.name {
			best, highest = s, v
		}
	}
	return best
}

// hashKey is XXH64 of the key's 16 bytes.
func hashKey(k key) uint64 {
	h := prime5 + 16
	h = stepWord(h, round(0, k.first))
	return avalanche(stepWord(h, round(0, k.second)))
}

// mix derives another hash from h: XXH64's step for one word, then its
// avalanche.
func mix(h, word uint64) uint64 { return avalanche(stepWord(h, round(0, word))) }

// A claim is a member's position in its permutation of the table's entries:
// offset, offset+skip, offset+2*skip, ...
type claim struct {
	slot   int
	order  int    // position by identity
	entry  uint64 // next in the permutation
	skip   uint64
	size   uint64
	weight uint64
	taken  uint64 // entries claimed so far
}

func newClaim(s *Server, hash, size uint64, order int) claim {
	return claim{
		slot: s.slot, order: order, size: size, weight: uint64(s.weight),
		entry: hash % size,
		skip:  mix(hash, 0)%(size-1) + 1,
	}
}

// next claims and returns the permutation's next unclaimed entry.
func (c *claim) next(claimed []bool) uint64 {
	for {
		entry := c.entry
		if c.entry += c.skip; c.entry >= c.size {
			c.entry -= c.size
		}
		if !claimed[entry] {
			c.taken++
			return entry
		}
	}
}

// claims is a heap with the member that claims next on top: a member of weight
// w makes its n-th claim at time n/w; at equal times the identity decides.
type claims []claim

func (q claims) Len() int      { return len(q) }
func (q claims) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q claims) Less(i, j int) bool {
	a, b := (q[i].taken+1)*q[j].weight, (q[j].taken+1)*q[i].weight
	return a < b || a == b && q[i].order < q[j].order
}

// Push and Pop complete heap.Interface; the queue's length never changes.
func (q claims) Push(any) { panic("balancer: claims do not grow") }
func (q claims) Pop() any { panic("balancer: claims do not shrink") }
