package terminate

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"os"
	"sync"
	"testing"
	"time"
)

// idle reports whether n slots are free. It takes none.
func (l *HandshakeLimiter) idle(n int64) bool {
	ok := l.slots.TryAcquire(n)
	if ok {
		l.slots.Release(n)
	}
	return ok
}

func TestLimiterHasAsManySlotsAsAskedFor(t *testing.T) {
	for _, tt := range []struct {
		name       string
		size, want int
	}{
		{"three", 3, 3},
		{"zero means one", 0, 1},
		{"a negative number means one", -1, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := NewHandshakeLimiter(tt.size)
			for i := range tt.want {
				if l.idle(int64(tt.want - i + 1)) {
					t.Errorf("more than %d slots are free after %d acquires", tt.want-i, i)
				}
				if err := l.acquire(t.Context()); err != nil {
					t.Fatalf("acquire %d: %v", i+1, err)
				}
			}
			if l.idle(1) {
				t.Error("a slot is free after all were acquired")
			}
			l.release()
			if err := l.acquire(t.Context()); err != nil {
				t.Errorf("acquire after a release: %v", err)
			}
		})
	}
}

func TestLimiterWaitEndsWithItsContext(t *testing.T) {
	l := NewHandshakeLimiter(1)
	if err := l.acquire(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	waiting := make(chan error, 1)
	go func() { waiting <- l.acquire(ctx) }()
	cancel()
	if err := within(t, "the wait ends", waiting); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
	if err := l.acquire(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("with a context that is done: got %v, want %v", err, context.Canceled)
	}
	l.release()
	if !l.idle(1) {
		t.Error("a wait that ended without a slot has taken one")
	}
}

func TestNilLimiterHasNoBound(t *testing.T) {
	var l *HandshakeLimiter
	for range 100 {
		if err := l.acquire(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	l.release()
}

// recording is a connection that records what is written to it and fails
// every Read.
type recording struct {
	net.Conn
	sent []byte
}

func (r *recording) Write(b []byte) (int, error) {
	r.sent = append(r.sent, b...)
	return len(b), nil
}

func (r *recording) Read([]byte) (int, error) { return 0, errors.New("recording has nothing to read") }

// hello returns the bytes of a ClientHello for r.
func (r *rig) hello() []byte {
	c := &recording{}
	_ = tls.Client(c, r.tls("http/1.1")).Handshake()
	return c.sent
}

// stopHalfway begins n handshakes and sends nothing more: half of them stop in
// the middle of the hello, the others after the server's answer to it.
func (r *rig) stopHalfway(n int) {
	r.t.Helper()
	hello := r.hello()
	for i := range n {
		c, err := net.Dial("tcp", r.addr)
		if err != nil {
			r.t.Fatal(err)
		}
		r.t.Cleanup(func() { c.Close() })
		if i%2 == 0 {
			_, _ = c.Write(hello[:len(hello)/2])
			continue
		}
		_, _ = c.Write(hello)
		_ = c.SetReadDeadline(time.Now().Add(testTimeout))
		if _, err := c.Read(make([]byte, 1)); err != nil {
			r.t.Fatal(err)
		}
	}
}

// With a single slot, handshakes that wait for their clients do not delay
// others.
func TestWaitingHandshakeHoldsNoSlot(t *testing.T) {
	server := startRecorder(t, nil)
	r := startRig(t, setting{Config: Config{Handshakes: NewHandshakeLimiter(1)}, handshake: 10 * testTimeout}, server.addr)
	r.stopHalfway(100)
	var others sync.WaitGroup
	for range 10 {
		others.Go(func() {
			if got := r.get("HTTP/1.1", "/"); got.StatusCode != 200 {
				t.Errorf("got %s", got.Status)
			}
		})
	}
	others.Wait()
	if n := len(r.refusals()); n > 0 {
		t.Errorf("%d of the waiting handshakes have ended", n)
	}
}

func TestDeadlineEndsWaitingHandshakesAndFreesTheirSlots(t *testing.T) {
	l := NewHandshakeLimiter(1)
	r := startRig(t, setting{Config: Config{Handshakes: l}, handshake: time.Second}, closedAddr(t))
	r.stopHalfway(20)
	eventually(t, "all handshakes are refused", func() bool { return len(r.refusals()) == 20 })
	for _, err := range r.refusals() {
		if !errors.Is(err, os.ErrDeadlineExceeded) && !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want the deadline", err)
		}
	}
	if !l.idle(1) {
		t.Error("a slot of the limiter is still held")
	}
}

// A handshake that got no slot before its deadline must not release one.
func TestHandshakeWithoutSlotIsRefusedAtItsDeadline(t *testing.T) {
	l := NewHandshakeLimiter(1)
	r := startRig(t, setting{Config: Config{Handshakes: l}, handshake: shortTimeout}, closedAddr(t))
	if err := l.acquire(t.Context()); err != nil {
		t.Fatal(err)
	}
	if c, err := tls.Dial("tcp", r.addr, r.tls()); err == nil {
		c.Close()
		t.Error("the handshake went through")
	}
	eventually(t, "the handshake is refused", func() bool { return len(r.refusals()) == 1 })
	if l.idle(1) {
		t.Error("the refused handshake released a slot that it did not hold")
	}
}

func TestHandshakeWithoutDeadlineHasHeaderTimeout(t *testing.T) {
	s := New(Config{Limits: Limits{HeaderTimeout: shortTimeout}})
	ours, theirs := net.Pipe()
	defer ours.Close()
	r := &rig{}
	s.Serve(&pipeConn{Conn: theirs, rig: r}, time.Time{})
	if all := r.refusals(); len(all) != 1 || !errors.Is(all[0], os.ErrDeadlineExceeded) {
		t.Errorf("got %v, want the deadline", all)
	}
	s.front.Load().shutDown()
}

// pipeConn is a client's connection that is not TCP.
type pipeConn struct {
	net.Conn
	rig *rig
}

func (*pipeConn) Leads(string) bool { return true }
func (*pipeConn) Peer() Client      { return Client{} }
func (*pipeConn) Served(string)     {}

func (c *pipeConn) Refuse(err error) {
	c.rig.refused = append(c.rig.refused, err)
	_ = c.Close()
}

func TestHelloInPiecesIsAccepted(t *testing.T) {
	server := startRecorder(t, nil)
	r := startRig(t, setting{}, server.addr)
	for name, piece := range map[string]func([]byte) [][]byte{
		"one byte at a time": func(b []byte) (all [][]byte) {
			for i := range b {
				all = append(all, b[i:i+1])
			}
			return all
		},
		"records of one byte": func(b []byte) (all [][]byte) {
			for _, c := range b[5:] {
				all = append(all, []byte{22, 3, 1, 0, 1, c})
			}
			return all
		},
		"records of 7 bytes, in halves": func(b []byte) (all [][]byte) {
			for b = b[5:]; len(b) > 0; b = b[min(7, len(b)):] {
				n := min(7, len(b))
				record := append([]byte{22, 3, 1, 0, byte(n)}, b[:n]...)
				all = append(all, record[:3], record[3:])
			}
			return all
		},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := net.Dial("tcp", r.addr)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			_ = c.SetDeadline(time.Now().Add(testTimeout))
			conn := tls.Client(&inPieces{Conn: c, piece: piece}, r.tls("http/1.1"))
			if err := conn.Handshake(); err != nil {
				t.Fatal(err)
			}
			if _, err := conn.Write([]byte("GET /a HTTP/1.1\r\nHost: " + chat + "\r\nConnection: close\r\n\r\n")); err != nil {
				t.Fatal(err)
			}
			if got := readAnswers(t, conn, 1); len(got) != 1 || got[0].StatusCode != 200 {
				t.Errorf("got %v", got)
			}
		})
	}
}

// inPieces splits its first Write into the pieces that piece returns.
type inPieces struct {
	net.Conn
	piece func([]byte) [][]byte
	done  bool
}

func (c *inPieces) Write(b []byte) (int, error) {
	if c.done {
		return c.Conn.Write(b)
	}
	c.done = true
	for _, p := range c.piece(b) {
		if _, err := c.Conn.Write(p); err != nil {
			return 0, err
		}
	}
	return len(b), nil
}
