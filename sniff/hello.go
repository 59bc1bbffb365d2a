package sniff

// Hello is the content of a ClientHello (RFC 8446 section 4.1.2). The caller
// owns it and may reuse it for any number of connections. Slices returned by
// its methods alias the bytes given to Parse or the Hello itself, unless the
// method returns a copy, and are valid until the next Parse into this Hello.
// The zero value is an empty hello.
type Hello struct {
	Length   int  // bytes of the input that the hello's records occupy
	Trailing bool // more bytes of the input follow those records

	LegacyVersion uint16 // the version field of the hello itself
	IPLiteral     bool   // the server name is an IP address; ServerName is empty
	EarlyData     bool   // early_data is offered: the bytes that follow must not be replayed
	PreSharedKey  bool   // pre_shared_key is offered: the client resumes a session
	ECH           bool   // encrypted_client_hello is present, real or GREASE: ServerName is the outer one

	hasServerName bool
	nameLen       uint8
	name          [maxNameLen]byte // normalised; the first nameLen bytes
	rawName       []byte

	// Lists in wire format, validated, without their length fields.
	cipherSuites []byte
	extensions   []byte
	alpn         ProtocolList
	versions     []byte
	signatures   []byte

	joined []byte // buffer for joining a hello in several records; reused by the next Parse
}

// ServerName returns the requested name, normalised by AppendName. It is empty
// if the client sent no name or an IP address.
func (h *Hello) ServerName() []byte { return h.name[:h.nameLen] }

// RawName returns the name as sent by the client, including IP addresses. It is
// for logs and must be quoted there. It is also set after ErrBadName, if the
// hello has a name.
func (h *Hello) RawName() []byte { return h.rawName }

// ECHState returns "outer" if the hello has an encrypted_client_hello
// extension and "none" if not. A GREASE extension looks like a real one by
// design, so it also counts as outer.
func (h *Hello) ECHState() string {
	if h.ECH {
		return "outer"
	}
	return "none"
}

// Offer returns the ALPN list. It aliases the input; to keep it, clone it.
func (h *Hello) Offer() ProtocolList { return h.alpn }

// OffersALPN reports whether proto is in the client's ALPN list (RFC 7301).
func (h *Hello) OffersALPN(proto string) bool { return h.alpn.OffersALPN(proto) }

// Protocols is an iterator over the ALPN list in the client's order:
//
//	for proto := range h.Protocols
func (h *Hello) Protocols(yield func(proto []byte) bool) { h.alpn.All(yield) }

// ALPN returns a copy of the ALPN list; it is nil if there is none.
func (h *Hello) ALPN() []string {
	var protos []string
	for p := range h.Protocols {
		protos = append(protos, string(p))
	}
	return protos
}

// Versions returns a copy of the supported_versions list, GREASE included, in
// the client's order; it is nil if the extension is absent.
func (h *Hello) Versions() []uint16 { return uint16s(h.versions) }

// CipherSuites returns a copy of the list of cipher suites, GREASE included,
// in the client's order.
func (h *Hello) CipherSuites() []uint16 { return uint16s(h.cipherSuites) }

func uint16s(list []byte) []uint16 {
	if len(list) == 0 {
		return nil
	}
	values := make([]uint16, 0, len(list)/2)
	for r := (reader{rest: list}); !r.empty(); {
		values = append(values, r.u16())
	}
	return values
}

// parse fills h from the body of a ClientHello message.
func (h *Hello) parse(body []byte) error {
	*h = Hello{joined: h.joined}
	r := reader{rest: body}
	h.LegacyVersion = r.u16()
	r.take(32) // random
	session := r.vec8()
	h.cipherSuites = r.vec16()
	compression := r.vec8()
	switch {
	case r.bad, len(session) > 32, len(compression) == 0, !pairs(h.cipherSuites):
		return ErrMalformed
	case r.empty(): // no extensions: RFC 5246 section 7.4.1.2
		return nil
	}
	h.extensions = r.only16()
	if r.bad {
		return ErrMalformed
	}
	return h.parseExtensions()
}

// pairs reports whether list holds one or more 16-bit values.
func pairs(list []byte) bool { return len(list) > 0 && len(list)%2 == 0 }
