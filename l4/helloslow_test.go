package l4

import (
	"bytes"
	"io"
	"net"
	"testing"
	"time"
)

// connect opens n connections to listener 0, sends the same first bytes on each,
// and returns when the engine has accepted all of them, with the times of its
// clock before the first and after the last.
func (r *rig) connect(n int, first []byte) (conns []net.Conn, before, after time.Duration) {
	r.t.Helper()
	before = r.clock.now()
	had := r.e.Stats().Listeners[0].Active
	for range n {
		c := r.dial(0)
		if len(first) > 0 {
			if _, err := c.Write(first); err != nil {
				r.t.Fatal(err)
			}
		}
		conns = append(conns, c)
	}
	eventually(r.t, "all are accepted", func() bool { return r.e.Stats().Listeners[0].Active == had+int64(n) })
	r.e.Tick()
	return conns, before, r.clock.now()
}

// advanceTo moves the engine's clock to a time that is ahead.
func (r *rig) advanceTo(at time.Duration) { r.advance(at - r.clock.now()) }

func TestP6UnfinishedHelloIsClosedAtItsDeadline(t *testing.T) {
	for _, tt := range []struct {
		name  string
		first []byte
	}{
		{"silent", nil},
		{"slow", []byte{22}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			const timeout, n = time.Hour, 100
			l := tlsListener(t, nil)
			l.HelloTimeout = timeout
			r := startRig(t, &Config{Listeners: []*Listener{l}, Loops: 2})
			conns, before, after := r.connect(soak(n, 4000), tt.first)
			wire := chatHello(t)
			for step := 1; step < 60; step++ { // a byte a minute
				r.advanceTo(before + time.Duration(step)*time.Minute)
				for _, c := range conns {
					if len(tt.first) > 0 {
						_, _ = c.Write(wire[step : step+1])
					}
				}
			}
			for _, early := range []time.Duration{time.Minute, time.Second, 100 * time.Millisecond} {
				r.advanceTo(before + timeout - early)
				got := r.e.Stats().Listeners[0].Active
				if r.clock.now() < before+timeout && got != int64(len(conns)) {
					t.Errorf("%v before the deadline %d are open, want %d", early, got, len(conns))
				}
			}
			r.advanceTo(after + timeout + 2*coarseTick)
			if got := r.e.Stats().Listeners[0].Active; got != 0 {
				t.Errorf("at the deadline %d are open, want none", got)
			}
			for _, c := range conns {
				if got, err := io.ReadAll(c); err != nil || len(got) > 0 {
					t.Fatalf("got % x, %v, want a silent end", got, err)
				}
				c.Close()
				if rec := r.next(); rec.Reason != ReasonHelloTimeout || rec.EndedBy != Culvert || rec.Total < timeout {
					t.Fatalf("got record %+v, want %v after %v or later", rec, ReasonHelloTimeout, timeout)
				}
			}
		})
	}
}

func TestGoodClientIsServedBesideSlowOnes(t *testing.T) {
	o := startOrigin(t, tlsEcho(t))
	r := startRig(t, &Config{Listeners: []*Listener{tlsListener(t, nil, &Route{ServerName: "chat.example.com", Pool: roundRobin(t, o.addr)})}})
	conns, _, _ := r.connect(soak(500, 4000), []byte{22, 3, 1})
	for range 20 {
		r.dialTLS("chat.example.com").Close()
	}
	if got := r.e.Stats().Listeners[0].Active; got < int64(len(conns)) {
		t.Errorf("%d are open, want at least the %d slow ones", got, len(conns))
	}
	kept := r.e.Stats().BufferedBytes
	if each := kept / int64(len(conns)); each > 12<<10 {
		t.Errorf("a slow client costs %d bytes, want at most 12 KiB", each)
	}
}

func TestHelloDeadlineIsClearedByTheHello(t *testing.T) {
	o := startOrigin(t, echo)
	l := tlsListener(t, nil, &Route{ServerName: "chat.example.com", Pool: roundRobin(t, o.addr)})
	l.HelloTimeout, l.Session.IdleTimeout = time.Minute, time.Hour
	r := startRig(t, &Config{Listeners: []*Listener{l}, Loops: 2})
	wire := chatHello(t)
	conns, _, _ := r.connect(soak(100, 1000), wire[:100])
	talk := func(c net.Conn, b []byte, want int) {
		t.Helper()
		if _, err := c.Write(b); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(c, make([]byte, want)); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range conns {
		talk(c, wire[100:], len(wire))
	}
	for range 40 {
		r.advance(15 * time.Second)
	}
	for _, c := range conns {
		_ = c.SetDeadline(time.Now().Add(patience))
		talk(c, []byte("still there"), 11)
	}
	if got := r.e.Stats().Listeners[0].Active; got != int64(len(conns)) {
		t.Errorf("after 10 times the hello timeout %d are open, want %d", got, len(conns))
	}
}

func TestHelloTimeoutCanBeOff(t *testing.T) {
	o := startOrigin(t, echo)
	l := tlsListener(t, nil, &Route{ServerName: "chat.example.com", Pool: roundRobin(t, o.addr)})
	l.HelloTimeout = Off
	r := startRig(t, &Config{Listeners: []*Listener{l}})
	wire := chatHello(t)
	conns, _, _ := r.connect(1, wire[:1])
	for range 24 {
		r.advance(time.Hour)
	}
	if got, err := r.bounce(conns[0], wire[1:]); err != nil || !bytes.Equal(got, wire) {
		t.Errorf("got %d bytes, %v, want the hello", len(got), err)
	}
}
