package sniff

import (
	"bytes"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestHelloOfRealClients(t *testing.T) {
	for _, s := range allSamples(t) {
		t.Run(s.name, func(t *testing.T) {
			h := mustParse(t, s.wire)
			if got := string(h.ServerName()); got != s.serverName {
				t.Errorf("ServerName %q, want %q", got, s.serverName)
			}
			if diff := cmp.Diff(s.alpn, h.ALPN()); diff != "" {
				t.Errorf("ALPN (-want +got)\n%s", diff)
			}
			if h.ECH != s.ech || h.PreSharedKey != s.psk || h.EarlyData || h.IPLiteral {
				t.Errorf("ECH %v, PreSharedKey %v, EarlyData %v, IPLiteral %v", h.ECH, h.PreSharedKey, h.EarlyData, h.IPLiteral)
			}
			if h.Length != len(s.wire) || h.Trailing {
				t.Errorf("Length %d of %d, Trailing %v", h.Length, len(s.wire), h.Trailing)
			}
		})
	}
}

func TestSamplesHaveTheStatedSizes(t *testing.T) {
	for name, least := range map[string]int{"post-quantum": 1400, "resumption with a 12 KiB ticket": 12 << 10} {
		i := slices.IndexFunc(goSamples(t), func(s sample) bool { return s.name == name })
		if got := len(goSamples(t)[i].wire); got < least {
			t.Errorf("%s: %d bytes, want at least %d", name, got, least)
		}
	}
}

func TestHelloLists(t *testing.T) {
	spec := usual()
	spec.version = 0x0301
	spec.exts = append(spec.exts, ext(extEarlyData, nil), ext(extPreSharedKey, []byte("opaque")))
	got := factsOf(mustParse(t, spec.wire()))
	got.JA4Raw = ""
	want := facts{
		Name: "chat.example.com", RawName: "Chat.Example.com",
		ALPN: []string{"h2", "http/1.1"}, Versions: []uint16{0x2a2a, 0x0304, 0x0303},
		CipherSuites: []uint16{0x0a0a, 0x1301, 0x1302, 0xc02b}, LegacyVersion: 0x0301,
		EarlyData: true, PreSharedKey: true,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestHelloWithoutExtensions(t *testing.T) {
	for name, spec := range map[string]helloSpec{
		"no block":    {version: 0x0301},
		"empty block": {version: 0x0301, exts: [][]byte{}},
	} {
		h := mustParse(t, spec.wire())
		if len(h.ServerName()) != 0 || h.ALPN() != nil || h.Versions() != nil || h.ECH {
			t.Errorf("%s: got %+v", name, factsOf(h))
		}
	}
}

func TestECHStateNeverNamesTheInner(t *testing.T) {
	for want, exts := range map[string][][]byte{
		"none":  {serverName("a.example")},
		"outer": {serverName("a.example"), ext(extECH, []byte{0, 0, 1, 0, 1, 9})},
	} {
		if got := mustParse(t, helloSpec{exts: exts}.wire()).ECHState(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestOffersALPN(t *testing.T) {
	h := mustParse(t, helloSpec{exts: [][]byte{alpn("h2", "acme-tls/1")}}.wire())
	for proto, want := range map[string]bool{"h2": true, "acme-tls/1": true, "h": false, "h2c": false, "": false, "http/1.1": false} {
		if got := h.OffersALPN(proto); got != want {
			t.Errorf("OffersALPN(%q) = %v, want %v", proto, got, want)
		}
	}
	if new(Hello).OffersALPN("") {
		t.Error("the zero Hello offers the empty protocol")
	}
}

func TestProtocolsCanStopEarly(t *testing.T) {
	h := mustParse(t, helloSpec{exts: [][]byte{alpn("a", "b", "c")}}.wire())
	var got []byte
	for p := range h.Protocols {
		got = append(got, p...)
		if string(p) == "b" {
			break
		}
	}
	if string(got) != "ab" {
		t.Errorf("got %q, want %q", got, "ab")
	}
}

func TestHelloCopyIsIndependentOfItsName(t *testing.T) {
	var h Hello
	var p Parser
	if err := p.Parse(usual().wire(), &h); err != nil {
		t.Fatal(err)
	}
	kept := h
	p.Reset()
	p.Parse(helloSpec{exts: [][]byte{serverName("other.example")}}.wire(), &h)
	if got := string(kept.ServerName()); got != "chat.example.com" {
		t.Errorf("the copy's name became %q", got)
	}
}

// manyTypes returns n empty extensions of types from first on.
func manyTypes(first, n int) [][]byte {
	exts := make([][]byte, n)
	for i := range exts {
		exts[i] = ext(uint16(first+i), nil)
	}
	return exts
}

func TestMalformedHelloIsRejected(t *testing.T) {
	with := func(exts ...[]byte) helloSpec { return helloSpec{exts: exts} }
	overrun := nameList(nameEntry(0, "a.example"))
	overrun[7], overrun[8] = 0xff, 0xff // the length of the name
	tests := []struct {
		name string
		spec helloSpec
		want error
	}{
		{"session id of 33 bytes", helloSpec{session: make([]byte, 33)}, ErrMalformed},
		{"no cipher suites", helloSpec{suites: []byte{}}, ErrMalformed},
		{"odd cipher suites", helloSpec{suites: []byte{1, 2, 3}}, ErrMalformed},
		{"no compression methods", helloSpec{compression: []byte{}}, ErrMalformed},
		{"bytes behind the extensions", helloSpec{exts: [][]byte{}, tail: []byte{0}}, ErrMalformed},
		{"half an extension block length", helloSpec{tail: []byte{0}}, ErrMalformed},
		{"extension block too long", helloSpec{tail: []byte{0, 5, 0, 23, 0, 0}}, ErrMalformed},
		{"extension cut in its type", with([]byte{0}), ErrMalformed},
		{"extension cut in its length", with([]byte{0, 23, 0}), ErrMalformed},
		{"extension cut in its body", with([]byte{0, 23, 0, 1}), ErrMalformed},

		{"name list missing", with(ext(extServerName, nil)), ErrMalformed},
		{"name list empty", with(nameList()), ErrMalformed},
		{"name list overrun", with(overrun), ErrMalformed},
		{"name list longer than extension", with(ext(extServerName, []byte{0, 9, 0, 0, 1, 'a'})), ErrMalformed},
		{"name list shorter than extension", with(ext(extServerName, []byte{0, 4, 0, 0, 1, 'a', 0})), ErrMalformed},
		{"second name cut", with(nameList(nameEntry(0, "a.example"), []byte{0, 0})), ErrMalformed},
		{"two host names", with(nameList(nameEntry(0, "a.example"), nameEntry(0, "b.example"))), ErrTwoNames},
		{"the same host name twice", with(nameList(nameEntry(0, "a.example"), nameEntry(0, "a.example"))), ErrTwoNames},
		{"host name and another type", with(nameList(nameEntry(0, "a.example"), nameEntry(1, "b"))), ErrTwoNames},
		{"another type and host name", with(nameList(nameEntry(1, "b"), nameEntry(0, "a.example"))), ErrTwoNames},
		{"only another type", with(nameList(nameEntry(1, "a.example"))), ErrBadName},
		{"empty name", with(serverName("")), ErrBadName},
		{"name with NUL", with(serverName("a.example\x00.evil.example")), ErrBadName},

		{"two server_name extensions", with(serverName("a.example"), serverName("a.example")), ErrDuplicateExtension},
		{"two unknown low extensions", with(ext(63, nil), ext(1, nil), ext(63, nil)), ErrDuplicateExtension},
		{"two unknown high extensions", with(ext(64, nil), ext(0xffff, nil), ext(64, nil)), ErrDuplicateExtension},
		{"two of the same GREASE", with(ext(0x0a0a, nil), ext(0x0a0a, nil)), ErrDuplicateExtension},
		{"duplicate among 8000, at the end", with(append(manyTypes(1000, 8000), ext(8999, nil))...), ErrDuplicateExtension},
		{"duplicate among 8000, of the first", with(append(manyTypes(1000, 8000), ext(1000, nil))...), ErrDuplicateExtension},
		{"8000 of one type", with(slices.Repeat(manyTypes(77, 1), 8000)...), ErrDuplicateExtension},

		{"ALPN list missing", with(ext(extALPN, nil)), ErrMalformed},
		{"ALPN list empty", with(alpn()), ErrMalformed},
		{"ALPN with an empty name", with(alpn("h2", "")), ErrMalformed},
		{"ALPN name cut", with(ext(extALPN, vec16([]byte{2, 'h'}))), ErrMalformed},
		{"ALPN list shorter than extension", with(ext(extALPN, append(vec16([]byte{1, 'h'}), 0))), ErrMalformed},
		{"no supported version", with(supportedVersions()), ErrMalformed},
		{"odd supported versions", with(ext(extSupportedVersions, []byte{3, 3, 4, 3})), ErrMalformed},
		{"bytes behind supported versions", with(ext(extSupportedVersions, []byte{2, 3, 4, 3})), ErrMalformed},
		{"no signature algorithm", with(signatureAlgorithms()), ErrMalformed},
		{"odd signature algorithms", with(ext(extSignatureAlgorithms, vec16([]byte{1}))), ErrMalformed},
		{"early_data with a body", with(ext(extEarlyData, []byte{0})), ErrMalformed},
		{"pre_shared_key not last", with(ext(extPreSharedKey, []byte{0}), ext(23, nil)), ErrPSKNotLast},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := parseOnce(tt.spec.wire()); got != tt.want {
				t.Errorf("in one record: got %v, want %v", got, tt.want)
			}
			msg := tt.spec.message()
			if got := parseOnce(records(msg, 3, len(msg)/2)); got != tt.want {
				t.Errorf("in three records: got %v, want %v", got, tt.want)
			}
		})
	}
}

func TestThousandsOfDistinctExtensionsAreAccepted(t *testing.T) {
	for _, n := range []int{32, 33, 8000} {
		if err := parseOnce(helloSpec{exts: manyTypes(1000, n)}.wire()); err != nil {
			t.Errorf("%d extensions: %v", n, err)
		}
	}
}

// TestEveryShortenedHelloIsMalformed truncates the body of a valid hello and
// corrects only the outermost lengths: an inner length beyond its vector must be
// an error.
func TestEveryShortenedHelloIsMalformed(t *testing.T) {
	body := usual().message()[handshakeHeaderLen:]
	noBlock := len(helloSpec{session: usual().session, suites: usual().suites}.message()) - handshakeHeaderLen
	for n := range body {
		err := parseOnce(records(handshake(clientHelloType, body[:n])))
		if n == noBlock {
			if err != nil {
				t.Errorf("without an extension block: %v", err)
			}
			continue
		}
		if err != ErrMalformed {
			t.Errorf("first %d of %d bytes: got %v, want ErrMalformed", n, len(body), err)
		}
	}
}

func TestServerNameInHello(t *testing.T) {
	tests := []struct {
		name, sni string
		want      string
		literal   bool
	}{
		{"lower case", "chat.example.com", "chat.example.com", false},
		{"mixed case", "cHaT.EXAMPLE.com", "chat.example.com", false},
		{"trailing dot", "chat.example.com.", "chat.example.com", false},
		{"IPv4", "192.0.2.1", "", true},
		{"IPv6", "2001:db8::1", "", true},
		{"IPv6 in brackets", "[2001:db8::1]", "", true},
		{"punycode", "XN--BCHER-KVA.example", "xn--bcher-kva.example", false},
		{"one label", "localhost", "localhost", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := mustParse(t, helloSpec{exts: [][]byte{serverName(tt.sni)}}.wire())
			if got := string(h.ServerName()); got != tt.want || h.IPLiteral != tt.literal {
				t.Errorf("got %q, IPLiteral %v, want %q, %v", got, h.IPLiteral, tt.want, tt.literal)
			}
			if got := string(h.RawName()); got != tt.sni {
				t.Errorf("RawName %q, want %q", got, tt.sni)
			}
		})
	}
}

func TestRawNameSurvivesABadName(t *testing.T) {
	var h Hello
	err := new(Parser).Parse(helloSpec{exts: [][]byte{serverName("a b")}}.wire(), &h)
	if err != ErrBadName || string(h.RawName()) != "a b" || len(h.ServerName()) != 0 {
		t.Errorf("got %v, RawName %q, ServerName %q", err, h.RawName(), h.ServerName())
	}
}

func TestParseDoesNotAllocate(t *testing.T) {
	inputs := map[string][]byte{"4000 extensions": helloSpec{exts: manyTypes(1000, 4000)}.wire()}
	for _, s := range fileSamples(t) {
		inputs[s.name] = s.wire
	}
	inputs["incomplete"] = inputs["curl-7.88"][:400]
	inputs["rejected"] = helloSpec{exts: [][]byte{serverName("no such thing")}}.wire()
	var p Parser
	var h Hello
	for name, wire := range inputs {
		got := testing.AllocsPerRun(100, func() {
			p.Reset()
			if p.Parse(wire, &h) == nil && h.OffersALPN("no-such") || len(h.ServerName()) > 253 {
				t.Error("impossible")
			}
		})
		if got != 0 {
			t.Errorf("%s: %v allocations, want 0", name, got)
		}
	}
}

func TestParseOfManyRecordsAllocatesAtMostTwice(t *testing.T) {
	for name, wire := range map[string][]byte{
		"usual, tiny records": tinyRecords(usual().message()),
		"5 KB, tiny records":  tinyRecords(padded(t, 5000)),
		"32 KB":               records(padded(t, 32000), 100),
	} {
		var h Hello
		got := testing.AllocsPerRun(20, func() {
			p := Parser{}
			if err := p.Parse(wire, &h); err != nil {
				t.Fatal(err)
			}
		})
		if got > 2 {
			t.Errorf("%s: %v allocations, want at most 2", name, got)
		}
	}
	var p Parser
	var h Hello
	wire := tinyRecords(usual().message())
	if got := testing.AllocsPerRun(20, func() { p.Reset(); p.Parse(wire, &h) }); got != 0 {
		t.Errorf("reused Parser: %v allocations, want 0", got)
	}
}

func TestReaderStaysBad(t *testing.T) {
	r := reader{rest: []byte{0, 9, 1}}
	if got := r.vec16(); got != nil || !r.bad || !r.empty() {
		t.Errorf("overrun: got %v, bad %v, empty %v", got, r.bad, r.empty())
	}
	if r.u8() != 0 || r.u16() != 0 || r.vec8() != nil || len(r.take(0)) != 0 || !r.bad {
		t.Error("a bad reader yields something")
	}
	r = reader{rest: []byte{1, 'a', 'b'}}
	if got := r.only8(); !bytes.Equal(got, []byte("a")) || !r.bad {
		t.Errorf("only8 with a rest: got %q, bad %v", got, r.bad)
	}
}
