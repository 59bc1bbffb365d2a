package sniff

import (
	"slices"
	"testing"
)

func TestProtocolList(t *testing.T) {
	tests := []struct {
		name, list string
		want       []string
	}{
		{"empty", "", nil},
		{"one", "\x02h2", []string{"h2"}},
		{"two", "\x02h2\x08http/1.1", []string{"h2", "http/1.1"}},
		{"a comma", "\x03a,b\x01a", []string{"a,b", "a"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := ProtocolList(tt.list)
			var got []string
			for p := range l.All {
				got = append(got, string(p))
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			first := ""
			if len(tt.want) > 0 {
				first = tt.want[0]
			}
			if got := string(l.First()); got != first {
				t.Errorf("the first is %q, want %q", got, first)
			}
			for _, p := range []string{"h2", "http/1.1", "a", "b", "a,b", ""} {
				if got, want := l.OffersALPN(p), slices.Contains(tt.want, p); got != want {
					t.Errorf("offers %q: %t, want %t", p, got, want)
				}
			}
		})
	}
}

// TestProtocolListCutShort: iterating over a truncated list, which cannot come
// from a Hello, ends.
func TestProtocolListCutShort(t *testing.T) {
	n := 0
	for range ProtocolList("\x02h2\x08http").All {
		n++
	}
	if n > 2 {
		t.Errorf("%d protocols, want at most 2", n)
	}
}
