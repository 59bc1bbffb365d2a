package sniff

import (
	"bytes"
	"errors"
	"hash/fnv"
	"testing"
)

// A benchmark called reference is the baseline of those beside it and of their
// sub-benchmarks: a fixed piece of work whose speed does not depend on the
// package. bench/check compares the others with it in the same run.

// benchSample returns the capture used as the typical hello: that of curl, which
// OpenSSL pads to 517 bytes.
func benchSample(b *testing.B) []byte {
	wire := fileSamples(b)[2].wire
	if len(wire) != 517 {
		b.Fatalf("sample has %d bytes, want 517", len(wire))
	}
	return wire
}

// postQuantumSample returns a hello with a post-quantum key share and a
// ticket, which is what browsers send to a server that they know: 1.7 KB.
func postQuantumSample(b *testing.B) []byte {
	wire := resumption(b, nil)
	if len(wire) < 1600 || len(wire) > 1800 {
		b.Fatalf("sample has %d bytes, want about 1700", len(wire))
	}
	return wire
}

func BenchmarkParse517(b *testing.B) { benchmarkParse(b, benchSample(b)) }

func BenchmarkParsePostQuantum(b *testing.B) { benchmarkParse(b, postQuantumSample(b)) }

func BenchmarkParseTwoRecords(b *testing.B) {
	benchmarkParse(b, records(joined(b, postQuantumSample(b)), 1000))
}

// BenchmarkParseTinyRecords is the worst case of framing, and its byte-by-byte
// variant the worst case of arrival.
func BenchmarkParseTinyRecords(b *testing.B) {
	benchmarkParse(b, tinyRecords(joined(b, benchSample(b))))
}

// BenchmarkParse8000Extensions is the most expensive hello that is accepted.
func BenchmarkParse8000Extensions(b *testing.B) {
	benchmarkParse(b, helloSpec{exts: manyTypes(1000, 8000)}.wire())
}

// benchmarkParse measures what a router needs of a hello, for a hello that
// arrives at once and for one that arrives byte by byte. The reference is FNV-1a
// over the hello, which processes every byte like a parser, with one dependent
// multiplication for each.
func benchmarkParse(b *testing.B, wire []byte) {
	var p Parser
	var h Hello
	sum := fnv.New64a()
	benchmarkBytes(b, "at-once", wire, func() error {
		p.Reset()
		return whole(&p, &h, wire)
	})
	benchmarkBytes(b, "byte-by-byte", wire, func() error {
		p.Reset()
		for n := range wire {
			if err := p.Parse(wire[:n], &h); err != ErrNeedMore {
				return errors.Join(errors.New("whole before its end"), err)
			}
		}
		return whole(&p, &h, wire)
	})
	benchmarkBytes(b, "reference", wire, func() error {
		sum.Reset()
		_, err := sum.Write(wire)
		return err
	})
}

// whole parses the complete hello and reads its fields.
func whole(p *Parser, h *Hello, wire []byte) error {
	if err := p.Parse(wire, h); err != nil {
		return err
	}
	if bytes.Equal(h.ServerName(), wire) || h.OffersALPN("acme-tls/1") || h.EarlyData {
		return errors.New("wrong facts")
	}
	return nil
}

// benchmarkBytes measures an operation on bytes as a sub-benchmark. The first
// operation is not measured, because it grows the buffers.
func benchmarkBytes(b *testing.B, name string, bytes []byte, operate func() error) {
	b.Run(name, func(b *testing.B) {
		if err := operate(); err != nil {
			b.Fatal(err)
		}
		b.SetBytes(int64(len(bytes)))
		b.ReportAllocs()
		for b.Loop() {
			if err := operate(); err != nil {
				b.Fatal(err)
			}
		}
	})
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
	sum := fnv.New64a()
	benchmarkBytes(b, "mixed-case", name, func() error {
		_, err := AppendName(dst, name)
		return err
	})
	benchmarkBytes(b, "reference", name, func() error {
		sum.Reset()
		_, err := sum.Write(name)
		return err
	})
}
