package sniff

import (
	"bytes"
	"testing"
)

// benchSample returns the capture that stands for the usual hello: curl's,
// which OpenSSL pads to 517 bytes.
func benchSample(b *testing.B) []byte {
	wire := fileSamples(b)[2].wire
	if len(wire) != 517 {
		b.Fatalf("sample has %d bytes, want 517", len(wire))
	}
	return wire
}

// benchmarkParse measures what a router asks: the name, a protocol, flags.
func benchmarkParse(b *testing.B, wire []byte) {
	var p Parser
	var h Hello
	b.SetBytes(int64(len(wire)))
	b.ReportAllocs()
	for b.Loop() {
		p.Reset()
		if err := p.Parse(wire, &h); err != nil {
			b.Fatal(err)
		}
		if bytes.Equal(h.ServerName(), wire) || h.OffersALPN("acme-tls/1") || h.EarlyData {
			b.Fatal("wrong facts")
		}
	}
}

func BenchmarkParse517(b *testing.B) { benchmarkParse(b, benchSample(b)) }

func BenchmarkParsePostQuantum(b *testing.B) { benchmarkParse(b, goSamples(b)[0].wire) }

func BenchmarkParseTinyRecords(b *testing.B) {
	benchmarkParse(b, tinyRecords(joined(b, benchSample(b))))
}

func BenchmarkParseTwoRecords(b *testing.B) {
	benchmarkParse(b, records(joined(b, goSamples(b)[0].wire), 1000))
}

// BenchmarkParse8000Extensions is the most that an accepted hello can cost.
func BenchmarkParse8000Extensions(b *testing.B) {
	benchmarkParse(b, helloSpec{exts: manyTypes(1000, 8000)}.wire())
}

// BenchmarkParseByteByByte has every byte arrive alone: 517 calls an operation.
func BenchmarkParseByteByByte(b *testing.B) { benchmarkArrival(b, benchSample(b)) }

// BenchmarkParseTinyRecordsByteByByte is the worst arrival of the worst framing.
func BenchmarkParseTinyRecordsByteByByte(b *testing.B) {
	benchmarkArrival(b, tinyRecords(joined(b, benchSample(b))))
}

func benchmarkArrival(b *testing.B, wire []byte) {
	var p Parser
	var h Hello
	b.SetBytes(int64(len(wire)))
	b.ReportAllocs()
	for b.Loop() {
		p.Reset()
		for n := range wire {
			if err := p.Parse(wire[:n], &h); err != ErrNeedMore {
				b.Fatal(err)
			}
		}
		if err := p.Parse(wire, &h); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkJA4(b *testing.B) {
	h := mustParse(b, benchSample(b))
	b.ReportAllocs()
	for b.Loop() {
		h.JA4()
	}
}

func BenchmarkAppendName(b *testing.B) {
	name, dst := []byte("Chat.Example.com"), make([]byte, 0, maxNameLen)
	b.SetBytes(int64(len(name)))
	b.ReportAllocs()
	for b.Loop() {
		AppendName(dst, name)
	}
}
