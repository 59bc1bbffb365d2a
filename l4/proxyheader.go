package l4

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"net"
	"net/netip"

	"github.com/pires/go-proxyproto"
)

// announcement is what a PROXY header says: the client's address, and the address
// that it connected to. Both are invalid in a header that does not say, of a
// connection that the proxy made for itself (LOCAL), or of another family.
type announcement struct{ client, local netip.AddrPort }

// errChecksum: a version 2 header does not have the checksum it says.
var errChecksum = errors.New("the CRC32c of the PROXY header is wrong")

// Offsets in a version 2 header.
const (
	v2Command = 12
	v2Family  = 13
	v2Length  = 14
	v2Fixed   = 16
	v2Proxy   = 0x21 // version 2, command PROXY
)

// parseProxyHeader reads a whole header, as long as sniff.ProxyHeader says.
func parseProxyHeader(b []byte) (a announcement, err error) {
	if b[0] == '\r' {
		if err := checkCRC(b); err != nil {
			return a, err
		}
		if b[v2Command] == v2Proxy && b[v2Family] == byte(proxyproto.UNSPEC) {
			return a, nil // the library takes it for an error, the specification does not
		}
	}
	h, err := proxyproto.Read(bufio.NewReaderSize(bytes.NewReader(b), len(b)))
	if err != nil || h.Command == proxyproto.LOCAL {
		return a, err
	}
	src, dst, ok := h.TCPAddrs()
	if !ok {
		return a, nil
	}
	return announcement{unmapped(src), unmapped(dst)}, nil
}

func unmapped(a *net.TCPAddr) netip.AddrPort {
	p := a.AddrPort()
	return netip.AddrPortFrom(p.Addr().Unmap(), p.Port())
}

// checkCRC verifies the checksum of a version 2 header, if it has one.
func checkCRC(b []byte) error {
	at := crcOffset(b)
	if at < 0 {
		return nil
	}
	want := binary.BigEndian.Uint32(b[at:])
	if crcWithout(b, at) != want {
		return errChecksum
	}
	return nil
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// crcWithout is the checksum of a header whose own checksum, at a place, counts
// as zeros.
func crcWithout(b []byte, at int) uint32 {
	crc := crc32.Update(0, castagnoli, b[:at])
	crc = crc32.Update(crc, castagnoli, make([]byte, crcSize))
	return crc32.Update(crc, castagnoli, b[at+crcSize:])
}

const crcSize = 4

// crcOffset returns where the checksum is in a version 2 header, -1 when it has
// none.
func crcOffset(b []byte) int {
	for at := v2Fixed + addressSize(b[v2Family]); at+3 <= len(b); {
		size := int(binary.BigEndian.Uint16(b[at+1:]))
		if proxyproto.PP2Type(b[at]) == proxyproto.PP2_TYPE_CRC32C && size == crcSize && at+3+size <= len(b) {
			return at + 3
		}
		at += 3 + size
	}
	return -1
}

// addressSize is how long the addresses of a family are.
func addressSize(family byte) int {
	switch family >> 4 {
	case 1: // AF_INET
		return 12
	case 2: // AF_INET6
		return 36
	case 3: // AF_UNIX
		return 216
	}
	return 0
}

// ProxyVersion says which PROXY header a server gets before a connection's
// bytes. The zero value leaves it to an outer level.
type ProxyVersion uint8

// The versions.
const (
	ProxyInherit ProxyVersion = iota
	ProxyOff
	ProxyV1 // addresses only
	ProxyV2 // and server name, ALPN, unique ID and checksum
)

// Caller is what a server may be told of the client that it is dialed for. The
// zero value is culvert itself.
type Caller struct {
	Client netip.AddrPort // invalid: on a unix socket
	Local  netip.AddrPort // where the client connected to
	Name   string         // the server name of its hello; "": none
	ALPN   string         // the protocol that its hello offers first; "": none
	ID     string         // of its connection, see Handled.ID
}

// proxyHeader returns the header of a connection for c, which the caller owns;
// nil for none. One for culvert itself is LOCAL, or UNKNOWN in version 1: there
// is no client to tell of, so that it has a checksum and no other value.
func proxyHeader(v ProxyVersion, c Caller) ([]byte, error) {
	if v <= ProxyOff {
		return nil, nil
	}
	h := &proxyproto.Header{Version: 1, Command: proxyproto.PROXY, TransportProtocol: proxyproto.UNSPEC}
	if c == (Caller{}) {
		h.Command = proxyproto.LOCAL
	}
	if c.Client.IsValid() && c.Local.IsValid() {
		h.TransportProtocol = proxyproto.TCPv6
		if c.Client.Addr().Is4() && c.Local.Addr().Is4() {
			h.TransportProtocol = proxyproto.TCPv4
		}
		h.SourceAddr, h.DestinationAddr = net.TCPAddrFromAddrPort(c.Client), net.TCPAddrFromAddrPort(c.Local)
	}
	if v == ProxyV1 {
		return h.Format()
	}
	h.Version = 2
	if err := h.SetTLVs(c.values()); err != nil {
		return nil, err
	}
	b, err := h.Format()
	if err != nil {
		return nil, err
	}
	at := crcOffset(b)
	binary.BigEndian.PutUint32(b[at:], crcWithout(b, at))
	return b, nil
}

// values returns what a version 2 header says beside the addresses, and room
// for a checksum.
func (c Caller) values() []proxyproto.TLV {
	var all []proxyproto.TLV
	for _, v := range []struct {
		kind proxyproto.PP2Type
		text string
	}{
		{proxyproto.PP2_TYPE_ALPN, c.ALPN},
		{proxyproto.PP2_TYPE_AUTHORITY, c.Name},
		{proxyproto.PP2_TYPE_UNIQUE_ID, c.ID},
	} {
		if v.text != "" {
			all = append(all, proxyproto.TLV{Type: v.kind, Value: []byte(v.text)})
		}
	}
	return append(all, proxyproto.TLV{Type: proxyproto.PP2_TYPE_CRC32C, Value: make([]byte, crcSize)})
}
