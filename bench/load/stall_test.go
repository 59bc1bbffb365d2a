package load

import (
	"context"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// gatedEcho returns messages of one byte. Each but the first of a connection
// waits until gate is closed.
type gatedEcho struct {
	net.Listener
	hello    int // bytes that come first
	gate     chan struct{}
	accepted atomic.Int64
}

func startGatedEcho(t *testing.T) (*gatedEcho, Target) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	tg := target(t, ln.Addr().String())
	e := &gatedEcho{Listener: ln, hello: len(tg.Hello) + 8, gate: make(chan struct{})} // an order is 8 bytes
	go e.run()
	return e, tg
}

func (e *gatedEcho) run() {
	for {
		c, err := e.Accept()
		if err != nil {
			return
		}
		e.accepted.Add(1)
		go e.serve(c)
	}
}

func (e *gatedEcho) serve(c net.Conn) {
	defer c.Close()
	buf := make([]byte, e.hello)
	if _, err := io.ReadFull(c, buf); err != nil {
		return
	}
	for first := true; ; first = false {
		if _, err := io.ReadFull(c, buf[:1]); err != nil {
			return
		}
		if !first {
			<-e.gate
		}
		if _, err := c.Write(buf[:1]); err != nil {
			return
		}
	}
}

func runFor(t *testing.T, l Load, d time.Duration) Outcome {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	out, err := l.Run(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// If a server stops for good, every message that was due before the end of the
// run counts as late, although none was answered. The connections left in the
// middle of an exchange are not used again, because the late answer would be
// taken for that of the next message.
func TestStallToTheEndIsSeenAndCutOffConnectionsAreReplaced(t *testing.T) {
	t.Parallel() // waits for endTimeout
	e, tg := startGatedEcho(t)
	m, err := NewMessages(context.Background(), tg, MessageOptions{Size: 1, Conns: 2, Rate: 200})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	out := runFor(t, m, 500*time.Millisecond)
	if out.Count != 0 || out.Errors != 2 || out.Latency.TotalCount() < 90 {
		t.Errorf("%d answers, %d errors, %d late; want 0, 2 and about 98 of the 100 that were due", out.Count, out.Errors, out.Latency.TotalCount())
	}
	if least := time.Duration(out.Latency.Min()) * time.Microsecond; least < endTimeout*9/10 {
		t.Errorf("one was only %v late, want all by what they waited", least)
	}
	if out.Elapsed > time.Second {
		t.Errorf("a run of 0.5 s took %v, want its time only", out.Elapsed)
	}
	close(e.gate)
	if out = runFor(t, m, 100*time.Millisecond); out.Count == 0 || out.Errors != 0 {
		t.Errorf("afterwards: %d answers, %d errors, the first %v", out.Count, out.Errors, out.FirstError)
	}
	if got := e.accepted.Load(); got != 4 {
		t.Errorf("%d connections in all, want 2 that were cut off and 2 in their place", got)
	}
}

// The gate opens when the run is over: units in progress still count, as late.
func TestAnswerAfterTheEndIsLate(t *testing.T) {
	e, tg := startGatedEcho(t)
	m, err := NewMessages(context.Background(), tg, MessageOptions{Size: 1, Conns: 1, Rate: 100})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	context.AfterFunc(ctx, func() { close(e.gate) })
	out, err := m.Run(ctx)
	if err != nil || out.Errors != 0 || out.Count != 1 {
		t.Errorf("%d answers, %d errors, %v; want the one that was under way", out.Count, out.Errors, err)
	}
	if got := out.Latency.TotalCount(); got < 18 || got > 20 {
		t.Errorf("%d latencies, want one of each of the 20 that were due", got)
	}
	if most := time.Duration(out.Latency.Max()) * time.Microsecond; most < 190*time.Millisecond {
		t.Errorf("the first was %v late, want the whole run", most)
	}
}

// A client that never gets an answer is counted as an error, and the run does
// not wait for the client's own timeout.
func TestSilenceAtTheEndOfARunIsAnError(t *testing.T) {
	t.Parallel()
	p := servers(t)
	tests := []struct {
		name string
		load Load
	}{
		{"closed loop", NewConnections(target(t, p.Silent), 4)},
		{"open loop", NewConnectionsAtRate(target(t, p.Silent), 100)},
		{"handshakes", NewHandshakes(target(t, p.Silent), 2)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel() // waits for endTimeout
			out := runFor(t, tt.load, 100*time.Millisecond)
			if out.Count != 0 || out.Errors == 0 || out.FirstError == nil {
				t.Errorf("%d done, %d errors, the first %v", out.Count, out.Errors, out.FirstError)
			}
			if out.Elapsed > time.Second {
				t.Errorf("a run of 0.1 s took %v, want its time only", out.Elapsed)
			}
		})
	}
}

// Units that fail because the run was cancelled are not counted as errors.
func TestCancellingIsNoError(t *testing.T) {
	e, tg := startGatedEcho(t)
	defer close(e.gate)
	m, err := NewMessages(context.Background(), tg, MessageOptions{Size: 1, Conns: 4})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	ctx, cancel := context.WithCancel(context.Background())
	time.AfterFunc(20*time.Millisecond, cancel)
	if out, err := m.Run(ctx); err != nil || out.Errors != 0 {
		t.Errorf("%d errors, the first %v; %v", out.Errors, out.FirstError, err)
	}
}

// A run continues until its end with reopened connections.
func TestBrokenConnectionsAreReplaced(t *testing.T) {
	p := servers(t)
	plain, ctx := target(t, p.Plain[0]), context.Background()
	paced, err1 := NewMessages(ctx, plain, MessageOptions{Size: 1, Conns: 4, Rate: 400})
	saturated, err2 := NewMessages(ctx, plain, MessageOptions{Size: 1, Conns: 4})
	down, err3 := NewStreams(ctx, plain, 4, Down, nil)
	up, err4 := NewStreams(ctx, plain, 4, Up, p.Taken)
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(p.Kill(0), p.Revive(0)); err != nil {
		t.Fatal(err)
	}
	for name, l := range map[string]Load{"paced": paced, "saturated": saturated, "down": down, "up": up} {
		t.Run(name, func(t *testing.T) {
			defer l.Close()
			out := runFor(t, l, 200*time.Millisecond)
			if out.Errors != 4 || out.Count+out.Bytes < 20 {
				t.Errorf("%d units, %d bytes, %d errors (%v), want one error for each connection, and work", out.Count, out.Bytes, out.Errors, out.FirstError)
			}
			if out.Elapsed < 150*time.Millisecond {
				t.Errorf("it ended after %v", out.Elapsed)
			}
		})
	}
}

// NewStreams waits until every stream is established, so it fails with a server
// that sends nothing.
func TestStreamsAreReadyWhenTheyFlow(t *testing.T) {
	p := servers(t)
	for _, dir := range []Direction{Down, Up} {
		t.Run(dir.String(), func(t *testing.T) {
			ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
			defer cancel()
			if _, err := NewStreams(ctx, target(t, p.Silent), 2, dir, p.Taken); err == nil {
				t.Error("streams of a silent server are ready")
			}
		})
	}
}

// With fewer connections than pingers, each is pinged once in every interval.
func TestFewHeldConnectionsAreAllPinged(t *testing.T) {
	p := servers(t)
	h, err := Hold(context.Background(), target(t, p.Plain[0]), 3)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 390*time.Millisecond)
	defer cancel()
	begun := time.Now()
	out, err := h.Ping(ctx, 100*time.Millisecond)
	most := int64(3 * (1 + time.Since(begun)/(100*time.Millisecond))) // 4 of each, or more on a busy machine
	if err != nil || out.Errors != 0 || out.Count < 6 || out.Count > most {
		t.Errorf("%d pings, %d errors, %v; want up to %d", out.Count, out.Errors, err, most)
	}
}

// Thousands of workers share histograms, because emptying one for each would take
// longer than a short run.
func TestManyWorkersShareHistograms(t *testing.T) {
	c := newCrowd(8900)
	if len(c.tallies) > maxTallies {
		t.Fatalf("%d histograms", len(c.tallies))
	}
	for range 2 { // the second starts from nothing
		out := c.run(context.Background(), func(i int, tl *tally) {
			tl.done(time.Millisecond)
			tl.failed(context.Background(), syscall.EPIPE)
		})
		if out.Count != 8900 || out.Errors != 8900 || out.Latency.TotalCount() != 8900 || !errors.Is(out.FirstError, syscall.EPIPE) {
			t.Errorf("got %d, %d errors, %d latencies, %v", out.Count, out.Errors, out.Latency.TotalCount(), out.FirstError)
		}
	}
}
