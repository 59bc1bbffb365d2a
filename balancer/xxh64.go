package balancer

import (
	"encoding/binary"
	"math/bits"
)

// The primes of XXH64, from the xxHash specification (doc/xxhash_spec.md of
// github.com/Cyan4973/xxHash).
const (
	prime1 uint64 = 0x9E3779B185EBCA87
	prime2 uint64 = 0xC2B2AE3D27D4EB4F
	prime3 uint64 = 0x165667B19E3779F9
	prime4 uint64 = 0x85EBCA77C2B2AE63
	prime5 uint64 = 0x27D4EB2F165667C5
)

// A prefix is a key after the steps of XXH64 that do not depend on what
// follows it. It is computed once per pick.
type prefix struct {
	words key // for inputs under 32 bytes, where the key is two words of the tail
	long  longPrefix
}

// A longPrefix is the same for inputs of 32 bytes or more, in which the key is
// lanes 1 and 2 of the first stripe.
type longPrefix struct {
	lanes key    // after that stripe
	merge key    // the lanes after the rounding that merging applies
	sum   uint64 // the lanes' part of the state before merging
}

// set prepares k. The part for long inputs is set only if there are any.
func (p *prefix) set(k key, some longInputs) {
	p.words = key{round(0, k.first), round(0, k.second)}
	if some {
		p.long.set(key{round(laneStart1, k.first), round(laneStart2, k.second)})
	}
}

// longInputs is true if any input has 32 bytes or more.
type longInputs bool

func (l *longPrefix) set(lanes key) {
	l.lanes = lanes
	l.merge = key{round(0, lanes.first), round(0, lanes.second)}
	l.sum = bits.RotateLeft64(lanes.first, 1) + bits.RotateLeft64(lanes.second, 7)
}

// A suffix is a server's identity prepared for hashing after any key: its sum
// is XXH64 of the key's 16 bytes followed by the identity. It equals the
// library's result, as the tests check, and takes only the steps that depend
// on the key; BenchmarkHash shows what that saves.
type suffix struct {
	start uint64 // the part of the state before the tail that identity and length determine
	later []key  // lanes 1 and 2 of every stripe but the first
	merge key    // lanes 3 and 4 after the rounding that merging applies
	size  uint64 // of the whole input
	tail  tail
}

func newSuffix(identity string) suffix {
	b := []byte(identity)
	s := suffix{size: uint64(len(b)) + 16}
	if s.size < 32 {
		s.start = prime5 + s.size
		s.tail = newTail(b)
		return s
	}
	lane3, lane4 := round(laneStart3, word(b)), round(laneStart4, word(b[8:]))
	for b = b[16:]; len(b) >= 32; b = b[32:] {
		s.later = append(s.later, key{word(b), word(b[8:])})
		lane3, lane4 = round(lane3, word(b[16:])), round(lane4, word(b[24:]))
	}
	s.start = bits.RotateLeft64(lane3, 12) + bits.RotateLeft64(lane4, 18)
	s.merge = key{round(0, lane3), round(0, lane4)}
	s.tail = newTail(b)
	return s
}

// sum returns XXH64 of p's key followed by s's identity.
func (s *suffix) sum(p *prefix) uint64 { return s.tail.finish(s.begin(p)) }

// begin returns the state before the tail. For inputs under 32 bytes that
// depends on the key and the length only.
func (s *suffix) begin(p *prefix) uint64 {
	if s.size >= 32 {
		return s.beginLong(p)
	}
	return stepWord(stepWord(s.start, p.words.first), p.words.second)
}

func (s *suffix) beginLong(p *prefix) uint64 {
	l := &p.long
	if len(s.later) > 0 {
		l = new(longPrefix)
		l.set(s.run(p.long.lanes))
	}
	h := mergeLane(mergeLane(l.sum+s.start, l.merge.first), l.merge.second)
	return mergeLane(mergeLane(h, s.merge.first), s.merge.second) + s.size
}

// run returns lanes 1 and 2 after the stripes that follow the first.
func (s *suffix) run(lanes key) key {
	for _, w := range s.later {
		lanes = key{round(lanes.first, w.first), round(lanes.second, w.second)}
	}
	return lanes
}

// A tail is the end of the input, after the last full stripe. The part of each
// step that does not depend on the key is already computed.
type tail struct {
	words  [3]uint64
	bytes  [3]uint64
	half   uint64
	nWords uint8
	nBytes uint8
	nHalf  uint8
}

// newTail prepares b, which has at most 31 bytes.
func newTail(b []byte) tail {
	var t tail
	for ; len(b) >= 8; b = b[8:] {
		t.words[t.nWords] = round(0, word(b))
		t.nWords++
	}
	if len(b) >= 4 {
		t.half, t.nHalf = uint64(binary.LittleEndian.Uint32(b))*prime1, 1
		b = b[4:]
	}
	for _, c := range b {
		t.bytes[t.nBytes] = uint64(c) * prime5
		t.nBytes++
	}
	return t
}

// finish runs the tail's steps on h and mixes the result.
func (t *tail) finish(h uint64) uint64 {
	for i := range min(t.nWords, uint8(len(t.words))) {
		h = stepWord(h, t.words[i])
	}
	if t.nHalf != 0 {
		h = stepHalf(h, t.half)
	}
	for i := range min(t.nBytes, uint8(len(t.bytes))) {
		h = stepByte(h, t.bytes[i])
	}
	return avalanche(h)
}

// The initial values of the four lanes for seed 0: prime1+prime2, prime2, 0
// and -prime1, modulo 2^64.
const (
	laneStart1 = prime1 - (^prime2 + 1)
	laneStart2 = prime2
	laneStart3 = 0
	laneStart4 = ^prime1 + 1
)

func word(b []byte) uint64 { return binary.LittleEndian.Uint64(b) }

func round(lane, word uint64) uint64 {
	return bits.RotateLeft64(lane+word*prime2, 31) * prime1
}

func stepWord(h, rounded uint64) uint64 {
	return bits.RotateLeft64(h^rounded, 27)*prime1 + prime4
}

func stepHalf(h, multiplied uint64) uint64 {
	return bits.RotateLeft64(h^multiplied, 23)*prime2 + prime3
}

func stepByte(h, multiplied uint64) uint64 {
	return bits.RotateLeft64(h^multiplied, 11) * prime1
}

func mergeLane(h, rounded uint64) uint64 { return (h^rounded)*prime1 + prime4 }

func avalanche(h uint64) uint64 {
	h = (h ^ h>>33) * prime2
	h = (h ^ h>>29) * prime3
	return h ^ h>>32
}
