package sniff

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func addSeeds(f *testing.F, add func(wire []byte)) {
	f.Helper()
	for _, s := range fileSamples(f) {
		add(s.wire)
	}
	for _, s := range goSamples(f) {
		if len(s.wire) < 4096 {
			add(s.wire)
		}
	}
	add(usual().wire())
	add(records(usual().message(), 1, 2, 3, 50))
	for _, tt := range earliest {
		add([]byte(tt.wire))
	}
}

// FuzzHello tests the parser of the message alone. For accepted messages the
// methods of Hello return what their comments state, and the result is the same
// for a new and a reused Hello.
func FuzzHello(f *testing.F) {
	addSeeds(f, func(wire []byte) {
		if parseOnce(wire) == nil {
			f.Add(joined(f, wire)[handshakeHeaderLen:])
		}
	})
	used := mustParse(f, usual().wire())
	f.Fuzz(func(t *testing.T, body []byte) {
		var h Hello
		err := h.parse(body)
		if again := used.parse(body); again != err {
			t.Fatalf("fresh Hello: %v, used one: %v", err, again)
		}
		if err != nil {
			checkReject(t, err)
			return
		}
		if diff := cmp.Diff(factsOf(&h), factsOf(used)); diff != "" {
			t.Fatalf("(-fresh +used)\n%s", diff)
		}
		checkHello(t, &h)
	})
}

func checkReject(t *testing.T, err error) {
	t.Helper()
	var r *Reject
	if !errors.As(err, &r) || !slices.Contains(Reasons(), r.Reason) {
		t.Fatalf("error %v is not a known reject", err)
	}
}

func checkHello(t *testing.T, h *Hello) {
	t.Helper()
	name := h.ServerName()
	if len(name) > 0 {
		again, err := AppendName(nil, name)
		if err != nil || !bytes.Equal(again, name) {
			t.Errorf("name %q normalises to %q, %v", name, again, err)
		}
	}
	if IsIPLiteral(name) || h.IPLiteral && len(name) > 0 {
		t.Errorf("name %q, IPLiteral %v", name, h.IPLiteral)
	}
	for _, p := range h.ALPN() {
		if p == "" || !h.OffersALPN(p) {
			t.Errorf("protocol %q is in the list but not offered", p)
		}
	}
	if len(h.JA4()) != 36 || !strings.HasPrefix(h.JA4Raw(), h.JA4()[:11]) {
		t.Errorf("JA4 %s of %s", h.JA4(), h.JA4Raw())
	}
}

// FuzzJoiner checks that the result of joining depends neither on how the bytes
// arrive nor, for an accepted message, on how it is split into records, and that
// every strict prefix of an accepted input gives ErrNeedMore.
func FuzzJoiner(f *testing.F) {
	addSeeds(f, func(wire []byte) { f.Add(wire, []byte{1, 2, 5, 40}, uint16(0)) })
	f.Add(tinyRecords(usual().message()), []byte{3}, uint16(600))
	f.Fuzz(func(t *testing.T, wire, cuts []byte, limit16 uint16) {
		limit := int(limit16)
		if limit == 0 {
			limit = DefaultLimit
		}
		var whole joiner
		var room []byte
		msg, err := whole.join(wire, limit, &room)
		inPieces(t, wire, cuts, limit, msg, err)
		if err != nil {
			if err != ErrNeedMore {
				checkReject(t, err)
			}
			return
		}
		if whole.wire > limit || cap(room) > limit {
			t.Fatalf("limit %d: %d bytes used, %d kept", limit, whole.wire, cap(room))
		}
		otherRecords(t, slices.Clone(msg), cuts)
	})
}

// inPieces joins wire as it grows by the lengths in cuts and compares.
func inPieces(t *testing.T, wire, cuts []byte, limit int, want []byte, wantErr error) {
	var j joiner
	var msg, room []byte
	err := error(ErrNeedMore)
	for n, i := 0, 0; n < len(wire) && err == ErrNeedMore; i++ {
		n += 1
		if len(cuts) > 0 {
			n += int(cuts[i%len(cuts)])
		}
		n = min(n, len(wire))
		// The capacity ends with the slice, so that reading further panics.
		msg, err = j.join(wire[:n:n], limit, &room)
		if err == nil && wantErr == nil && n < j.wire {
			t.Fatalf("accepted after %d of %d bytes", n, j.wire)
		}
	}
	if err != wantErr {
		t.Fatalf("in pieces: %v, at once: %v", err, wantErr)
	}
	if !bytes.Equal(msg, want) {
		t.Fatalf("in pieces: % x, at once: % x", msg, want)
	}
}

