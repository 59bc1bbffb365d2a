package load

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"culvert/bench/origin"
)

// TestMain lets the test binary be the servers' process.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "origin" {
		if origin.Command(os.Args[2:]) != nil {
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func servers(t *testing.T) *origin.Process {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p, err := origin.Start(context.Background(), self, 1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Stop)
	return p
}

func target(t *testing.T, addr string) Target {
	t.Helper()
	hello, err := Hello("chat.example.com")
	if err != nil {
		t.Fatal(err)
	}
	return Target{Addr: addr, Hello: hello, ServerName: "chat.example.com"}
}

func must(t *testing.T) func(Load, error) Load {
	return func(l Load, err error) Load {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
}

// TestLoads runs every load twice, as the harness does, and expects work and
// no errors.
func TestLoads(t *testing.T) {
	p := servers(t)
	plain, ctx := target(t, p.Plain[0]), context.Background()
	ended := endTLS(t)
	streams := func(d Direction) Load {
		s, err := NewStreams(ctx, plain, 3, d, p.Taken)
		return must(t)(s, err)
	}
	tests := []struct {
		name string
		load Load
	}{
		{"connections", NewConnections(plain, 4)},
		{"connections at a rate", NewConnectionsAtRate(plain, 200)},
		{"handshakes", NewHandshakes(target(t, p.TLS[0]), 2)},
		{"messages", must(t)(NewMessages(ctx, plain, MessageOptions{Size: 200, Conns: 4}))},
		{"messages at a rate", must(t)(NewMessages(ctx, plain, MessageOptions{Size: 200, Conns: 4, Rate: 200}))},
		{"responses", must(t)(NewResponses(ctx, plain, 100_000, 2))},
		{"visits over TLS", NewVisits(ended, RequestOptions{Secret: secret, Response: 1000, Conns: 2})},
		{"resumed visits", NewVisits(ended, RequestOptions{Secret: secret, Response: 1000, Conns: 2, Resume: true})},
		{"requests", must(t)(NewRequests(ctx, ended, RequestOptions{Secret: secret, Response: 1000, Conns: 2}))},
		{"uploads", must(t)(NewRequests(ctx, ended, RequestOptions{Secret: secret, Response: 2, Body: 100_000, Conns: 2}))},
		{"requests over HTTP/2", must(t)(NewRequests(ctx, ended, RequestOptions{Secret: secret, Response: 100_000, Conns: 2, Streams: 3}))},
		{"streams down", streams(Down)},
		{"streams up", streams(Up)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			defer tt.load.Close()
			for range 2 {
				within, cancel := context.WithTimeout(ctx, 150*time.Millisecond)
				out, err := tt.load.Run(within)
				cancel()
				if err != nil || out.Errors > 0 || out.Count+out.Bytes == 0 {
					t.Fatalf("got %d units, %d bytes, %d errors, the first %v; %v", out.Count, out.Bytes, out.Errors, out.FirstError, err)
				}
				if out.Latency != nil && out.Latency.TotalCount() < out.Count {
					t.Errorf("%d latencies of %d units", out.Latency.TotalCount(), out.Count)
				}
			}
		})
	}
}

// stallingEcho answers messages of one byte, but none while it is stalled.
type stallingEcho struct {
	net.Listener
	mu sync.Mutex
}

// wait lasts as long as the stall.
func (s *stallingEcho) wait() {
	s.mu.Lock()
	defer s.mu.Unlock()
}

func (s *stallingEcho) run(hello int) {
	for {
		c, err := s.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			buf := make([]byte, hello+8) // an order is 8 bytes
			if _, err := io.ReadFull(c, buf); err != nil {
				return
			}
			for {
				if _, err := io.ReadFull(c, buf[:1]); err != nil {
					return
				}
				s.wait()
				if _, err := c.Write(buf[:1]); err != nil {
					return
				}
			}
		}()
	}
}

