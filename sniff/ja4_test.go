package sniff

import (
	"encoding/binary"
	"encoding/hex"
	"strings"
	"testing"
)

// hexList turns the notation of JA4_r into values.
func hexList(t *testing.T, s string) []uint16 {
	t.Helper()
	var values []uint16
	for word := range strings.SplitSeq(s, ",") {
		b, err := hex.DecodeString(word)
		if err != nil || len(b) != 2 {
			t.Fatalf("%q: not a list of 16-bit values", s)
		}
		values = append(values, binary.BigEndian.Uint16(b))
	}
	return values
}

// fromRaw builds a hello from the original-order lists of a fingerprint.
// Extensions that the parser reads have the given content, others are empty.
func fromRaw(t *testing.T, suites, exts, signatures string, content map[uint16][]byte) helloSpec {
	t.Helper()
	spec := helloSpec{suites: u16list(hexList(t, suites)...)}
	for _, typ := range hexList(t, exts) {
		switch {
		case content[typ] != nil:
			spec.exts = append(spec.exts, content[typ])
		case typ == extSignatureAlgorithms:
			spec.exts = append(spec.exts, signatureAlgorithms(hexList(t, signatures)...))
		default:
			spec.exts = append(spec.exts, ext(typ, nil))
		}
	}
	return spec
}

// Published fingerprints: FoxIO's README and technical_details/JA4.md, the test
// data of FoxIO's ja4-nginx-module, and that of Chromium 152, whose signature
// algorithms begin with a GREASE value.
func TestJA4OfPublishedFingerprints(t *testing.T) {
	const chromeSuites = "0a0a,1301,1302,1303,c02b,c02f,c02c,c030,cca9,cca8,c013,c014,009c,009d,002f,0035"
	const chromeSignatures = "0403,0804,0401,0503,0805,0501,0806,0601"
	h2 := map[uint16][]byte{
		extServerName: serverName("chat.example.com"), extALPN: alpn("h2", "http/1.1"),
		extSupportedVersions: supportedVersions(0xfafa, 0x0304, 0x0303),
	}
	tests := []struct {
		name                     string
		suites, exts, signatures string
		content                  map[uint16][]byte
		ja4, raw                 string
	}{
		{
			name:   "FoxIO's example",
			suites: chromeSuites, signatures: chromeSignatures, content: h2,
			exts: "eaea,001b,0000,0033,0010,4469,0017,002d,000d,0005,0023,0012,002b,ff01,000b,000a,0015,1a1a",
			ja4:  "t13d1516h2_8daaf6152771_e5627efa2ab1",
			raw: "t13d1516h2_002f,0035,009c,009d,1301,1302,1303,c013,c014,c02b,c02c,c02f,c030,cca8,cca9_" +
				"0005,000a,000b,000d,0012,0015,0017,001b,0023,002b,002d,0033,4469,ff01_0403,0804,0401,0503,0805,0501,0806,0601",
		},
		{
			name:   "Chrome with ECH",
			suites: chromeSuites, signatures: chromeSignatures, content: h2,
			exts: "002d,0033,0010,fe0d,0017,44cd,0000,000b,000a,002b,ff01,0023,0012,0005,000d,001b",
			ja4:  "t13d1516h2_8daaf6152771_d8a2da3f94cd",
			raw: "t13d1516h2_002f,0035,009c,009d,1301,1302,1303,c013,c014,c02b,c02c,c02f,c030,cca8,cca9_" +
				"0005,000a,000b,000d,0012,0017,001b,0023,002b,002d,0033,44cd,fe0d,ff01_0403,0804,0401,0503,0805,0501,0806,0601",
		},
		{
			name:   "Chromium 152 with GREASE among the signature algorithms",
			suites: chromeSuites, signatures: "5a5a,0904,0905,0906," + chromeSignatures, content: h2,
			exts: "002d,0033,0010,fe0d,0017,44cd,0000,000b,ca34,000a,002b,ff01,0023,0012,0005,000d,001b",
			ja4:  "t13d1517h2_8daaf6152771_cb7bf5808d99",
			raw: "t13d1517h2_002f,0035,009c,009d,1301,1302,1303,c013,c014,c02b,c02c,c02f,c030,cca8,cca9_" +
				"0005,000a,000b,000d,0012,0017,001b,0023,002b,002d,0033,44cd,ca34,fe0d,ff01_" +
				"0904,0905,0906,0403,0804,0401,0503,0805,0501,0806,0601",
		},
		{
			name:       "curl without a name",
			suites:     "1302,1303,1301,c02c,c030,009f,cca9,cca8,ccaa,c02b,c02f,009e,c024,c028,006b,c023,c027,0067,c00a,c014,0039,c009,c013,0033,009d,009c,003d,003c,0035,002f",
			signatures: "0905,0906,0904,0403,0503,0603,0807,0808,081a,081b,081c,0809,080a,080b,0804,0805,0806,0401,0501,0601,0303,0301,0302,0402,0502,0602",
			content:    h2,
			exts:       "ff01,000a,000b,0010,0016,0017,0031,000d,002b,002d,0033",
			ja4:        "t13i3011h2_1d37bd780c83_882d495ac381",
			raw: "t13i3011h2_002f,0033,0035,0039,003c,003d,0067,006b,009c,009d,009e,009f,1301,1302,1303,c009,c00a,c013,c014,c023,c024,c027,c028,c02b,c02c,c02f,c030,cca8,cca9,ccaa_" +
				"000a,000b,000d,0016,0017,002b,002d,0031,0033,ff01_0905,0906,0904,0403,0503,0603,0807,0808,081a,081b,081c,0809,080a,080b,0804,0805,0806,0401,0501,0601,0303,0301,0302,0402,0502,0602",
		},
		{
			name:       "TLS 1.2 with http/1.1",
			suites:     "c02c,c030,009f,cca9,cca8,ccaa,c02b,c02f,009e,c024,c028,006b,c023,c027,0067,c00a,c014,0039,c009,c013,0033,009d,009c,003d,003c,0035,002f",
			signatures: "0403,0503,0603,0807,0808,0809,080a,080b,0804,0805,0806,0401,0501,0601,0303,0301,0302,0402,0502,0602",
			content:    map[uint16][]byte{extServerName: serverName("a.example"), extALPN: alpn("http/1.1")},
			exts:       "ff01,0000,000a,000b,0010,0016,0017,000d",
			ja4:        "t12d2708h1_a2460661a67a_eed5f1524d5c",
			raw: "t12d2708h1_002f,0033,0035,0039,003c,003d,0067,006b,009c,009d,009e,009f,c009,c00a,c013,c014,c023,c024,c027,c028,c02b,c02c,c02f,c030,cca8,cca9,ccaa_" +
				"000a,000b,000d,0016,0017,ff01_0403,0503,0603,0807,0808,0809,080a,080b,0804,0805,0806,0401,0501,0601,0303,0301,0302,0402,0502,0602",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := mustParse(t, fromRaw(t, tt.suites, tt.exts, tt.signatures, tt.content).wire())
			if got := h.JA4(); got != tt.ja4 {
				t.Errorf("JA4 %s, want %s", got, tt.ja4)
			}
			if got := h.JA4Raw(); got != tt.raw {
				t.Errorf("JA4Raw\n     %s\nwant %s", got, tt.raw)
			}
		})
	}
}

