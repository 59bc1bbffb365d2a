package sniff

import (
	"bytes"
	"encoding/binary"
)

// Lengths of PROXY headers (the PROXY protocol specification of HAProxy,
// sections 2.1 and 2.2).
const (
	maxProxyV1 = 107 // with its CRLF
	proxyV2    = 16  // signature, version, family, length

	// MaxProxyV2 is the maximum length in bytes that is accepted for a version
	// 2 header after its first 16 bytes. The format allows 64 KiB;
	// certificates among the values have 1 to 2 KiB.
	MaxProxyV2 = 4 << 10
)

var (
	proxySignature1 = []byte("PROXY ")
	proxySignature2 = []byte("\r\n\r\n\x00\r\nQUIT\n")
)

// ErrNotProxy: the bytes do not begin with a PROXY header, or the header is too
// long. It is not among Reasons, because it is not about a hello.
var ErrNotProxy = &Reject{AlertNone, "proxy_header", "no PROXY header"}

// ProxyHeader returns the length in bytes of the PROXY header, version 1 or 2,
// at the start of b. It finds the end of the header and does not check its
// content. The error is ErrNeedMore or ErrNotProxy; ErrNotProxy is returned as
// soon as b contains the byte that is wrong.
func ProxyHeader(b []byte) (int, error) {
	switch {
	case begins(b, proxySignature1):
		return proxyLine(b)
	case begins(b, proxySignature2):
		return proxyBinary(b)
	}
	return 0, ErrNotProxy
}

// begins reports whether b begins with signature, or is a prefix of it.
func begins(b, signature []byte) bool {
	n := min(len(b), len(signature))
	return bytes.Equal(b[:n], signature[:n])
}

// proxyLine handles a version 1 header, which ends with its first CRLF.
func proxyLine(b []byte) (int, error) {
	i := bytes.IndexByte(b[:min(len(b), maxProxyV1)], '\n')
	switch {
	case i > 0 && b[i-1] == '\r':
		return i + 1, nil
	case i >= 0 || len(b) >= maxProxyV1:
		return 0, ErrNotProxy
	}
	return 0, ErrNeedMore
}

func proxyBinary(b []byte) (int, error) {
	if len(b) < proxyV2 {
		return 0, ErrNeedMore
	}
	rest := int(binary.BigEndian.Uint16(b[proxyV2-2:]))
	switch {
	case rest > MaxProxyV2:
		return 0, ErrNotProxy
	case len(b) < proxyV2+rest:
		return 0, ErrNeedMore
	}
	return proxyV2 + rest, nil
}
