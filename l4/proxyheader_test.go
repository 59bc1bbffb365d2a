package l4

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"strings"
	"testing"

	"culvert/sniff"
)

// v2 is a version 2 header.
func v2(command, family byte, rest string) string {
	b := []byte("\r\n\r\n\x00\r\nQUIT\n")
	b = append(b, command, family)
	b = binary.BigEndian.AppendUint16(b, uint16(len(rest)))
	return string(b) + rest
}

const (
	inet4 = "\xc0\x00\x02\x07\xc6\x33\x64\x01\xdc\x04\x01\xbb" // 192.0.2.7:56324 to 198.51.100.1:443
	crc   = "\x03\x00\x04"
)

func TestParseProxyHeader(t *testing.T) {
	inet6 := strings.Repeat("\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x07", 2) + "\xdc\x04\x01\xbb"
	mapped := strings.Repeat("\x00", 10) + "\xff\xff\xc0\x00\x02\x07" + strings.Repeat("\x00", 10) + "\xff\xff\xc6\x33\x64\x01" + "\xdc\x04\x01\xbb"
	tests := []struct {
		name, in      string
		client, local string // "": none
	}{
		{"version 1", "PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\r\n", "192.0.2.7:56324", "198.51.100.1:443"},
		{"version 1, IPv6", "PROXY TCP6 2001:db8::7 2001:db8::7 56324 443\r\n", "[2001:db8::7]:56324", "[2001:db8::7]:443"},
		{"version 1, unknown", "PROXY UNKNOWN\r\n", "", ""},
		{"version 1, unknown with addresses", "PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", "", ""},
		{"version 2", v2(0x21, 0x11, inet4), "192.0.2.7:56324", "198.51.100.1:443"},
		{"version 2, IPv6", v2(0x21, 0x21, inet6), "[2001:db8::7]:56324", "[2001:db8::7]:443"},
		{"version 2, mapped", v2(0x21, 0x21, mapped), "192.0.2.7:56324", "198.51.100.1:443"},
		{"version 2 with values that are no text", v2(0x21, 0x11, inet4+"\x02\x00\x02\xff\xfe"), "192.0.2.7:56324", "198.51.100.1:443"},
		{"local", v2(0x20, 0x00, ""), "", ""},
		{"local with addresses", v2(0x20, 0x11, inet4), "", ""},
		{"of no family", v2(0x21, 0x00, ""), "", ""},
		{"of no family, with values", v2(0x21, 0x00, "\x02\x00\x01a"), "", ""},
		{"unix", v2(0x21, 0x31, strings.Repeat("a", 216)), "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a, err := parseProxyHeader([]byte(tt.in))
			if err != nil {
				t.Fatal(err)
			}
			if got := written(a.client); got != tt.client {
				t.Errorf("client %q, want %q", got, tt.client)
			}
			if got := written(a.local); got != tt.local {
				t.Errorf("local address %q, want %q", got, tt.local)
			}
		})
	}
}

func written(a netip.AddrPort) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

func TestParseProxyHeaderRefuses(t *testing.T) {
	for _, in := range []string{
		"PROXY\r\n", "PROXY \r\n", "PROXY TCP5 192.0.2.7 198.51.100.1 56324 443\r\n", "PROXY tcp4 192.0.2.7 198.51.100.1 56324 443\r\n",
		"PROXY TCP4 192.0.2.7 198.51.100.1 56324\r\n", "PROXY TCP4 192.0.2.7 198.51.100.1 56324 443 1\r\n",
		"PROXY  TCP4 192.0.2.7 198.51.100.1 56324 443\r\n", "PROXY TCP4 192.0.2.7  198.51.100.1 56324 443\r\n",
		"PROXY TCP4 192.0.2.7 198.51.100.1 56324 443 \r\n", "PROXY TCP4 192.0.2.07 198.51.100.1 56324 443\r\n",
		"PROXY TCP4 192.0.2 198.51.100.1 56324 443\r\n", "PROXY TCP4 192.0.2.256 198.51.100.1 56324 443\r\n",
		"PROXY TCP4 192.0.2.7 198.51.100.1 56324 0443\r\n", "PROXY TCP4 192.0.2.7 198.51.100.1 65536 443\r\n",
		"PROXY TCP4 192.0.2.7 198.51.100.1 -1 443\r\n", "PROXY TCP4 192.0.2.7 198.51.100.1 +1 443\r\n",
		"PROXY TCP4 192.0.2.7 198.51.100.1 0x1 443\r\n", "PROXY TCP4 192.0.2.7 198.51.100.1  443\r\n",
		"PROXY TCP4 2001:db8::7 2001:db8::8 56324 443\r\n", "PROXY TCP6 192.0.2.7 198.51.100.1 56324 443\r\n",
		"PROXY TCP4 192.0.2.7 2001:db8::8 56324 443\r\n", "PROXY TCP6 fe80::1%eth0 fe80::2 56324 443\r\n",
		"PROXY TCP6 [2001:db8::7] [2001:db8::8] 56324 443\r\n", "PROXY TCP6 2001:db8:::7 2001:db8::8 56324 443\r\n",
		"PROXY TCP4 chat.example.com 198.51.100.1 56324 443\r\n",
		v2(0x11, 0x11, inet4), v2(0x22, 0x11, inet4), v2(0x2f, 0x11, inet4), v2(0x21, 0x41, inet4), v2(0x21, 0x13, inet4),
		v2(0x21, 0x11, inet4[:11]), v2(0x21, 0x21, inet4), v2(0x21, 0x11, inet4+crc+"\x00\x00\x00\x01"),
	} {
		n, err := sniff.ProxyHeader([]byte(in))
		if err != nil {
			continue // no header at all, which is as good
		}
		if a, err := parseProxyHeader([]byte(in)[:n]); err == nil {
			t.Errorf("%q was taken for %v", in, a)
		}
	}
}

