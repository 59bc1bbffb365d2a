package l4

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/pires/go-proxyproto"

	"culvert/sniff"
)

// introduction is what a server learned of a connection before its first byte.
type introduction struct {
	source  netip.Addr // the socket's peer
	version byte
	own     bool // LOCAL, or UNKNOWN in version 1
	announcement
	alpn, authority, id string
	summed              bool // has a checksum, which is right
}

// introduced is an origin that reports the PROXY header of each connection and
// goes on with serve.
func introduced(t testing.TB, got chan<- introduction, serve func(net.Conn)) *origin {
	return startOrigin(t, func(c net.Conn) {
		b, err := readHeader(c)
		if b == nil {
			return // the peer is gone
		}
		x, err2 := introductionOf(b, c.RemoteAddr())
		if err = errors.Join(err, err2); err != nil {
			t.Errorf("header %q: %v", b, err)
			return
		}
		got <- x
		serve(c)
	})
}

// told waits for the next introduction.
func told(t testing.TB, got <-chan introduction) introduction {
	t.Helper()
	select {
	case x := <-got:
		return x
	case <-time.After(patience):
		t.Fatal("no server was dialed in time")
		panic("unreachable")
	}
}

// introductionOf reads the header b that came from a peer.
func introductionOf(b []byte, from net.Addr) (introduction, error) {
	h, err := proxyproto.Read(bufio.NewReaderSize(bytes.NewReader(b), len(b)))
	if err != nil {
		return introduction{}, err
	}
	x := introduction{source: from.(*net.TCPAddr).AddrPort().Addr(), version: h.Version}
	x.own = h.Command.IsLocal() || h.Version == 1 && h.TransportProtocol.IsUnspec()
	if src, dst, ok := h.TCPAddrs(); ok && !x.own {
		x.announcement = announcement{unmapped(src), unmapped(dst)}
	}
	return x, x.readValues(h, b)
}

// readValues enters the TLVs. The checksum is computed without the code under
// test.
func (x *introduction) readValues(h *proxyproto.Header, b []byte) error {
	all, err := h.TLVs()
	if err != nil {
		return err
	}
	for _, v := range all {
		switch v.Type {
		case proxyproto.PP2_TYPE_ALPN:
			x.alpn = string(v.Value)
		case proxyproto.PP2_TYPE_AUTHORITY:
			x.authority = string(v.Value)
		case proxyproto.PP2_TYPE_UNIQUE_ID:
			x.id = string(v.Value)
		case proxyproto.PP2_TYPE_CRC32C:
			zeroed := bytes.Replace(b, append([]byte(crc), v.Value...), append([]byte(crc), 0, 0, 0, 0), 1)
			x.summed = binary.BigEndian.Uint32(v.Value) == crc32.Checksum(zeroed, crc32.MakeTable(crc32.Castagnoli))
		}
	}
	return nil
}

// readHeader reads a PROXY header and no byte more. It returns no bytes if the
// peer ends before.
func readHeader(c io.Reader) (head []byte, err error) {
	for one := make([]byte, 1); ; {
		if _, err := io.ReadFull(c, one); err != nil {
			return nil, err
		}
		head = append(head, one...)
		n, err := sniff.ProxyHeader(head)
		if !errors.Is(err, sniff.ErrNeedMore) {
			return head[:n], err
		}
	}
}
