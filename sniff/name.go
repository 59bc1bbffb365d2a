package sniff

import "net/netip"

const (
	maxNameLen  = 253 // RFC 1035 section 2.3.4, less the length bytes at both ends
	maxLabelLen = 63  // RFC 1035 section 2.3.4
)

// AppendName appends the normal form of a host name to dst: ASCII letters in
// lower case, one trailing dot removed. Every name used in a routing decision
// is normalised by it, so that names are always compared in the same way: the
// name in a hello, a name in the configuration, the host of a request.
//
// A name is 1 to 253 bytes, without the trailing dot, of labels of 1 to 63
// letters, digits, hyphens and underscores, which RFC 952 forbids and real
// hosts use. Anything else is ErrBadName, and dst is returned unchanged. That
// includes wildcards, for which the caller removes "*." first, and
// internationalised names that are not in ASCII form: they are never converted
// if they come from a peer (CVE-2026-39821). AppendName accepts an IPv4 address
// as a name: see IsIPLiteral.
func AppendName[T string | []byte](dst []byte, name T) ([]byte, error) {
	n := len(name)
	if n > 0 && name[n-1] == '.' {
		n--
	}
	if n == 0 || n > maxNameLen {
		return dst, ErrBadName
	}
	normal, label := dst, 0
	for i := 0; i < n; i++ {
		c := nameBytes[name[i]]
		normal = append(normal, c)
		if c == '.' {
			if label == 0 {
				return dst, ErrBadName
			}
			label = 0
			continue
		}
		label++
		if c == 0 || label > maxLabelLen {
			return dst, ErrBadName
		}
	}
	if label == 0 {
		return dst, ErrBadName
	}
	return normal, nil
}

// nameBytes maps each byte that a name may hold to its normal form, and every
// other byte to 0.
var nameBytes = func() (table [256]byte) {
	for _, c := range "abcdefghijklmnopqrstuvwxyz" {
		table[c], table[c-'a'+'A'] = byte(c), byte(c)
	}
	for _, c := range "0123456789-_." {
		table[c] = byte(c)
	}
	return table
}()

// maxIPLen is the longest text accepted as an address: an IPv6 address with its
// last 32 bits in dotted form, a zone as long as an interface's name, and
// brackets.
const maxIPLen = 45 + 1 + 15 + 2

// IsIPLiteral reports whether name is an IPv4 address of four decimal numbers,
// or an IPv6 address with or without brackets and zone. Like AppendName it
// ignores one trailing dot.
//
// RFC 6066 section 3 forbids addresses as server names; clients send them.
func IsIPLiteral[T string | []byte](name T) bool {
	if len(name) < len("::") || len(name) > maxIPLen || !looksLikeIP(name) {
		return false
	}
	text := string(name)
	if text[len(text)-1] == '.' {
		text = text[:len(text)-1]
	}
	if text[0] == '[' && text[len(text)-1] == ']' {
		text = text[1 : len(text)-1]
	}
	_, err := netip.ParseAddr(text)
	return err == nil
}

// looksLikeIP is a quick check that avoids the conversion of most names to a
// string. An IPv6 address has a colon after at most "[ffff", an IPv4 address has
// no letters, and every byte must be valid in a name, an address or a zone.
func looksLikeIP[T string | []byte](name T) bool {
	colon, letter := false, false
	for i := 0; i < len(name); i++ {
		switch c := name[i]; {
		case c == ':':
			colon = true
		case c == '[', c == ']', c == '%':
		case nameBytes[c] == 0:
			return false
		case nameBytes[c] > '9':
			letter = true
		}
		if letter && !colon && i >= len("[ffff") {
			return false
		}
	}
	return colon || !letter
}