// A server that stalls once for the time of 20 messages makes about 20 messages
// late: all that were due meanwhile, not only the one that was waiting
// (coordinated omission).
func TestStallMakesAllMessagesOfItsTimeLate(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	tg := target(t, ln.Addr().String())
	s := &stallingEcho{Listener: ln}
	go s.run(len(tg.Hello))
	const stall = 200 * time.Millisecond
	ctx, cancel := context.WithTimeout(context.Background(), 5*stall)
	defer cancel()
	m, err := NewMessages(ctx, tg, MessageOptions{Size: 1, Conns: 1, Rate: 100})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	s.mu.Lock()
	time.AfterFunc(stall, s.mu.Unlock)
	out, err := m.Run(ctx)
	if err != nil || out.Errors > 0 {
		t.Fatalf("%v, %v", err, out.FirstError)
	}
	late := int64(0)
	for _, b := range out.Latency.Distribution() {
		if b.From >= (stall / 4).Microseconds() {
			late += b.Count
		}
	}
	if late < 10 {
		t.Errorf("%d of %d messages are late by 50 ms, want most of the 15 that were due in the first 150 ms of the stall", late, out.Count)
	}
}

// A refused connection is counted as an error, and the load continues.
func TestErrorsAreCountedAndWorkGoesOn(t *testing.T) {
	p := servers(t)
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	out, err := NewConnections(target(t, p.Refused), 2).Run(ctx)
	if err != nil || out.Errors < 4 || !errors.Is(out.FirstError, syscall.ECONNREFUSED) {
		t.Errorf("got %d errors, the first %v; %v", out.Errors, out.FirstError, err)
	}
}

func TestHeldConnectionsArePingedAndCounted(t *testing.T) {
	p := servers(t)
	h, err := Hold(context.Background(), target(t, p.Plain[0]), 100)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	out, err := h.Ping(ctx, 200*time.Millisecond)
	if err != nil || out.Errors > 0 || out.Count < 100 {
		t.Errorf("%d pings, %d errors, %v; want every connection pinged", out.Count, out.Errors, err)
	}
	if lost := h.Lost(context.Background()); lost != 0 {
		t.Errorf("%d lost, want none", lost)
	}
	if err := p.Kill(0); err != nil {
		t.Fatal(err)
	}
	if lost := h.Lost(context.Background()); lost != 100 {
		t.Errorf("%d lost, want all", lost)
	}
}

func TestOpeningStopsAtTheFirstFailure(t *testing.T) {
	p := servers(t)
	if h, err := Hold(context.Background(), target(t, p.Refused), 1000); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("got %v, %v", h, err)
	}
}

func TestClientsComeFromTheirAddresses(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	tg := target(t, ln.Addr().String())
	tg.Sources = []netip.Addr{netip.MustParseAddr("127.1.0.1"), netip.MustParseAddr("127.1.0.2")}
	c, seen := &client{Target: tg}, map[netip.Addr]int{}
	for range 4 {
		near, err := c.dial(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		defer near.Close()
		far, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer far.Close()
		seen[netip.MustParseAddrPort(far.RemoteAddr().String()).Addr()]++
	}
	if seen[tg.Sources[0]] != 2 || seen[tg.Sources[1]] != 2 {
		t.Errorf("clients came from %v", seen)
	}
}

func TestFirstBytesOfAServerAndOfSilence(t *testing.T) {
	p := servers(t)
	if out := FirstBytes(context.Background(), target(t, p.TLS[0]), 10, 2, time.Minute); out.Count != 10 || out.Errors != 0 {
		t.Errorf("TLS: %d answers, %v", out.Count, out.FirstError)
	}
	if out := FirstBytes(context.Background(), target(t, p.Silent), 3, 3, 50*time.Millisecond); out.Count != 0 || out.Errors != 3 {
		t.Errorf("silence: %d answers, %d errors", out.Count, out.Errors)
	}
}
