package sniff

import (
	"bytes"
	"encoding/binary"
	"slices"
	"testing"
)

// helloSpec describes a ClientHello to build, valid or not. The zero value is
// the smallest valid one: one cipher suite, null compression, no extensions.
type helloSpec struct {
	version     uint16 // 0: 0x0303
	session     []byte
	suites      []byte // nil: TLS_AES_128_GCM_SHA256
	compression []byte // nil: null
	exts        [][]byte
	tail        []byte // follows the extension block
}

// message returns the handshake message with its header.
func (s helloSpec) message() []byte {
	if s.version == 0 {
		s.version = 0x0303
	}
	if s.suites == nil {
		s.suites = u16list(0x1301)
	}
	if s.compression == nil {
		s.compression = []byte{0}
	}
	body := binary.BigEndian.AppendUint16(nil, s.version)
	body = append(body, bytes.Repeat([]byte{0xa5}, 32)...)
	body = append(body, vec8(s.session)...)
	body = append(body, vec16(s.suites)...)
	body = append(body, vec8(s.compression)...)
	if s.exts != nil {
		body = append(body, vec16(bytes.Join(s.exts, nil))...)
	}
	return handshake(clientHelloType, append(body, s.tail...))
}

// wire returns the message in as few records as possible.
func (s helloSpec) wire() []byte { return records(s.message()) }

func handshake(typ byte, body []byte) []byte {
	n := len(body)
	return append([]byte{typ, byte(n >> 16), byte(n >> 8), byte(n)}, body...)
}

// records puts msg into records of the given sizes, and the rest of it into
// records of the maximum size.
func records(msg []byte, sizes ...int) []byte {
	var wire []byte
	for i := 0; len(msg) > 0; i++ {
		n := min(len(msg), maxRecordLen)
		if i < len(sizes) {
			n = min(n, sizes[i])
		}
		wire = append(wire, record(recordHandshake, msg[:n])...)
		msg = msg[n:]
	}
	return wire
}

func record(typ byte, payload []byte) []byte {
	return append([]byte{typ, 3, 1}, vec16(payload)...)
}

// tinyRecords puts msg into records of one byte.
func tinyRecords(msg []byte) []byte {
	return records(msg, slices.Repeat([]int{1}, len(msg))...)
}

func vec8(b []byte) []byte { return append([]byte{byte(len(b))}, b...) }

func vec16(b []byte) []byte {
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...)
}

func u16list(values ...uint16) []byte {
	var list []byte
	for _, v := range values {
		list = binary.BigEndian.AppendUint16(list, v)
	}
	return list
}

func ext(typ uint16, body []byte) []byte { return append(u16list(typ), vec16(body)...) }

// serverName returns the extension for one host name, valid or not.
func serverName(name string) []byte { return nameList(nameEntry(0, name)) }

func nameEntry(typ byte, name string) []byte { return append([]byte{typ}, vec16([]byte(name))...) }

func nameList(entries ...[]byte) []byte {
	return ext(extServerName, vec16(bytes.Join(entries, nil)))
}

func alpn(protos ...string) []byte {
	var list []byte
	for _, p := range protos {
		list = append(list, vec8([]byte(p))...)
	}
	return ext(extALPN, vec16(list))
}

func supportedVersions(versions ...uint16) []byte {
	return ext(extSupportedVersions, vec8(u16list(versions...)))
}

func signatureAlgorithms(algs ...uint16) []byte {
	return ext(extSignatureAlgorithms, vec16(u16list(algs...)))
}

// facts is a copy of all fields of a Hello, except for its length in the input.
type facts struct {
	Name, RawName, JA4Raw                   string
	ALPN                                    []string
	Versions, CipherSuites                  []uint16
	LegacyVersion                           uint16
	IPLiteral, EarlyData, PreSharedKey, ECH bool
}

func factsOf(h *Hello) facts {
	return facts{
		Name: string(h.ServerName()), RawName: string(h.RawName()), JA4Raw: h.JA4Raw(),
		ALPN: h.ALPN(), Versions: h.Versions(), CipherSuites: h.CipherSuites(),
		LegacyVersion: h.LegacyVersion, IPLiteral: h.IPLiteral,
		EarlyData: h.EarlyData, PreSharedKey: h.PreSharedKey, ECH: h.ECH,
	}
}

// mustParse parses a complete input with a new Parser.
func mustParse(t testing.TB, wire []byte) *Hello {
	t.Helper()
	var p Parser
	var h Hello
	if err := p.Parse(wire, &h); err != nil {
		t.Fatalf("Parse: %v", err)
	}
	return &h
}

// parseOnce returns the result of Parse for an input that arrives at once.
func parseOnce(wire []byte) error {
	return new(Parser).Parse(wire, new(Hello))
}
