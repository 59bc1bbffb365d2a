package balancer

import (
	"bytes"
	"strings"
	"testing"

	"github.com/cespare/xxhash/v2"
)

// sumOf hashes a key of 16 bytes and an identity with a prefix and a suffix.
func sumOf(addr []byte, identity string) uint64 {
	s := newSuffix(identity)
	var p prefix
	p.set(key{word(addr[:8]), word(addr[8:])}, s.size >= 32)
	return s.sum(&p)
}

func TestSumEqualsLibrary(t *testing.T) {
	addr := []byte("\x20\x01\x0d\xb8\x00\xff\x80\x7f0123456\xfe")
	text := strings.Repeat("chat-7.example.com:8065\xff\x00\x80", 10)
	for n := range len(text) {
		want := xxhash.Sum64String(string(addr) + text[:n])
		if got := sumOf(addr, text[:n]); got != want {
			t.Errorf("identity of %d bytes: %016x, want %016x", n, got, want)
		}
	}
}

func TestHashKeyEqualsLibrary(t *testing.T) {
	addr := []byte("\x20\x01\x0d\xb8\x00\xff\x80\x7f0123456\xfe")
	want := xxhash.Sum64(addr)
	if got := hashKey(key{word(addr[:8]), word(addr[8:])}); got != want {
		t.Errorf("%016x, want %016x", got, want)
	}
}

func FuzzSumEqualsLibrary(f *testing.F) {
	f.Add(bytes.Repeat([]byte{0}, 16), "10.0.0.1:443")
	f.Add(bytes.Repeat([]byte{0xff}, 16), "[2001:db8:1234:5678:9abc:def0:1234:5678]:44300")
	f.Fuzz(func(t *testing.T, addr []byte, identity string) {
		if len(addr) != 16 {
			return
		}
		want := xxhash.Sum64String(string(addr) + identity)
		if got := sumOf(addr, identity); got != want {
			t.Errorf("%x %q: %016x, want %016x", addr, identity, got, want)
		}
	})
}