func TestJA4WithoutSignatureAlgorithms(t *testing.T) {
	spec := fromRaw(t, "1301", "0005,000a,000b,0012,0015,0017,001b,0023,002d,0033,4469,ff01", "", nil)
	spec.exts = append(spec.exts, supportedVersions(0x0304), signatureAlgorithms(0x0a0a))
	const want = "6d807ffa2a79" // of FoxIO's text
	if got := mustParse(t, spec.wire()).JA4(); !strings.HasSuffix(got, "_"+want) {
		t.Errorf("got %s, want it to end in %s", got, want)
	}
}

func TestJA4OfEmptyLists(t *testing.T) {
	h := mustParse(t, helloSpec{suites: u16list(0x0a0a), exts: [][]byte{serverName("a.example"), ext(0x2a2a, nil)}}.wire())
	if got, want := h.JA4(), "t12d000100_000000000000_000000000000"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got, want := h.JA4Raw(), "t12d000100__"; got != want {
		t.Errorf("raw: got %s, want %s", got, want)
	}
}

func TestJA4CountsStopAt99(t *testing.T) {
	suites := make([]uint16, 150)
	for i := range suites {
		suites[i] = uint16(0xc000 + i)
	}
	h := mustParse(t, helloSpec{suites: u16list(suites...), exts: manyTypes(1000, 100)}.wire())
	if got, want := h.JA4()[:10], "t12i999900"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestJA4Version(t *testing.T) {
	tests := []struct {
		legacy    uint16
		supported []uint16
		want      string
	}{
		{0x0303, []uint16{0x0303, 0x0304}, "13"},
		{0x0301, []uint16{0xfafa, 0x0303, 0x0302}, "12"},
		{0x0302, []uint16{0x0a0a}, "11"},
		{0x0302, nil, "11"},
		{0x0301, nil, "10"},
		{0x0300, nil, "s3"},
		{0x0002, nil, "s2"},
		{0x0200, nil, "00"},
		{0x0303, []uint16{0x7f1c, 0x0303}, "00"},
	}
	for _, tt := range tests {
		spec := helloSpec{version: tt.legacy}
		if tt.supported != nil {
			spec.exts = [][]byte{supportedVersions(tt.supported...)}
		}
		if got := mustParse(t, spec.wire()).JA4()[1:3]; got != tt.want {
			t.Errorf("legacy %04x, supported %04x: got %s, want %s", tt.legacy, tt.supported, got, tt.want)
		}
	}
}

func TestJA4ALPN(t *testing.T) {
	for proto, want := range map[string]string{
		"h2": "h2", "http/1.1": "h1", "q": "qq", "\xab": "ab", "\xab\xcd": "ad", "0\xab": "3b",
		"01\xab\xcd": "3d", "0\xab\xcd1": "01", " ": "20", "a ": "60",
	} {
		h := mustParse(t, helloSpec{exts: [][]byte{alpn(proto, "h3")}}.wire())
		if got := h.JA4()[8:10]; got != want {
			t.Errorf("%q: got %s, want %s", proto, got, want)
		}
	}
}

func TestJA4CountsAnAddressAsADomain(t *testing.T) {
	h := mustParse(t, helloSpec{exts: [][]byte{serverName("192.0.2.1")}}.wire())
	if got := h.JA4()[3]; got != 'd' {
		t.Errorf("got %c, want d", got)
	}
}
