package l4

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"culvert/l4/socket"
)

// twoListeners is an engine of one loop whose listener 0 is plain and whose
// listener 1 routes chat.example.com, both to servers that run serve.
func twoListeners(t *testing.T, lim Limits, serve func(net.Conn)) *rig {
	t.Helper()
	o := startOrigin(t, serve)
	route := &Route{ServerName: "chat.example.com", Pool: roundRobin(t, o.addr)}
	return startRig(t, &Config{
		Loops:     1,
		Listeners: []*Listener{plainListener(roundRobin(t, o.addr)), tlsListener(t, nil, route)},
		Limits:    lim,
	})
}

func TestUnfinishedHellosStopNobody(t *testing.T) {
	const bound = 1 << 20
	r := twoListeners(t, Limits{BufferedBytes: bound}, echo)
	bystander := r.dial(0)
	pingPong(t, []net.Conn{bystander})
	wire := paddedHello(t, "chat.example.com", 32000)
	refused := 0
	for range 40 {
		c, before := r.dial(1), r.e.Stats().BufferedBytes
		_, _ = c.Write(wire[:len(wire)-1])
		eventually(t, "the hello is kept or refused", func() bool {
			refused = int(endings(r, ReasonMemoryLimit))
			return r.e.Stats().BufferedBytes > before || refused > 0
		})
	}
	// One that is being refused may be counted a moment longer.
	eventually(t, "hellos keep at most half of the bound", func() bool { return r.e.Stats().BufferedBytes <= bound/2 })
	if refused == 0 {
		t.Error("no hello was refused")
	}
	pingPong(t, []net.Conn{bystander})
}

// endings counts the connections of all listeners that ended for a reason.
func endings(r *rig, why Reason) (n uint64) {
	for _, l := range r.e.Stats().Listeners {
		for how, count := range l.Ended {
			if how.Reason == why {
				n += count
			}
		}
	}
	return n
}

func TestFullKeptBytesStopNobodyWhoReads(t *testing.T) {
	const size = 4 << 20
	r := twoListeners(t, Limits{BufferedBytes: 1 << 20}, func(c net.Conn) {
		var id [1]byte
		if _, err := io.ReadFull(c, id[:]); err == nil {
			_ = (&pattern{seed: 7}).send(c, size)
		}
	})
	r.e.buffered.Add(2 << 20) // what peers that do not read hold
	defer r.e.buffered.Add(-2 << 20)
	c := r.dial(0)
	_, _ = c.Write([]byte("x"))
	if n, err := (&pattern{seed: 7}).check(c); err != nil || n != size {
		t.Errorf("got %d bytes, %v, want %d", n, err, size)
	}
	if kept := r.e.Stats().BufferedBytes; kept != 2<<20 {
		t.Errorf("%d bytes are buffered beyond the bound, want none", kept-2<<20)
	}
}

func TestBytesBehindPassedDescriptorsArrive(t *testing.T) {
	for _, ends := range []bool{false, true} {
		got := make(chan string, 1)
		o := startOrigin(t, func(c net.Conn) {
			b := make([]byte, len("hello world"))
			n, _ := io.ReadFull(c, b)
			got <- string(b[:n])
		})
		u, err := socket.Unix(filepath.Join(t.TempDir(), "u.sock"))
		if err != nil {
			t.Fatal(err)
		}
		r := startRig(t, &Config{Loops: 1, Listeners: []*Listener{{Name: "unix", Address: u, Pool: roundRobin(t, o.addr)}}})
		c := r.dial(0).(*net.UnixConn)
		eventually(t, "the server is connected", func() bool { return r.e.Stats().Servers[0].Connections == 1 })
		release := r.hold()
		_, _, _ = c.WriteMsgUnix([]byte("hello "), syscall.UnixRights(0), nil)
		_, _ = c.Write([]byte("world"))
		if ends {
			_ = c.CloseWrite()
		}
		release()
		if s := <-got; s != "hello world" {
			t.Errorf("client ends %v: the server got %q, want all of it", ends, s)
		}
	}
}

func TestAnswerBeforeAResetIsAnAnswer(t *testing.T) {
	conns, stay := make(chan net.Conn, 1), make(chan struct{})
	defer close(stay)
	r := twoListeners(t, Limits{}, func(c net.Conn) { conns <- c; <-stay })
	c := r.dial(1)
	wire := chatHello(t)
	_, _ = c.Write(wire)
	s := <-conns
	if _, err := io.ReadFull(s, make([]byte, len(wire))); err != nil {
		t.Fatal(err)
	}
	release := r.hold()
	_, _ = c.Write([]byte("more"))
	_, _ = s.Write([]byte("the answer"))
	reset(s)
	release()
	if b, _ := io.ReadAll(c); string(b) != "the answer" {
		t.Errorf("the client got %q, want the answer", b)
	}
	rec := r.next()
	if rec.FirstByte < 0 || len(rec.Tries) > 0 || rec.Reason != ReasonReset {
		t.Errorf("got %+v, want a first byte, no failed attempt and a reset", rec)
	}
}

