package l4

import (
	"bytes"
	"encoding/binary"
	"slices"
	"testing"

	"culvert/sniff"
)

// Hellos that crypto/tls does not write, put together byte by byte.

// Extension types (IANA, TLS ExtensionType Values).
const (
	extServerName   = 0
	extALPN         = 16
	extPadding      = 21
	extPreSharedKey = 41
	extEarlyData    = 42
	extECH          = 0xfe0d
)

// craftHello is a hello with these extensions, in as few records as possible.
func craftHello(extensions ...[]byte) []byte { return tlsRecords(craftMessage(extensions...)) }

// craftMessage is the handshake message of a hello, without record headers.
func craftMessage(extensions ...[]byte) []byte {
	body := []byte{3, 3}
	body = append(body, bytes.Repeat([]byte{0xa5}, 32)...)
	body = append(body, 0)                            // session id
	body = append(body, vec16([]byte{0x13, 0x01})...) // cipher suites
	body = append(body, 1, 0)                         // compression: null
	return handshakeMessage(1, append(body, vec16(bytes.Join(extensions, nil))...))
}

func handshakeMessage(typ byte, body []byte) []byte {
	n := len(body)
	return append([]byte{typ, byte(n >> 16), byte(n >> 8), byte(n)}, body...)
}

// tlsRecords puts msg into handshake records of these sizes, and what is left
// into records as large as allowed.
func tlsRecords(msg []byte, sizes ...int) []byte {
	var wire []byte
	for i := 0; len(msg) > 0; i++ {
		n := min(len(msg), 1<<14)
		if i < len(sizes) {
			n = min(n, sizes[i])
		}
		wire = append(wire, tlsRecord(22, msg[:n])...)
		msg = msg[n:]
	}
	return wire
}

func tlsRecord(typ byte, payload []byte) []byte { return append([]byte{typ, 3, 1}, vec16(payload)...) }

// tinyRecords puts msg into records of one byte.
func tinyRecords(msg []byte) []byte {
	return tlsRecords(msg, slices.Repeat([]int{1}, len(msg))...)
}

// messageOf takes a hello in one record out of it.
func messageOf(wire []byte) []byte { return wire[5:] }

func extension(typ uint16, body []byte) []byte {
	return append(binary.BigEndian.AppendUint16(nil, typ), vec16(body)...)
}

func sniExtension(name string) []byte {
	return extension(extServerName, vec16(append([]byte{0}, vec16([]byte(name))...)))
}

func alpnExtension(protocols ...string) []byte {
	var list []byte
	for _, p := range protocols {
		list = append(append(list, byte(len(p))), p...)
	}
	return extension(extALPN, vec16(list))
}

// pskExtension is a pre_shared_key extension with an identity of n bytes, as a
// client sends whose ticket holds its certificates (RFC 8446 section 4.2.11).
func pskExtension(n int) []byte {
	identity := append(vec16(bytes.Repeat([]byte{0x42}, n)), 0, 0, 0, 0)
	binder := append([]byte{32}, make([]byte, 32)...)
	return extension(extPreSharedKey, append(vec16(identity), vec16(binder)...))
}

func vec16(b []byte) []byte {
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...)
}

// paddedHello is a hello for name that takes exactly size bytes on the wire.
func paddedHello(t testing.TB, name string, size int) []byte {
	t.Helper()
	bare := len(craftHello(sniExtension(name), extension(extPadding, nil)))
	for n := max(size-bare-16, 0); n <= size-bare; n++ {
		if wire := craftHello(sniExtension(name), extension(extPadding, make([]byte, n))); len(wire) == size {
			return wire
		}
	}
	t.Fatalf("no padding makes a hello of %d bytes", size)
	return nil
}

func TestCraftedHellosAreWhatTheySay(t *testing.T) {
	for _, tt := range []struct {
		name string
		wire []byte
		size int
	}{
		{"bare", craftHello(sniExtension("chat.example.com")), 0},
		{"tiny records", tinyRecords(craftMessage(sniExtension("chat.example.com"))), 0},
		{"padded", paddedHello(t, "chat.example.com", 20000), 20000},
		{"ticket", craftHello(sniExtension("chat.example.com"), pskExtension(12<<10)), 0},
	} {
		var p sniff.Parser
		var h sniff.Hello
		err := p.Parse(tt.wire, &h)
		if err != nil || string(h.ServerName()) != "chat.example.com" || h.Trailing || tt.size > 0 && len(tt.wire) != tt.size {
			t.Errorf("%s: got name %q, %v, %d bytes", tt.name, h.ServerName(), err, len(tt.wire))
		}
	}
}
