package sniff

// reader reads big-endian numbers and length-prefixed vectors (RFC 8446
// section 3) from the front of a byte slice. Reading past the end sets bad and
// empties the reader; all further reads return zero values. A sequence of reads
// therefore needs only one check after it, and a loop until empty always ends.
type reader struct {
	rest []byte
	bad  bool
}

func (r *reader) empty() bool { return len(r.rest) == 0 }

// take returns the next n bytes, which alias the input.
func (r *reader) take(n int) []byte {
	if n > len(r.rest) {
		r.rest, r.bad = nil, true
		return nil
	}
	b := r.rest[:n:n]
	r.rest = r.rest[n:]
	return b
}

func (r *reader) u8() uint8 {
	if len(r.rest) < 1 {
		r.rest, r.bad = nil, true
		return 0
	}
	v := r.rest[0]
	r.rest = r.rest[1:]
	return v
}

func (r *reader) u16() uint16 {
	if len(r.rest) < 2 {
		r.rest, r.bad = nil, true
		return 0
	}
	v := uint16(r.rest[0])<<8 | uint16(r.rest[1])
	r.rest = r.rest[2:]
	return v
}

// vec8 returns a vector with a length of one byte.
func (r *reader) vec8() []byte { return r.take(int(r.u8())) }

// vec16 returns a vector with a length of two bytes.
func (r *reader) vec16() []byte { return r.take(int(r.u16())) }

// cutExtension splits b after its first extension (RFC 8446 section 4.2); ok is
// false if b does not contain a complete one. It is a function and not a method
// of reader, so that a loop over thousands of extensions keeps its state in
// registers (this takes a third less time in BenchmarkParse8000Extensions).
func cutExtension(b []byte) (typ uint16, body, rest []byte, ok bool) {
	if len(b) < 4 {
		return 0, nil, nil, false
	}
	typ = uint16(b[0])<<8 | uint16(b[1])
	n := int(b[2])<<8 | int(b[3])
	if b = b[4:]; n > len(b) {
		return 0, nil, nil, false
	}
	return typ, b[:n:n], b[n:], true
}

// only8 returns a vec8 that must be the rest of the input; otherwise it sets
// bad.
func (r *reader) only8() []byte { return r.end(r.vec8()) }

// only16 is only8 for a vec16.
func (r *reader) only16() []byte { return r.end(r.vec16()) }

func (r *reader) end(b []byte) []byte {
	r.bad = r.bad || !r.empty()
	return b
}
