package l4

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"syscall"
	"testing"
)

// transfer sends n bytes from one end to the other, with the FIN behind
// them, and checks what arrives.
func transfer(from, to *net.TCPConn, seed uint64, n int64) error {
	sent := make(chan error, 1)
	go func() {
		err := (&pattern{seed: seed}).send(from, n)
		sent <- errors.Join(err, from.CloseWrite())
	}()
	got, err := (&pattern{seed: seed}).check(to)
	if err == nil && got != n {
		err = fmt.Errorf("got %d bytes, want %d", got, n)
	}
	return errors.Join(err, <-sent)
}

var streamSizes = []int64{0, 1, 2, 1000, 4096, 16 << 10, 64<<10 - 1, 64 << 10, 64<<10 + 1, 128 << 10, 200_000, 256 << 10, 1 << 20, 10 << 20}

func TestP9HalfCloseIsKept(t *testing.T) {
	p := startPairs(t, 0, nil)
	for round := range soak(4, 80) {
		for _, n := range streamSizes {
			for _, m := range streamSizes[round%2*7 : round%2*7+7] {
				if n+m > 11<<20 {
					continue
				}
				c, s := p.connect()
				first, second, by := c, s, Client
				if round/2%2 == 1 {
					first, second, by = s, c, Server
				}
				if err := transfer(first, second, 1, n); err != nil {
					t.Fatalf("%d bytes from the %v: %v", n, by, err)
				}
				if err := transfer(second, first, 2, m); err != nil {
					t.Fatalf("%d bytes to the %v, which has ended after %d: %v", m, by, n, err)
				}
				if rec := p.next(); rec.Reason != ReasonClosed || rec.EndedBy != by || rec.BytesUp+rec.BytesDown != uint64(n+m) {
					t.Fatalf("got record %+v, want %d bytes, closed by %v", rec, n+m, by)
				}
				c.Close()
				s.Close()
			}
		}
	}
}

func noHalfClose(c *Config) { c.Listeners[0].Session.KeepHalfClose = SwitchOff }

func TestWithoutHalfCloseTheServersEndEndsBoth(t *testing.T) {
	p := startPairs(t, 0, noHalfClose)
	for i := range soak(100, 1000) {
		n := streamSizes[i%len(streamSizes)]
		c, s := p.connect()
		if err := transfer(s, c, 1, n); err != nil {
			t.Fatal(err)
		}
		if err := lastWord(s); !isErr(err, io.EOF) {
			t.Fatalf("the server got %v, want its connection closed", err)
		}
		c.Close()
		if rec := p.next(); rec.Reason != ReasonClosed || rec.EndedBy != Server || rec.BytesDown != uint64(n) {
			t.Fatalf("got record %+v", rec)
		}
	}
}

func TestWithoutHalfCloseTheClientsEndEndsBoth(t *testing.T) {
	p := startPairs(t, 0, noHalfClose)
	for i := range soak(100, 1000) {
		n := streamSizes[i%len(streamSizes)]
		c, s := p.connect()
		if err := transfer(c, s, 1, n); err != nil {
			t.Fatal(err)
		}
		if err := lastWord(c); !isErr(err, io.EOF) {
			t.Fatalf("the client got %v, want its connection closed", err)
		}
		if rec := p.next(); rec.Reason != ReasonClosed || rec.EndedBy != Client || rec.BytesUp != uint64(n) {
			t.Fatalf("got record %+v", rec)
		}
		s.Close()
	}
}

// A server that answers and ends without reading what the client still sends:
// a close with unread input is a reset, which destroys what the client has not
// got yet.
func TestWithoutHalfCloseUnreadInputSparesTheAnswer(t *testing.T) {
	const answer = 100_000
	for _, unread := range []int{1, 1000, 40 << 10} {
		t.Run(fmt.Sprint(unread), func(t *testing.T) {
			p := startPairs(t, 4096, func(c *Config) { noHalfClose(c); c.Loops = 1 })
			for range soak(3, 200) {
				c, s := p.connect()
				p.on(func(_ *loop, c *conn) { // the answer is to fit into the engine's send buffer
					_ = syscall.SetsockoptInt(int(c.ends[client].fd), syscall.SOL_SOCKET, syscall.SO_SNDBUF, 4*answer)
				})
				// The server reads nothing, so what the client sends stays
				// with the engine once the way to the server is full.
				for blocked := false; !blocked; {
					_, _ = c.Write(make([]byte, 1000))
					acknowledged(t, c)
					p.on(func(_ *loop, c *conn) { blocked = c.ends[server].blocked })
				}
				_, _ = c.Write(make([]byte, unread))
				acknowledged(t, c)
				if err := (&pattern{seed: 3}).send(s, answer); err != nil {
					t.Fatal(err)
				}
				_ = s.CloseWrite()
				if rec := p.next(); rec.Reason != ReasonClosed || rec.BytesDown != answer {
					t.Fatalf("got record %+v", rec)
				}
				if n, err := (&pattern{seed: 3}).check(c); n != answer || err != nil {
					t.Fatalf("the client got %d bytes, %v, want the %d of the answer and its end", n, err, answer)
				}
				c.Close()
				s.Close()
			}
		})
	}
}

func TestBothCloseAtOnce(t *testing.T) {
	p := startPairs(t, 0, nil)
	for i := range soak(200, 10000) {
		c, s := p.connect()
		if i%2 == 0 {
			_, _ = c.Write([]byte("last words"))
			_, _ = io.ReadFull(s, make([]byte, 10))
		}
		var wg sync.WaitGroup
		wg.Go(func() { c.Close() })
		wg.Go(func() { s.Close() })
		wg.Wait()
		if rec := p.next(); rec.Reason != ReasonClosed || rec.EndedBy == Culvert {
			t.Fatalf("got %v by %v, want %v", rec.Reason, rec.EndedBy, ReasonClosed)
		}
	}
}

// The last bytes and the FIN may come in one segment, and in one event.
func TestFINInTheSegmentOfTheLastByte(t *testing.T) {
	p := startPairs(t, 0, func(c *Config) { c.Loops = 1 })
	for i := range soak(8, 100) * len(streamSizes) {
		n := streamSizes[i%len(streamSizes)]
		c, s := p.connect()
		for _, d := range []struct{ from, to *net.TCPConn }{{c, s}, {s, c}} {
			release := func() {}
			if n < 32<<10 && i/len(streamSizes)%2 == 0 {
				release = p.hold()
			}
			cork(t, d.from)
			sent := make(chan error, 1)
			go func() {
				err := (&pattern{seed: 9}).send(d.from, n)
				sent <- errors.Join(err, d.from.CloseWrite())
				release()
			}()
			if got, err := (&pattern{seed: 9}).check(d.to); got != n || err != nil {
				t.Fatalf("got %d bytes, %v, want %d", got, err, n)
			}
			if err := <-sent; err != nil {
				t.Fatal(err)
			}
		}
		if rec := p.next(); rec.Reason != ReasonClosed {
			t.Fatalf("got %v", rec.Reason)
		}
	}
}

func cork(t testing.TB, c *net.TCPConn) {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	_ = raw.Control(func(fd uintptr) { err = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_CORK, 1) })
	if err != nil {
		t.Fatal(err)
	}
}