// otherRecords splits msg into records of the lengths in cuts and joins them.
func otherRecords(t *testing.T, msg, cuts []byte) {
	sizes := make([]int, len(cuts))
	for i, c := range cuts {
		sizes[i] = 1 + int(c)
	}
	var j joiner
	got, err := j.join(records(msg, sizes...), 1<<30, new([]byte))
	if err != nil || !bytes.Equal(got, msg) {
		t.Fatalf("records of %v: %v, message % x, want % x", sizes, err, got, msg)
	}
}

// FuzzName checks that normalising a normalised name changes nothing, and that
// names which differ in case or by a trailing dot have the same normal form.
func FuzzName(f *testing.F) {
	for _, s := range []string{"chat.example.com", "A.B.", "192.0.2.1", "[::1]", "fe80::1%eth0", "xn--bcher-kva.example", "a..b", "*.example", "\x00", "1.2.3"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		normal, err := AppendName(nil, name)
		fromBytes, errBytes := AppendName([]byte{}, []byte(name))
		if string(normal) != string(fromBytes) || err != errBytes || IsIPLiteral(name) != IsIPLiteral([]byte(name)) {
			t.Fatalf("string: %q, %v; bytes: %q, %v", normal, err, fromBytes, errBytes)
		}
		if err != nil {
			return
		}
		if n := len(normal); n == 0 || n > 253 || normal[n-1] == '.' {
			t.Fatalf("%q normalises to %q", name, normal)
		}
		for _, same := range []string{string(normal), string(normal) + ".", strings.ToUpper(string(normal))} {
			if again, err := AppendName(nil, same); err != nil || string(again) != string(normal) {
				t.Fatalf("%q normalises to %q, %v, want %q", same, again, err, normal)
			}
		}
		if want := net.ParseIP(string(normal)) != nil; IsIPLiteral(name) != want {
			t.Fatalf("IsIPLiteral(%q) = %v, want %v", name, !want, want)
		}
	})
}

// FuzzParse compares with crypto/tls on the same bytes. If both accept, they
// must have the same results. If only crypto/tls accepts, stricter must list the
// rule. If only this package accepts, crypto/tls must accept the hello after
// mend has removed what it is known to refuse.
func FuzzParse(f *testing.F) {
	addSeeds(f, func(wire []byte) { f.Add(wire) })
	for _, exts := range [][][]byte{
		{serverName("a.example.")},
		{serverName("a\x00b")},
		{nameList(nameEntry(3, "x"))},
		{nameList(nameEntry(0, "a"), nameEntry(3, "x"))},
		{serverName("192.0.2.1"), ext(10, []byte("junk")), ext(51, []byte{9})},
	} {
		f.Add(helloSpec{exts: exts}.wire())
	}
	f.Add(append(record(recordAlert, []byte{1, 90}), helloSpec{}.wire()...))
	f.Add(record(recordHandshake, append(helloSpec{}.message(), 0)))
	f.Fuzz(func(t *testing.T, wire []byte) {
		var h Hello
		p := Parser{Limit: 1 << 20}
		err := p.Parse(wire, &h)
		oracle := askCryptoTLS(wire)
		switch {
		case err == nil && oracle != nil:
			agree(t, &h, oracle)
		case err == nil:
			mended := mend(&h, joined(t, wire))
			oracle = askCryptoTLS(records(mended))
			if oracle == nil {
				t.Fatalf("accepted, but crypto/tls refuses even % x", mended)
			}
			agree(t, &h, oracle)
		case oracle != nil:
			if !stricter(err, wire, oracle) {
				t.Fatalf("crypto/tls accepts, but %v", err)
			}
		}
	})
}

// agree compares the results of both.
func agree(t *testing.T, h *Hello, oracle *tls.ClientHelloInfo) {
	t.Helper()
	want := oracle.ServerName
	if h.IPLiteral {
		if !IsIPLiteral(want) {
			t.Fatalf("IPLiteral, but crypto/tls sees %q", want)
		}
		want = ""
	}
	if got := string(h.ServerName()); got != strings.ToLower(want) {
		t.Fatalf("name %q, crypto/tls %q", got, want)
	}
	if diff := cmp.Diff(oracle.SupportedProtos, h.ALPN()); diff != "" {
		t.Fatalf("ALPN (-crypto/tls +sniff)\n%s", diff)
	}
	if diff := cmp.Diff(oracle.CipherSuites, h.CipherSuites()); diff != "" {
		t.Fatalf("cipher suites (-crypto/tls +sniff)\n%s", diff)
	}
	if v := h.Versions(); v != nil && !slices.Equal(oracle.SupportedVersions, v) {
		t.Fatalf("versions %x, crypto/tls %x", v, oracle.SupportedVersions)
	}
}

