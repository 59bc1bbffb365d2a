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

// At most as many are inside as there are places, and who gives up waiting
// takes none.
func TestGate(t *testing.T) {
	g := NewGate(2)
	ctx, cancel := context.WithCancel(context.Background())
	for range 2 {
		if err := g.enter(ctx); err != nil {
			t.Fatal(err)
		}
	}
	third := make(chan error, 1)
	go func() { third <- g.enter(ctx) }()
	cancel()
	if err := within(t, "the third gives up", third); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	g.leave()
	if err := g.enter(context.Background()); err != nil {
		t.Error(err)
	}
	for _, n := range []int{-1, 0} {
		if err := NewGate(n).enter(context.Background()); err != nil {
			t.Errorf("NewGate(%d) has no room", n)
		}
	}
	var none *Gate
	if err := none.enter(context.Background()); err != nil {
		t.Error(err)
	}
	none.leave()
}

// recording keeps the first thing that a client sends.
type recording struct {
	net.Conn
	sent []byte
}

func (r *recording) Write(b []byte) (int, error) {
	r.sent = append(r.sent, b...)
	return len(b), nil
}

func (r *recording) Read([]byte) (int, error) { return 0, errors.New("enough") }

// hello is what a client sends first.
func (r *rig) hello() []byte {
	c := &recording{}
	_ = tls.Client(c, r.tls("http/1.1")).Handshake()
	return c.sent
}

// stopHalfway begins handshakes and leaves them: some in the middle of the
// hello, some when the server has answered it.
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
		_ = c.SetReadDeadline(time.Now().Add(patience))
		if _, err := c.Read(make([]byte, 1)); err != nil {
			r.t.Fatal(err)
		}
	}
}

// Handshakes that stop half-way hold up nobody else, although the gate has
// one place.
func TestGateIsNotHeldByWhoWaits(t *testing.T) {
	server := startRecorder(t, nil)
	r := startRig(t, setting{Config: Config{Gate: NewGate(1)}, handshake: 10 * patience}, server.addr)
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
		t.Errorf("%d of those that wait are over", n)
	}
}

// The deadline ends handshakes that stop half-way, and their places are free.
func TestGateDeadline(t *testing.T) {
	g := NewGate(1)
	r := startRig(t, setting{Config: Config{Gate: g}, handshake: time.Second}, nobodyAt(t))
	r.stopHalfway(20)
	eventually(t, "all are refused", func() bool { return len(r.refusals()) == 20 })
	for _, err := range r.refusals() {
		if !errors.Is(err, os.ErrDeadlineExceeded) && !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want the deadline", err)
		}
	}
	if len(g.places) != 0 {
		t.Error("a place at the gate is taken")
	}
}

// A handshake that finds no place in time is refused, and its place is nobody
// else's to give.
func TestGateFull(t *testing.T) {
	g := NewGate(1)
	r := startRig(t, setting{Config: Config{Gate: g}, handshake: brief}, nobodyAt(t))
	_ = g.enter(context.Background())
	if c, err := tls.Dial("tcp", r.addr, r.tls()); err == nil {
		c.Close()
		t.Error("the handshake went through")
	}
	eventually(t, "it is refused", func() bool { return len(r.refusals()) == 1 })
	if len(g.places) != 1 {
		t.Error("somebody gave the place up")
	}
}

// Without a deadline of its own a handshake has as long as headers have.
func TestHandshakeWithoutADeadline(t *testing.T) {
	s := New(Config{Limits: Limits{HeaderTimeout: brief}})
	ours, theirs := net.Pipe()
	defer ours.Close()
	r := &rig{}
	s.Serve(&pipeConn{Conn: theirs, rig: r}, time.Time{})
	if all := r.refusals(); len(all) != 1 || !errors.Is(all[0], os.ErrDeadlineExceeded) {
		t.Errorf("got %v, want the deadline", all)
	}
	s.front.Load().shutDown()
}

// pipeConn is a client's connection that is no TCP.
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

// A hello in pieces is a hello: one byte at a time, in many records, and both.
func TestHelloInPieces(t *testing.T) {
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
			_ = c.SetDeadline(time.Now().Add(patience))
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

// inPieces sends the first thing that is written in pieces.
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
