package sniff

import (
	"errors"
	"strings"
	"testing"
)

const v2Start = "\r\n\r\n\x00\r\nQUIT\n\x21\x11"

func TestProxyHeader(t *testing.T) {
	line := "PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\r\n"
	longest := "PROXY UNKNOWN " + strings.Repeat("f", maxProxyV1-16) + "\r\n"
	tests := []struct {
		name string
		in   string
		n    int
		err  error
	}{
		{"version 1", line, len(line), nil},
		{"version 1 and a hello", line + "\x16\x03\x01", len(line), nil},
		{"version 1, the longest", longest, maxProxyV1, nil},
		{"version 1, too long", strings.TrimSuffix(longest, "\r\n") + "f\r\n", 0, ErrNotProxy},
		{"version 1 without an end", strings.Repeat("PROXY ", 20), 0, ErrNotProxy},
		{"a line feed alone", "PROXY UNKNOWN\n", 0, ErrNotProxy},
		{"version 2", v2Start + "\x00\x0c123456789012", 28, nil},
		{"version 2 and a hello", v2Start + "\x00\x0c123456789012\x16", 28, nil},
		{"version 2, the longest", v2Start + "\x10\x00" + strings.Repeat("x", MaxProxyV2), 16 + MaxProxyV2, nil},
		{"version 2, too long", v2Start + "\x10\x01", 0, ErrNotProxy},
		{"version 2 of 64 KiB", v2Start + "\xff\xff", 0, ErrNotProxy},
		{"a hello", "\x16\x03\x01\x02\x00\x01", 0, ErrNotProxy},
		{"almost the first", "PROXX", 0, ErrNotProxy},
		{"almost the second", "\r\n\r\n\x00\r\nQUIX", 0, ErrNotProxy},
		{"nothing", "", 0, ErrNeedMore},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n, err := ProxyHeader([]byte(tt.in))
			if n != tt.n || !errors.Is(err, tt.err) {
				t.Errorf("ProxyHeader = %d, %v, want %d, %v", n, err, tt.n, tt.err)
			}
		})
	}
}

// TestProxyHeaderInPieces: every strict prefix of a header gives ErrNeedMore.
func TestProxyHeaderInPieces(t *testing.T) {
	for _, whole := range []string{"PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\r\n", v2Start + "\x00\x0c123456789012"} {
		for i := range len(whole) {
			if n, err := ProxyHeader([]byte(whole[:i])); !errors.Is(err, ErrNeedMore) {
				t.Errorf("%d bytes of %q: %d, %v, want ErrNeedMore", i, whole, n, err)
			}
		}
	}
}

func FuzzProxyHeader(f *testing.F) {
	f.Add([]byte("PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\r\n"))
	f.Add([]byte(v2Start + "\x00\x0c123456789012"))
	f.Fuzz(func(t *testing.T, b []byte) {
		n, err := ProxyHeader(b)
		switch {
		case err == nil && (n <= 0 || n > len(b) || n > 16+MaxProxyV2):
			t.Fatalf("a header of %d bytes in %d", n, len(b))
		case err == nil:
			if again, err := ProxyHeader(b[:n]); again != n || err != nil {
				t.Fatalf("the header alone: %d, %v, with what follows %d", again, err, n)
			}
		case errors.Is(err, ErrNeedMore) && len(b) >= 16+MaxProxyV2:
			t.Fatalf("still needs more after %d bytes", len(b))
		}
	})
}