// TestProxyHeader: what is written says what it was told, and the checksum
// holds until a bit changes.
func TestProxyHeader(t *testing.T) {
	v4, v6 := netip.MustParseAddrPort("192.0.2.7:56324"), netip.MustParseAddrPort("[2001:db8::7]:443")
	tests := []struct {
		name string
		says announcement
		want announcement
	}{
		{"IPv4", announcement{v4, v4}, announcement{v4, v4}},
		{"IPv6", announcement{v6, v6}, announcement{v6, v6}},
		{"both", announcement{v4, v6}, announcement{v4, v6}},
		{"neither", announcement{}, announcement{}},
	}
	for _, tt := range tests {
		for _, v := range []ProxyVersion{ProxyV1, ProxyV2} {
			b, err := proxyHeader(v, Caller{tt.says.client, tt.says.local, "chat.example.com", "h2", "7-1"})
			if err != nil {
				t.Fatal(tt.name, err)
			}
			if n, err := sniff.ProxyHeader(b); n != len(b) || err != nil {
				t.Errorf("%s: header of %d bytes is framed as %d, %v", tt.name, len(b), n, err)
			}
			if got, err := parseProxyHeader(b); got != tt.want || err != nil {
				t.Errorf("%s, version %d: %v, %v", tt.name, v, got, err)
			}
			if v == ProxyV2 {
				checkSums(t, b)
			}
		}
	}
}

func checkSums(t *testing.T, b []byte) {
	t.Helper()
	for _, s := range []string{"chat.example.com", "h2", "7-1"} {
		if !bytes.Contains(b, []byte(s)) {
			t.Errorf("%q is not in %q", s, b)
		}
	}
	for i := 16; i < len(b); i++ {
		b[i] ^= 1
		if a, err := parseProxyHeader(b); err == nil && a.client.IsValid() && crcOffset(b) >= 0 {
			t.Errorf("a changed bit in byte %d goes unnoticed: %v", i, a)
		}
		b[i] ^= 1
	}
}

// TestProxyHeaderForItself: there is no client to tell of, and version 2 has a
// checksum, which was computed with another program.
func TestProxyHeaderForItself(t *testing.T) {
	tests := []struct {
		name    string
		version ProxyVersion
		want    string
	}{
		{"off", ProxyOff, ""},
		{"version 1", ProxyV1, "PROXY UNKNOWN\r\n"},
		{"version 2", ProxyV2, v2(0x20, 0x00, crc+"\xa9\xb8\x7e\x8f")},
	}
	for _, tt := range tests {
		got, err := proxyHeader(tt.version, Caller{})
		if err != nil || string(got) != tt.want {
			t.Errorf("%s: got %q, %v, want %q", tt.name, got, err, tt.want)
		}
	}
}

func FuzzParseProxyHeader(f *testing.F) {
	f.Add([]byte("PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\r\n"))
	f.Add([]byte(v2(0x21, 0x11, inet4)))
	f.Add([]byte(v2(0x21, 0x11, inet4+crc+"\x00\x00\x00\x01")))
	f.Fuzz(func(t *testing.T, b []byte) {
		n, err := sniff.ProxyHeader(b)
		if err != nil {
			return
		}
		a, err := parseProxyHeader(b[:n])
		if err == nil && (a.client.Addr().Zone() != "" || a.client.IsValid() != a.local.IsValid()) {
			t.Fatalf("%v", a)
		}
	})
}
