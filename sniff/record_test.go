package sniff

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// usual is a hello with everything that the parser reads.
func usual() helloSpec {
	return helloSpec{
		session: bytes.Repeat([]byte{7}, 32),
		suites:  u16list(0x0a0a, 0x1301, 0x1302, 0xc02b),
		exts: [][]byte{
			ext(0x1a1a, nil), serverName("Chat.Example.com"), ext(23, nil), alpn("h2", "http/1.1"),
			signatureAlgorithms(0x0403, 0x0804), supportedVersions(0x2a2a, 0x0304, 0x0303), ext(0xff01, []byte{0}),
		},
	}
}

func TestHelloInOneRecordIsNotCopied(t *testing.T) {
	wire := append(usual().wire(), "early data"...)
	var j joiner
	msg, err := j.join(wire, DefaultLimit, new([]byte))
	if err != nil {
		t.Fatal(err)
	}
	if &msg[0] != &wire[recordHeaderLen] {
		t.Error("the message is a copy")
	}
	if got, want := len(msg), len(usual().message()); got != want || cap(msg) != want {
		t.Errorf("message has %d bytes, capacity %d, want %d of both", got, cap(msg), want)
	}
}

func TestHelloSplitAcrossRecords(t *testing.T) {
	for _, s := range allSamples(t) {
		t.Run(s.name, func(t *testing.T) {
			want := factsOf(mustParse(t, s.wire))
			msg := joined(t, s.wire)
			for i := 1; i < len(msg); i += stride(msg) {
				wire := records(msg, i)
				h := mustParse(t, wire)
				if diff := cmp.Diff(want, factsOf(h)); diff != "" {
					t.Fatalf("split at %d: (-want +got)\n%s", i, diff)
				}
				if h.Length != len(wire) || h.Trailing {
					t.Fatalf("split at %d: Length %d of %d, Trailing %v", i, h.Length, len(wire), h.Trailing)
				}
			}
		})
	}
}

func TestHelloInTwoSegments(t *testing.T) {
	for _, s := range allSamples(t) {
		t.Run(s.name, func(t *testing.T) {
			want := factsOf(mustParse(t, s.wire))
			var p Parser
			var h Hello
			for i := 1; i < len(s.wire); i += stride(s.wire) {
				p.Reset()
				if err := p.Parse(s.wire[:i], &h); err != ErrNeedMore {
					t.Fatalf("first %d bytes: got %v, want ErrNeedMore", i, err)
				}
				if err := p.Parse(s.wire, &h); err != nil {
					t.Fatalf("cut at %d: %v", i, err)
				}
				if diff := cmp.Diff(want, factsOf(&h)); diff != "" {
					t.Fatalf("cut at %d: (-want +got)\n%s", i, diff)
				}
			}
		})
	}
}