func TestHalfCloseTimeoutRunsWhenTheServerBreaks(t *testing.T) {
	conns, stay := make(chan net.Conn, 1), make(chan struct{})
	defer close(stay)
	o := startOrigin(t, func(c net.Conn) {
		_ = c.SetWriteDeadline(time.Now().Add(200 * time.Millisecond)) // until nobody takes more
		_ = (&pattern{}).send(c, 64<<20)
		conns <- c
		<-stay
	})
	ln := plainListener(roundRobin(t, o.addr))
	ln.Session = Session{IdleTimeout: Off, HalfCloseTimeout: time.Second}
	r := startRig(t, &Config{Loops: 1, Listeners: []*Listener{ln}})
	c := r.dial(0) // and never reads
	reset(<-conns)
	_, _ = c.Write([]byte("x")) // makes the reset known while the answer is stuck
	eventually(t, "the server is known to be gone", func() (broken bool) {
		r.on(func(_ *loop, c *conn) { broken = c.ends[server].broken })
		return broken
	})
	for range 4 {
		r.advance(time.Second)
	}
	if rec := r.next(); rec.Reason != ReasonHalfCloseTimeout {
		t.Errorf("got %v, want %v", rec.Reason, ReasonHalfCloseTimeout)
	}
}

func TestDrainKeepsTheReasonOfADecidedEnd(t *testing.T) {
	r := twoListeners(t, Limits{}, echo)
	c := r.dial(1)
	_, _ = c.Write(helloFor(t, &tls.Config{ServerName: "unknown.example.com", InsecureSkipVerify: true}))
	if _, err := io.ReadFull(c, make([]byte, 7)); err != nil {
		t.Fatal(err)
	}
	cut := 0
	r.e.each(func(l *loop) { cut += l.closeAll() })
	if rec := r.next(); rec.Reason != ReasonNoRoute || cut != 0 {
		t.Errorf("got %v and %d cut, want %v and none", rec.Reason, cut, ReasonNoRoute)
	}
}

func TestEventOfAServerThatWasLeftReachesNobody(t *testing.T) {
	r := twoListeners(t, Limits{}, echo)
	c := r.dial(0)
	pingPong(t, []net.Conn{c})
	r.on(func(l *loop, c *conn) {
		c.dialIteration = l.iteration // as if another server had been left in this turn
		l.event(socket.Event{Flags: socket.Error | socket.Hup, Data: c.tag(server)}, false)
		if c.ends[server].err {
			t.Error("the event was noted for the new server")
		}
	})
	pingPong(t, []net.Conn{c})
}

func TestSecondPauseIsNoReasonToHurry(t *testing.T) {
	r := twoListeners(t, Limits{}, echo)
	r.e.each(func(l *loop) {
		why := shortage{"descriptors", 0, syscall.EMFILE}
		l.pause(l.accepters[0], why)
		l.housekeeping.accept = appointment(l.now) // a connection ended
		l.pause(l.accepters[1], why)
		if at := time.Duration(l.housekeeping.accept); at < l.now+acceptRetry {
			t.Errorf("accepting is tried again after %v, want %v", at-l.now, acceptRetry)
		}
	})
}

func TestLongALPNListIsNotHeldForLife(t *testing.T) {
	r := twoListeners(t, Limits{}, echo)
	var protocols []string
	for i := range 60 {
		protocols = append(protocols, strings.Repeat(string(rune('a'+i%26)), 255))
	}
	wire := craftHello(sniExtension("chat.example.com"), alpnExtension(append([]string{"h2"}, protocols...)...))
	c := r.dial(1)
	_, _ = c.Write(wire)
	got := make([]byte, len(wire))
	if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, wire) {
		t.Fatalf("the hello did not come back: %v", err)
	}
	r.on(func(_ *loop, c *conn) {
		if len(c.alpn) > maxInternedLen {
			t.Errorf("%d bytes of ALPN are held, want at most %d", len(c.alpn), maxInternedLen)
		}
	})
	c.Close()
	if rec := r.next(); rec.ALPN != "h2" {
		t.Errorf("got ALPN %q, want what fits", rec.ALPN)
	}
}

func TestWholeHellosAreCountedUntilTheServerAnswers(t *testing.T) {
	stay := make(chan struct{})
	r := twoListeners(t, Limits{}, func(c net.Conn) { <-stay; echo(c) })
	wire := paddedHello(t, "chat.example.com", 16000)
	c := r.dial(1)
	_, _ = c.Write(wire)
	eventually(t, "the hello is counted", func() bool { return r.e.Stats().BufferedBytes >= int64(len(wire)) })
	close(stay)
	if _, err := io.ReadFull(c, make([]byte, len(wire))); err != nil {
		t.Fatal(err)
	}
	eventually(t, "and let go with the first byte", func() bool { return r.e.Stats().BufferedBytes == 0 })
}
