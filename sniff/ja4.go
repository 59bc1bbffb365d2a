package sniff

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
)

const hexDigits = "0123456789abcdef"

// JA4 returns the hello's JA4 fingerprint, 36 characters that identify the
// client's software rather than the client. It is computed on each call.
//
// The rules are FoxIO's (technical_details/JA4.md of github.com/FoxIO-LLC/ja4):
// GREASE is ignored everywhere, including in signature algorithms, and a
// server_name extension counts as a domain whatever its content.
func (h *Hello) JA4() string {
	out := h.appendJA4a(make([]byte, 0, 36))
	list := h.appendJA4b(make([]byte, 0, 512))
	out = appendHash(append(out, '_'), list)
	list = h.appendJA4c(list[:0])
	out = appendHash(append(out, '_'), list)
	return string(out)
}

// JA4Raw returns the fingerprint with the lists instead of their hashes, the
// form called JA4_r. Its length is limited only by that of the hello.
func (h *Hello) JA4Raw() string {
	out := h.appendJA4a(make([]byte, 0, 512))
	out = h.appendJA4b(append(out, '_'))
	out = h.appendJA4c(append(out, '_'))
	return string(out)
}

// appendJA4a appends the readable part: protocol, version, name, counts, ALPN.
func (h *Hello) appendJA4a(dst []byte) []byte {
	dst = append(dst, 't') // over TCP
	dst = append(dst, versionCode(h.highestVersion())...)
	if h.hasServerName {
		dst = append(dst, 'd')
	} else {
		dst = append(dst, 'i')
	}
	dst = appendCount(dst, len(withoutGREASE(h.CipherSuites())))
	dst = appendCount(dst, len(withoutGREASE(h.extensionTypes())))
	return h.appendALPNCode(dst)
}

// appendJA4b appends the sorted cipher suites.
func (h *Hello) appendJA4b(dst []byte) []byte {
	suites := withoutGREASE(h.CipherSuites())
	slices.Sort(suites)
	return appendHexList(dst, suites)
}

// appendJA4c appends the sorted extensions, without those that depend on the
// destination, and then the signature algorithms in the client's order.
func (h *Hello) appendJA4c(dst []byte) []byte {
	types := slices.DeleteFunc(withoutGREASE(h.extensionTypes()), func(typ uint16) bool {
		return typ == extServerName || typ == extALPN
	})
	slices.Sort(types)
	dst = appendHexList(dst, types)
	if signatures := withoutGREASE(uint16s(h.signatures)); len(signatures) > 0 {
		dst = appendHexList(append(dst, '_'), signatures)
	}
	return dst
}

// highestVersion returns the highest of the supported versions, or the legacy
// version if none is listed.
func (h *Hello) highestVersion() uint16 {
	versions := withoutGREASE(h.Versions())
	if len(versions) == 0 {
		return h.LegacyVersion
	}
	return slices.Max(versions)
}

func versionCode(version uint16) string {
	switch version {
	case 0x0304:
		return "13"
	case 0x0303:
		return "12"
	case 0x0302:
		return "11"
	case 0x0301:
		return "10"
	case 0x0300:
		return "s3"
	case 0x0002:
		return "s2"
	}
	return "00"
}

// appendALPNCode appends the first and the last character of the first protocol,
// or of its hexadecimal form if one of them is not a letter or digit.
func (h *Hello) appendALPNCode(dst []byte) []byte {
	for first := range h.Protocols {
		a, z := first[0], first[len(first)-1]
		if alphanumeric(a) && alphanumeric(z) {
			return append(dst, a, z)
		}
		return append(dst, hexDigits[a>>4], hexDigits[z&15])
	}
	return append(dst, "00"...)
}

func alphanumeric(c byte) bool {
	return '0' <= c && c <= '9' || 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z'
}

// extensionTypes returns the types in the client's order.
func (h *Hello) extensionTypes() []uint16 {
	var types []uint16
	for rest := h.extensions; len(rest) > 0; {
		typ, _, after, _ := cutExtension(rest)
		types, rest = append(types, typ), after
	}
	return types
}

// withoutGREASE removes the reserved values of RFC 8701 from values, in place.
func withoutGREASE(values []uint16) []uint16 {
	return slices.DeleteFunc(values, func(v uint16) bool {
		return v&0x0f0f == 0x0a0a && v>>8 == v&0xff
	})
}

// appendCount appends n in two digits, at most 99.
func appendCount(dst []byte, n int) []byte {
	n = min(n, 99)
	return append(dst, '0'+byte(n/10), '0'+byte(n%10))
}

// appendHexList appends each value in four hexadecimal digits, separated by
// commas.
func appendHexList(dst []byte, values []uint16) []byte {
	for i, v := range values {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, hexDigits[v>>12], hexDigits[v>>8&15], hexDigits[v>>4&15], hexDigits[v&15])
	}
	return dst
}

// appendHash appends the first 12 hexadecimal digits of the list's SHA-256, or
// zeros for an empty list.
func appendHash(dst, list []byte) []byte {
	if len(list) == 0 {
		return append(dst, "000000000000"...)
	}
	sum := sha256.Sum256(list)
	return hex.AppendEncode(dst, sum[:6])
}
