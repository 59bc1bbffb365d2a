package sniff

// ProtocolList is the list of protocols of an ALPN extension in wire format,
// without the length of the list (RFC 7301 section 3.1). The list of a Hello is
// well formed. The zero value is empty.
type ProtocolList []byte

// All is an iterator over the protocols in the client's order. They alias l.
func (l ProtocolList) All(yield func(proto []byte) bool) {
	r := reader{rest: l}
	for !r.empty() && yield(r.vec8()) {
	}
}

// First returns the first protocol, which aliases l; nil if l is empty.
func (l ProtocolList) First() []byte {
	for proto := range l.All {
		return proto
	}
	return nil
}

// OffersALPN reports whether proto is in l.
func (l ProtocolList) OffersALPN(proto string) bool {
	for p := range l.All {
		if string(p) == proto {
			return true
		}
	}
	return false
}