// stricter reports whether a refusal of what crypto/tls accepts is one of the
// rules that the package documents, and applies to this input.
func stricter(err error, wire []byte, oracle *tls.ClientHelloInfo) bool {
	switch err {
	case ErrNotTLS: // the major record version must be 3
		return wire[1] != 3
	case ErrUnexpectedMessage: // a warning alert is skipped there; a record may go on behind the hello
		return slices.Contains(recordTypes(wire), recordAlert) || bytesBehindMessage(wire)
	case ErrMalformed: // lengths of session id, cipher suites, compression; a later record's version
		return len(oracle.CipherSuites) == 0 || longSession(wire) || noCompression(wire) || oddVersion(wire)
	case ErrBadName: // what may be in a name; a list without a host_name
		_, bad := AppendName(nil, oracle.ServerName)
		return bad != nil
	case ErrTwoNames: // a host_name beside names of unknown types
		return slices.Contains(oracle.Extensions, uint16(extServerName))
	}
	return false
}

// walk calls visit for each complete record of wire.
func walk(wire []byte, visit func(header, payload []byte)) {
	for len(wire) >= recordHeaderLen {
		n := recordHeaderLen + int(wire[3])<<8 + int(wire[4])
		if n > len(wire) {
			return
		}
		visit(wire[:recordHeaderLen], wire[recordHeaderLen:n])
		wire = wire[n:]
	}
}

func recordTypes(wire []byte) []byte {
	var types []byte
	walk(wire, func(header, _ []byte) { types = append(types, header[0]) })
	return types
}

func oddVersion(wire []byte) bool {
	odd := false
	walk(wire, func(header, _ []byte) { odd = odd || header[1] != 3 })
	return odd
}

// handshakeBytes returns the payload of the handshake records, valid or not.
func handshakeBytes(wire []byte) []byte {
	var msg []byte
	walk(wire, func(header, payload []byte) {
		if header[0] == recordHandshake {
			msg = append(msg, payload...)
		}
	})
	return msg
}

func bytesBehindMessage(wire []byte) bool {
	msg := handshakeBytes(wire)
	return len(msg) > handshakeHeaderLen+int(msg[1])<<16+int(msg[2])<<8+int(msg[3])
}

const sessionAt = handshakeHeaderLen + 2 + 32

func longSession(wire []byte) bool { return handshakeBytes(wire)[sessionAt] > 32 }

func noCompression(wire []byte) bool {
	r := reader{rest: handshakeBytes(wire)[sessionAt:]}
	r.vec8()
	r.vec16()
	return len(r.vec8()) == 0
}

// mend returns msg without the parts that only crypto/tls may refuse: a trailing
// dot of the name, and the extensions whose bodies this package does not
// examine.
func mend(h *Hello, msg []byte) []byte {
	r := reader{rest: msg[handshakeHeaderLen:]}
	r.take(2 + 32)
	r.vec8()
	r.vec16()
	r.vec8()
	fixed := msg[handshakeHeaderLen : len(msg)-len(r.rest)]
	var exts []byte
	for rest := h.extensions; len(rest) > 0; {
		typ, body, after, _ := cutExtension(rest)
		rest = after
		switch typ {
		case extServerName:
			exts = append(exts, serverName(strings.TrimSuffix(string(h.RawName()), "."))...)
		case extALPN, extSupportedVersions, extSignatureAlgorithms, extEarlyData:
			exts = append(exts, ext(typ, body)...)
		}
	}
	return handshake(clientHelloType, append(slices.Clone(fixed), vec16(exts)...))
}

// askCryptoTLS returns what crypto/tls finds in the hello at the start of
// wire, or nil if it refuses or misses something.
func askCryptoTLS(wire []byte) *tls.ClientHelloInfo {
	var found *tls.ClientHelloInfo
	stop := errors.New("seen enough")
	tls.Server(&script{in: bytes.NewReader(wire)}, &tls.Config{
		GetConfigForClient: func(info *tls.ClientHelloInfo) (*tls.Config, error) {
			found = info
			return nil, stop
		},
	}).Handshake()
	return found
}

// script is a net.Conn that returns some bytes and then EOF.
type script struct {
	net.Conn
	in io.Reader
}

func (s *script) Read(b []byte) (int, error)       { return s.in.Read(b) }
func (s *script) Write(b []byte) (int, error)      { return len(b), nil }
func (s *script) SetWriteDeadline(time.Time) error { return nil }
func (s *script) Close() error                     { return nil }