func TestHelloInOneByteRecordsAndSegments(t *testing.T) {
	for _, s := range allSamples(t) {
		t.Run(s.name, func(t *testing.T) {
			want := factsOf(mustParse(t, s.wire))
			wire := tinyRecords(joined(t, s.wire))
			p := Parser{Limit: len(wire)}
			var h Hello
			for i := range wire {
				if err := p.Parse(wire[:i], &h); err != ErrNeedMore {
					t.Fatalf("first %d of %d bytes: got %v, want ErrNeedMore", i, len(wire), err)
				}
			}
			if err := p.Parse(wire, &h); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, factsOf(&h)); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

// stride is 1, except for inputs so large that testing every offset takes
// seconds.
func stride(b []byte) int { return 1 + len(b)/4096*2 }

// joined returns the handshake message of an input made of whole records.
func joined(t testing.TB, wire []byte) []byte {
	t.Helper()
	var j joiner
	msg, err := j.join(wire, 1<<20, new([]byte))
	if err != nil {
		t.Fatalf("join: %v", err)
	}
	return slices.Clone(msg)
}

func TestTrailingBytesAreReportedAndNotChecked(t *testing.T) {
	hello := usual().wire()
	for _, tail := range []string{"\x17\x03\x03\x00\x05early", "garbage", "\x00"} {
		h := mustParse(t, append(slices.Clone(hello), tail...))
		if h.Length != len(hello) || !h.Trailing {
			t.Errorf("tail %q: Length %d, Trailing %v, want %d, true", tail, h.Length, h.Trailing, len(hello))
		}
	}
}

func TestParsingACompleteHelloAgainGivesTheSame(t *testing.T) {
	for name, wire := range map[string][]byte{
		"one record":   usual().wire(),
		"many records": tinyRecords(usual().message()),
	} {
		var p Parser
		var first, second Hello
		if err := p.Parse(wire, &first); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if err := p.Parse(append(slices.Clone(wire), 'x'), &second); err != nil {
			t.Fatalf("%s, again: %v", name, err)
		}
		if diff := cmp.Diff(factsOf(&first), factsOf(&second)); diff != "" || !second.Trailing {
			t.Errorf("%s: Trailing %v, (-first +second)\n%s", name, second.Trailing, diff)
		}
	}
}

// earliest has inputs with the number of bytes after which they are rejected:
// fewer bytes must give ErrNeedMore.
var earliest = []struct {
	name  string
	wire  string
	limit int
	at    int
	want  error
}{
	{name: "HTTP", wire: "GET / HTTP/1.1\r\n", at: 1, want: ErrNotTLS},
	{name: "SSH", wire: "SSH-2.0-OpenSSH_9.2\r\n", at: 1, want: ErrNotTLS},
	{name: "zero", wire: "\x00", at: 1, want: ErrNotTLS},
	{name: "PROXY v2 signature", wire: "\r\n\r\n\x00\r\nQUIT\n", at: 1, want: ErrNotTLS},
	{name: "heartbeat", wire: "\x18\x03\x03\x00\x01", at: 1, want: ErrNotTLS},
	{name: "high bit, no SSLv2", wire: "\x80\x2e\x02", at: 3, want: ErrNotTLS},
	{name: "SSLv2 hello", wire: "\x80\x2e\x01\x00\x02", at: 3, want: ErrSSLv2},
	{name: "SSLv2 hello for TLS", wire: "\x81\x03\x01\x03\x01", at: 3, want: ErrSSLv2},
	{name: "version 2", wire: "\x16\x02\x00\x00\x05", at: 2, want: ErrNotTLS},
	{name: "version 4", wire: "\x16\x04\x00\x00\x05", at: 2, want: ErrNotTLS},
	{name: "DTLS", wire: "\x16\xfe\xfd", at: 2, want: ErrNotTLS},
	{name: "alert", wire: "\x15\x03\x01\x00\x02\x01\x00", at: 2, want: ErrUnexpectedMessage},
	{name: "change cipher spec", wire: "\x14\x03\x01\x00\x01\x01", at: 2, want: ErrUnexpectedMessage},
	{name: "application data", wire: "\x17\x03\x03\x00\x05", at: 2, want: ErrUnexpectedMessage},
	{name: "alert type, no TLS", wire: "\x15GET", at: 2, want: ErrNotTLS},
	{name: "empty record", wire: "\x16\x03\x01\x00\x00", at: 5, want: ErrEmptyRecord},
	{name: "empty second record", wire: "\x16\x03\x01\x00\x01\x01\x16\x03\x01\x00\x00", at: 11, want: ErrEmptyRecord},
	{name: "record of 16385 bytes", wire: "\x16\x03\x01\x40\x01", at: 5, want: ErrRecordOverflow},
	{name: "record of 65535 bytes", wire: "\x16\x03\x01\xff\xff", at: 4, want: ErrRecordOverflow},
	{name: "server hello", wire: "\x16\x03\x01\x00\x30\x02", at: 6, want: ErrUnexpectedMessage},
	{name: "message of 2^24-1 bytes", wire: "\x16\x03\x01\x40\x00\x01\xff\xff\xff", at: 7, want: ErrTooLarge},
	{name: "message of 32760 bytes", wire: "\x16\x03\x01\x40\x00\x01\x00\x7f\xf8", at: 9, want: ErrTooLarge},
	{name: "message of 32760 bytes begun with a byte", wire: "\x16\x03\x01\x00\x01\x01\x16\x03\x01\x40\x00\x00\x7f\xf0", at: 14, want: ErrTooLarge},
	{name: "record beyond the limit", wire: "\x16\x03\x01\x02\x00\x01", limit: 512, at: 5, want: ErrTooLarge},
	{name: "record beyond the limit, of another message", wire: "\x16\x03\x01\x02\x00\x02\x00\x00\x01", limit: 512, at: 5, want: ErrTooLarge},
	{name: "limit too low for any message", wire: "\x16\x03\x01\x00\x01\x02", limit: 7, at: 5, want: ErrTooLarge},
	{name: "record larger than its message", wire: "\x16\x03\x01\x01\x00\x01\x00\x00\xfb", at: 9, want: ErrUnexpectedMessage},
	{name: "record larger than its message can be", wire: "\x16\x03\x01\x02\x00\x01\x00\x00", at: 8, want: ErrUnexpectedMessage},
	{name: "alert inside the hello", wire: "\x16\x03\x01\x00\x02\x01\x00\x15\x03\x01", at: 8, want: ErrUnexpectedMessage},
	{name: "data inside the hello", wire: "\x16\x03\x01\x00\x02\x01\x00\x17", at: 8, want: ErrUnexpectedMessage},
	{name: "version 2 inside the hello", wire: "\x16\x03\x01\x00\x02\x01\x00\x16\x02", at: 9, want: ErrMalformed},
	{name: "header split, size beyond its record", wire: "\x16\x03\x01\x00\x02\x01\x00\x16\x03\x01\x00\x10\x00\x0d", at: 14, want: ErrUnexpectedMessage},
}

func TestRejectsAsSoonAsHeadersDecide(t *testing.T) {
	for _, tt := range earliest {
		t.Run(tt.name, func(t *testing.T) {
			for _, wire := range []string{tt.wire, tt.wire[:tt.at]} {
				p := Parser{Limit: tt.limit}
				if got := p.Parse([]byte(wire), new(Hello)); got != tt.want {
					t.Errorf("%d bytes at once: got %v, want %v", len(wire), got, tt.want)
				}
			}
			p := Parser{Limit: tt.limit}
			for i := range tt.at {
				if got := p.Parse([]byte(tt.wire[:i]), new(Hello)); got != ErrNeedMore {
					t.Fatalf("first %d bytes: got %v, want ErrNeedMore", i, got)
				}
			}
			if got := p.Parse([]byte(tt.wire[:tt.at]), new(Hello)); got != tt.want {
				t.Errorf("byte by byte: got %v at %d, want %v", got, tt.at, tt.want)
			}
		})
	}
}

func TestAnyMinorRecordVersionIsAccepted(t *testing.T) {
	for minor := range 256 {
		wire := usual().wire()
		wire[2] = byte(minor)
		if err := parseOnce(wire); err != nil {
			t.Errorf("record version 3.%d: %v", minor, err)
		}
	}
}

func TestRejectIsFinal(t *testing.T) {
	var p Parser
	if err := p.Parse([]byte("x"), new(Hello)); err != ErrNotTLS {
		t.Fatalf("got %v, want ErrNotTLS", err)
	}
	if err := p.Parse(usual().wire(), new(Hello)); err != ErrNotTLS {
		t.Errorf("second call: got %v, want ErrNotTLS", err)
	}
	p.Reset()
	if err := p.Parse(usual().wire(), new(Hello)); err != nil {
		t.Errorf("after Reset: %v", err)
	}
}

func TestWaitingForARecordExaminesNoBytes(t *testing.T) {
	wire := usual().wire()
	var p Parser
	if err := p.Parse(wire[:9], new(Hello)); err != ErrNeedMore {
		t.Fatalf("got %v, want ErrNeedMore", err)
	}
	noise := make([]byte, len(wire)-1) // would be ErrNotTLS if it were read
	for i := 10; i <= len(noise); i++ {
		if err := p.Parse(noise[:i], new(Hello)); err != ErrNeedMore {
			t.Fatalf("%d bytes: got %v, want ErrNeedMore", i, err)
		}
	}
}

// padded returns a hello message of n bytes.
func padded(t *testing.T, n int) []byte {
	t.Helper()
	const padding = 21
	spec := usual()
	spec.exts = append(spec.exts, ext(padding, nil))
	fill := n - len(spec.message())
	spec.exts[len(spec.exts)-1] = ext(padding, make([]byte, fill))
	msg := spec.message()
	if len(msg) != n {
		t.Fatalf("built %d bytes, want %d", len(msg), n)
	}
	return msg
}

func TestLimitCountsBytesOnTheWire(t *testing.T) {
	tests := []struct {
		name  string
		limit int
		wire  func(msg []byte) []byte
		size  int // largest message that fits
	}{
		{"one record", 4096, func(m []byte) []byte { return records(m) }, 4096 - 5},
		{"default, largest records", 0, func(m []byte) []byte { return records(m) }, 32<<10 - 10},
		{"small first record", 4096, func(m []byte) []byte { return records(m, 2) }, 4096 - 10},
		{"tiny records", 0, tinyRecords, 32 << 10 / 6},
		{"large limit", 128 << 10, func(m []byte) []byte { return records(m) }, 1<<16 - 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := Parser{Limit: tt.limit}
			if err := p.Parse(tt.wire(padded(t, tt.size)), new(Hello)); err != nil {
				t.Errorf("%d bytes: %v", tt.size, err)
			}
			if tt.limit == 128<<10 {
				return // the extension block ends here, not the limit
			}
			p.Reset()
			if err := p.Parse(tt.wire(padded(t, tt.size+1)), new(Hello)); err != ErrTooLarge {
				t.Errorf("%d bytes: got %v, want ErrTooLarge", tt.size+1, err)
			}
		})
	}
}

func TestTooLargeIsKnownBeforeTheLimitIsReached(t *testing.T) {
	wire := tinyRecords(padded(t, 32<<10/6+1))
	var p Parser
	for i := range wire {
		err := p.Parse(wire[:i], new(Hello))
		if err == ErrTooLarge {
			if i > DefaultLimit {
				t.Errorf("decided at byte %d, want at most %d", i, DefaultLimit)
			}
			return
		}
		if err != ErrNeedMore {
			t.Fatalf("first %d bytes: %v", i, err)
		}
	}
	t.Error("not decided")
}

func TestNothingIsCopiedBeforeTheHelloIsComplete(t *testing.T) {
	wire := records(padded(t, 32000), 1, 16000)
	var p Parser
	var h Hello
	if err := p.Parse(wire[:len(wire)-1], &h); err != ErrNeedMore {
		t.Fatalf("got %v, want %v", err, ErrNeedMore)
	}
	if h.joined != nil {
		t.Errorf("%d bytes are held for an incomplete hello", cap(h.joined))
	}
	if err := p.Parse(wire, &h); err != nil {
		t.Fatal(err)
	}
	if got := cap(h.joined); got > DefaultLimit {
		t.Errorf("%d bytes are held for a joined hello, want at most %d", got, DefaultLimit)
	}
}

func TestResetKeepsTheLimit(t *testing.T) {
	p := Parser{Limit: 64}
	p.Parse([]byte("x"), new(Hello))
	p.Reset()
	if p.Limit != 64 {
		t.Errorf("Limit is %d, want 64", p.Limit)
	}
	if err := p.Parse(usual().wire(), new(Hello)); err != ErrTooLarge {
		t.Errorf("got %v, want ErrTooLarge", err)
	}
}

func TestReusedParserRemembersNothing(t *testing.T) {
	inputs := [][]byte{
		tinyRecords(usual().message()),
		helloSpec{}.wire(),
		[]byte("GET /"),
		usual().wire()[:20],
		records(padded(t, 12000), 3, 9000),
	}
	var p Parser
	var h Hello
	for i, a := range inputs {
		for k, b := range inputs {
			p.Reset()
			p.Parse(a, &h)
			p.Reset()
			got, want := p.Parse(b, &h), parseOnce(b)
			if !errors.Is(got, want) {
				t.Errorf("input %d after %d: got %v, want %v", k, i, got, want)
			}
			if want == nil {
				if diff := cmp.Diff(factsOf(mustParse(t, b)), factsOf(&h)); diff != "" {
					t.Errorf("input %d after %d: (-want +got)\n%s", k, i, diff)
				}
			}
		}
	}
}

func TestPrefixOfAcceptedInputNeedsMore(t *testing.T) {
	for _, size := range []int{1, 2, 3, 5, 100} {
		t.Run(fmt.Sprintf("records of %d", size), func(t *testing.T) {
			msg := usual().message()
			wire := records(msg, slices.Repeat([]int{size}, len(msg))...)
			for i := range wire {
				if err := parseOnce(wire[:i]); err != ErrNeedMore {
					t.Fatalf("first %d of %d bytes: got %v, want ErrNeedMore", i, len(wire), err)
				}
			}
		})
	}
}
