package sniff

// Extension types (IANA, TLS ExtensionType Values).
const (
	extServerName          = 0
	extSignatureAlgorithms = 13
	extALPN                = 16
	extPreSharedKey        = 41
	extEarlyData           = 42
	extSupportedVersions   = 43
	extECH                 = 0xfe0d
)

// parseExtensions reads the extension block.
func (h *Hello) parseExtensions() error {
	var seen typeSet
	for rest := h.extensions; len(rest) > 0; {
		typ, body, after, ok := cutExtension(rest)
		rest = after
		switch {
		case !ok:
			return ErrMalformed
		case !seen.add(typ):
			return ErrDuplicateExtension
		case typ == extPreSharedKey && len(rest) > 0:
			return ErrPSKNotLast
		}
		if err := h.parseExtension(typ, body); err != nil {
			return err
		}
	}
	if seen.overflow && hasDuplicates(h.extensions) {
		return ErrDuplicateExtension
	}
	return nil
}

// parseExtension stores the content of one extension, and ignores types that
// are not used.
func (h *Hello) parseExtension(typ uint16, body []byte) error {
	r := reader{rest: body}
	ok := true
	switch typ {
	case extServerName:
		return h.parseServerName(&r)
	case extALPN:
		h.alpn = r.only16()
		ok = wellFormedALPN(h.alpn)
	case extSupportedVersions:
		h.versions = r.only8()
		ok = pairs(h.versions)
	case extSignatureAlgorithms:
		h.signatures = r.only16()
		ok = pairs(h.signatures)
	case extEarlyData:
		h.EarlyData = true
		ok = len(body) == 0
	case extPreSharedKey:
		h.PreSharedKey = true
	case extECH:
		h.ECH = true
	default:
		return nil
	}
	if r.bad || !ok {
		return ErrMalformed
	}
	return nil
}

// wellFormedALPN reports whether list is one or more names, none of them empty
// (RFC 7301 section 3.1).
func wellFormedALPN(list []byte) bool {
	r := reader{rest: list}
	for {
		if name := r.vec8(); r.bad || len(name) == 0 {
			return false
		}
		if r.empty() {
			return true
		}
	}
}

// parseServerName reads the server_name extension (RFC 6066 section 3). The
// list may contain names of types other than host_name, but no other type was
// ever defined, and of several names two implementations could use different
// ones.
func (h *Hello) parseServerName(r *reader) error {
	h.hasServerName = true
	list := reader{rest: r.only16()}
	if r.bad {
		return ErrMalformed
	}
	typ, name := list.u8(), list.vec16()
	more := !list.empty()
	for !list.empty() {
		list.u8()
		list.vec16()
	}
	const hostName = 0
	switch {
	case list.bad:
		return ErrMalformed
	case more:
		return ErrTwoNames
	case typ != hostName:
		return ErrBadName
	}
	return h.setName(name)
}

func (h *Hello) setName(name []byte) error {
	h.rawName = name
	if IsIPLiteral(name) {
		h.IPLiteral = true
		return nil
	}
	normal, err := AppendName(h.name[:0], name)
	h.nameLen = uint8(len(normal))
	return err
}

// typeSet is a set of extension types, optimised for typical hellos: types below
// 64 are in a word, and a few others (GREASE, private use, recent ones) in a
// list.
type typeSet struct {
	low      uint64
	high     [32]uint16
	n        int
	overflow bool // high is full: hasDuplicates must check
}

// add adds typ and reports whether it was not in the set. After an overflow it
// returns true for every type of 64 or more.
func (s *typeSet) add(typ uint16) bool {
	if typ < 64 {
		bit := uint64(1) << typ
		isNew := s.low&bit == 0
		s.low |= bit
		return isNew
	}
	if s.overflow {
		return true
	}
	for _, t := range s.high[:s.n] {
		if t == typ {
			return false
		}
	}
	if s.n == len(s.high) {
		s.overflow = true
		return true
	}
	s.high[s.n] = typ
	s.n++
	return true
}

// hasDuplicates checks for duplicates with one bit for every type. It is for
// hostile hellos, which can have 8,000 empty extensions in 32 KiB. Its 8 KiB are
// on the stack; typical hellos avoid the cost of clearing them.
func hasDuplicates(extensions []byte) bool {
	var seen [1 << 16 / 64]uint64
	for rest := extensions; len(rest) > 0; {
		typ, _, after, _ := cutExtension(rest)
		rest = after
		word, bit := &seen[typ/64], uint64(1)<<(typ%64)
		if *word&bit != 0 {
			return true
		}
		*word |= bit
	}
	return false
}
