package l4

// interner keeps one copy of each string that peers repeat: server names and
// ALPN lists. It forgets everything when it is full, so that peers that invent
// names cost an allocation each and no memory.
type interner map[string]string

const maxInterned = 4096

// maxInternedLen is the longest string worth keeping: that of a server name.
// An ALPN list can take most of a hello.
const maxInternedLen = 253

func (in interner) get(b []byte) string {
	if s, ok := in[string(b)]; ok {
		return s
	}
	if len(b) > maxInternedLen {
		return string(b)
	}
	if len(in) >= maxInterned {
		clear(in)
	}
	s := string(b)
	in[s] = s
	return s
}
