package sniff

import (
	"strings"
	"testing"
)

func TestAppendName(t *testing.T) {
	label := strings.Repeat("a", 63)
	long := strings.Repeat(label+".", 3) + strings.Repeat("b", 61) // 253 bytes
	tests := []struct{ name, in, want string }{
		{"plain", "chat.example.com", "chat.example.com"},
		{"mixed case", "ChAt.eXaMpLe.COM", "chat.example.com"},
		{"trailing dot", "chat.example.com.", "chat.example.com"},
		{"one label", "Localhost", "localhost"},
		{"digits, hyphen, underscore", "_sip-1.9a", "_sip-1.9a"},
		{"hyphens at the edges", "-a-.example", "-a-.example"},
		{"IPv4", "192.0.2.1", "192.0.2.1"},
		{"longest label", label, label},
		{"longest name", long, long},
		{"longest name and a dot", long + ".", long},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := AppendName([]byte("x"), tt.in)
			if err != nil || string(got) != "x"+tt.want {
				t.Errorf("string: got %q, %v, want %q", got, err, "x"+tt.want)
			}
			got, err = AppendName(nil, []byte(tt.in))
			if err != nil || string(got) != tt.want {
				t.Errorf("bytes: got %q, %v, want %q", got, err, tt.want)
			}
		})
	}
}

func TestBadNames(t *testing.T) {
	label := strings.Repeat("a", 63)
	tests := []struct{ name, in string }{
		{"empty", ""},
		{"a dot", "."},
		{"two dots", ".."},
		{"leading dot", ".example"},
		{"empty label", "a..example"},
		{"two trailing dots", "example.."},
		{"label of 64", label + "a.example"},
		{"last label of 64", "a." + label + "a"},
		{"name of 254", strings.Repeat(label+".", 3) + strings.Repeat("b", 62)},
		{"name of 65535", strings.Repeat("a.", 32767) + "a"},
		{"wildcard", "*.example"},
		{"IPv6", "::1"},
		{"port", "a.example:443"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := AppendName([]byte("kept"), tt.in)
			if err != ErrBadName || string(got) != "kept" {
				t.Errorf("got %q, %v, want %q, ErrBadName", got, err, "kept")
			}
		})
	}
}

func TestNamesHoldOnlyLettersDigitsHyphensUnderscores(t *testing.T) {
	const allowed = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_."
	for c := range 256 {
		name := []byte{'a', byte(c), 'b'}
		_, err := AppendName(nil, name)
		if got, want := err == nil, strings.IndexByte(allowed, byte(c)) >= 0; got != want {
			t.Errorf("%q: accepted %v, want %v", name, got, want)
		}
	}
}

func TestIsIPLiteral(t *testing.T) {
	tests := map[string]bool{
		"0.0.0.0": true, "192.0.2.1": true, "255.255.255.255": true, "192.0.2.1.": true,
		"::": true, "::1": true, "2001:db8::1": true, "2001:DB8::A": true, "::ffff:192.0.2.1": true,
		"[::1]": true, "[2001:db8::1]": true, "fe80::1%eth0": true, "[fe80::1%25eth0]": true,
		"ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255": true,

		"": false, ".": false, "1": false, "1.2.3": false, "1.2.3.4.5": false, "256.0.0.1": false,
		"192.0.2.01": false, "0x7f.0.0.1": false, "1.2.3.4:80": false, "192.0.2.1..": false, "a.b.c.d": false,
		"[::1": false, "::1]": false, "[]": false, ":": false, ":::": false, "dead:beef": false,
		"::1%\x00": false, "::1%a b": false, "::g": false, "chat.example.com": false, "dead.beef": false,
		strings.Repeat("1", 64): false, "::1%" + strings.Repeat("e", 64): false,
	}
	for name, want := range tests {
		if got := IsIPLiteral(name); got != want {
			t.Errorf("IsIPLiteral(%q) = %v, want %v", name, got, want)
		}
		if got := IsIPLiteral([]byte(name)); got != want {
			t.Errorf("IsIPLiteral([]byte(%q)) = %v, want %v", name, got, want)
		}
	}
}

func TestNamesDoNotAllocate(t *testing.T) {
	name, dst := []byte("A-Rather-Long.Name.Of.A.Host.Chat.Example.com."), make([]byte, 0, 253)
	got := testing.AllocsPerRun(100, func() {
		if _, err := AppendName(dst, name); err != nil || IsIPLiteral(name) {
			t.Error("impossible")
		}
	})
	if got != 0 {
		t.Errorf("%v allocations, want 0", got)
	}
}
