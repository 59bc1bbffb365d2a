package l4

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"testing"
	"time"

	"culvert/sniff"
)

// mutate changes a few bytes of wire.
func mutate(rng *rand.Rand, wire []byte) []byte {
	b := slices.Clone(wire)
	for range 1 + rng.IntN(4) {
		if len(b) < 2 {
			return append(b, 22)
		}
		at := rng.IntN(len(b))
		if rng.IntN(2) == 0 {
			at = rng.IntN(min(len(b), 64)) // headers decide most
		}
		n := min(1+rng.IntN(40), len(b)-at)
		switch rng.IntN(6) {
		case 0:
			b[at] ^= 1 << rng.IntN(8)
		case 1:
			b[at] = byte(rng.Uint32())
		case 2:
			b = slices.Delete(b, at, at+n)
		case 3:
			b = slices.Insert(b, at, slices.Clone(b[at:at+n])...)
		case 4:
			b = b[:at+1]
		case 5:
			b[at] = []byte{0, 1, 0x7f, 0x80, 0xff}[rng.IntN(5)]
		}
	}
	return b
}

func TestP6MutatedHellosAreClosedOrRouted(t *testing.T) {
	o := startOrigin(t, echo)
	pool := roundRobin(t, o.addr)
	l := tlsListener(t, &Route{Pool: pool}, &Route{ServerName: "chat.example.com", Pool: pool})
	r := startRig(t, &Config{Listeners: []*Listener{l}, Loops: 2})
	small, big := smallHello(t), chatHello(t)
	seeds := [][]byte{
		small, big, tlsRecords(messageOf(small), 3, 50, 7), tinyRecords(messageOf(small)),
		craftHello(sniExtension("chat.example.com"), alpnExtension("h2", "http/1.1"), pskExtension(5000)),
	}
	seed := uint64(time.Now().UnixNano())
	rng := rand.New(rand.NewPCG(seed, 0))
	t.Logf("seed %d", seed)
	const batch = 100
	for round := range soak(2000, 1e6) / batch {
		var silent []net.Conn
		for n := range batch {
			b := mutate(rng, seeds[rng.IntN(len(seeds))])
			c := r.dial(0)
			_, _ = c.Write(b)
			if n%4 == 0 { // leaves it to the engine to end this
				silent = append(silent, c)
				continue
			}
			_ = c.(*net.TCPConn).CloseWrite()
			if _, err := io.ReadAll(c); errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatalf("% x: not ended in time", b)
			}
			c.Close()
		}
		eventually(t, "all are accepted", func() bool { return r.e.Stats().Listeners[0].Accepted == uint64(batch*(round+1)) })
		r.advance(DefaultHelloTimeout + time.Second)
		for _, c := range silent {
			c.Close() // those that were routed
		}
		for range batch {
			r.next()
		}
	}
	r.wantEchoed("a good hello", big)
}

// FuzzSegments checks that the cuts between segments change nothing: the
// engine does with the bytes what the parser says of them as a whole.
func FuzzSegments(f *testing.F) {
	o := startOrigin(f, echo)
	pool := roundRobin(f, o.addr)
	r := startRig(f, &Config{Listeners: []*Listener{tlsListener(f, &Route{Pool: pool}, &Route{ServerName: "chat.example.com", Pool: pool})}, Loops: 1})
	f.Add(smallHello(f), uint16(7), uint16(100))
	f.Add(tinyRecords(messageOf(smallHello(f))), uint16(3), uint16(9))
	for _, bad := range badHellos() {
		f.Add(bad.wire, uint16(1), uint16(2))
	}
	f.Fuzz(func(t *testing.T, wire []byte, first, second uint16) {
		if len(wire) == 0 || len(wire) > 40000 {
			return
		}
		a := int(first) % len(wire)
		b := a + int(second)%(len(wire)-a)
		c, err := net.DialTimeout("tcp", r.addrs[0], patience)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(patience))
		got, err := r.bounce(c, wire[:a], wire[a:b], wire[b:])
		if errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal("not ended in time")
		}
		var reject *sniff.Reject
		want := wire
		switch verdict := new(sniff.Parser).Parse(wire, new(sniff.Hello)); {
		case errors.As(verdict, &reject):
			want = reject.Alert.AppendRecord(nil)
		case verdict != nil:
			want = nil
		}
		if !bytes.Equal(got, want) {
			t.Errorf("got % x, %v, want % x", got, err, want)
		}
	})
}
