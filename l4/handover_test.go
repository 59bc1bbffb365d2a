package l4

import (
	"bytes"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"syscall"
	"testing"
	"time"
)

// handOver moves everything that r's engine has to a new one, as between two
// processes: what is said is encoded, and every descriptor duplicated.
func (r *rig) handOver(cfg *Config) (moved int) {
	r.t.Helper()
	return r.moveTo(r.prepareNext(cfg))
}

// prepareNext is what the next process does before it takes connections.
func (r *rig) prepareNext(cfg *Config) *Engine {
	r.t.Helper()
	sockets := map[string][]int{}
	for key, fds := range r.e.Sockets() {
		sockets[key] = duplicates(r.t, fds)
	}
	next, err := Prepare(cfg, r.e.hooks, Inheritance{Sockets: sockets})
	if err != nil {
		r.t.Fatal(err)
	}
	return next
}

func (r *rig) moveTo(next *Engine) (moved int) {
	r.t.Helper()
	keep := map[string]bool{}
	for _, ln := range next.config().Listeners {
		keep[ln.Key()] = true
	}
	frozen, err := r.e.Freeze(keep)
	if err != nil {
		r.t.Fatal(err)
	}
	for h := range frozen.Connections() {
		fds := duplicates(r.t, h.FDs())
		h = encoded(r.t, h)
		if !h.SetFDs(fds) {
			r.t.Fatalf("connection %d has %d descriptors", h.ID, len(fds))
		}
		if err := next.Take(h); err != nil {
			r.t.Fatal(err)
		}
		moved++
	}
	next.ContinueAfter(frozen.LastID())
	frozen.Leave()
	next.Run()
	r.e = next
	return moved
}

func duplicates(t testing.TB, fds []int) (all []int) {
	t.Helper()
	for _, fd := range fds {
		d, err := syscall.Dup(fd)
		if err != nil {
			t.Fatal(err)
		}
		syscall.CloseOnExec(d)
		all = append(all, d)
	}
	return all
}

// encoded is h as it comes out at the other end.
func encoded(t testing.TB, h *Handover) *Handover {
	t.Helper()
	var b bytes.Buffer
	var out Handover
	if err := gob.NewEncoder(&b).Encode(h); err != nil {
		t.Fatal(err)
	}
	if err := gob.NewDecoder(&b).Decode(&out); err != nil {
		t.Fatal(err)
	}
	return &out
}

// again is the configuration cfg, as a new process reads it.
func anew(loops int, p *Pool) *Config {
	return &Config{Loops: loops, Listeners: []*Listener{plainListener(p)}}
}

// TestHandOverKeepsStreams: connections that move bytes both ways all the time
// go through many handovers, to engines with other numbers of loops.
func TestHandOverKeepsStreams(t *testing.T) {
	o := startOrigin(t, echo)
	r := startRig(t, anew(2, roundRobin(t, o.addr)))
	const streams = 20
	size := int64(soak(24<<20, 1<<30))
	done := make(chan error, streams)
	for i := range streams {
		c := r.dial(0)
		go func() { done <- echoed(c, uint64(i), size) }()
	}
	loops := []int{1, 3, 2, 1, 2}
	for i := 0; len(done) < streams; i++ {
		r.handOver(anew(loops[i%len(loops)], roundRobin(t, o.addr)))
	}
	for range streams {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	for range streams {
		if rec := r.next(); rec.Reason != ReasonClosed || rec.BytesUp != uint64(size) || rec.BytesDown != uint64(size) {
			t.Errorf("record: %s by %s, %d up, %d down, want %d", rec.Reason, rec.EndedBy, rec.BytesUp, rec.BytesDown, size)
		}
	}
}

// echoed sends a stream over c, checks what comes back, and ends it.
func echoed(c net.Conn, seed uint64, size int64) error {
	_ = c.SetDeadline(time.Now().Add(5 * patience))
	sent := make(chan error, 1)
	go func() {
		err := (&pattern{seed: seed}).send(c, size)
		if err == nil {
			err = c.(*net.TCPConn).CloseWrite()
		}
		sent <- err
	}()
	n, err := (&pattern{seed: seed}).check(c)
	if err = errors.Join(err, <-sent); err != nil || n != size {
		return fmt.Errorf("stream %d: %d of %d bytes came back: %w", seed, n, size, err)
	}
	return nil
}

// TestHandOverOfAHello: what was read of a hello goes along.
func TestHandOverOfAHello(t *testing.T) {
	o := startOrigin(t, tlsEcho(t))
	cfg := func() *Config {
		return &Config{Loops: 2, Listeners: []*Listener{tlsListener(t, nil, &Route{ServerName: "chat.example.com", Pool: roundRobin(t, o.addr)})}}
	}
	r := startRig(t, cfg())
	hello := chatHello(t)
	c := r.dial(0)
	for i, b := range [][]byte{hello[:1], hello[1:50], hello[50:]} {
		if _, err := c.Write(b); err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			eventually(t, "the connection was accepted", func() bool { return r.e.Active() == 1 })
		}
		if i < 2 {
			r.handOver(cfg())
		}
	}
	if _, err := io.ReadFull(c, make([]byte, 5)); err != nil {
		t.Fatalf("no answer to a hello in three pieces: %v", err)
	}
	c.Close()
	if rec := r.next(); rec.ServerName != "chat.example.com" || rec.ID == 0 {
		t.Errorf("record: %+v", rec)
	}
}

// TestHandOverWhileConnecting: an attempt that is under way ends in the next
// process, and its deadline holds there.
func TestHandOverWhileConnecting(t *testing.T) {
	full, _ := silentAddr(t)
	o := saying(t, "a")
	r := startRig(t, anew(1, roundRobin(t, full, o.addr)))
	c := r.dial(0)
	eventually(t, "it is connecting", func() bool { return r.e.Active() == 1 })
	if n := r.handOver(anew(1, roundRobin(t, full, o.addr))); n != 1 {
		t.Fatalf("%d connections handed over", n)
	}
	r.advance(DefaultConnectTimeout + time.Second)
	hear(t, c, "a")
	c.Close()
	rec := r.next()
	if len(rec.Tries) != 1 || rec.Tries[0].Server != full || rec.Server != o.addr {
		t.Errorf("tries %v, then %s, want one of %s and then %s", rec.Tries, rec.Server, full, o.addr)
	}
}

// TestHandOverOfPendingBytes: what a slow reader did not take yet, in memory
// or in a pipe, goes along.
func TestHandOverOfPendingBytes(t *testing.T) {
	const size = 32 << 20
	o := startOrigin(t, func(c net.Conn) {
		_ = (&pattern{seed: 7}).send(c, size)
	})
	r := startRig(t, anew(1, roundRobin(t, o.addr)))
	c := r.dial(0)
	eventually(t, "a flow is blocked", func() bool {
		blocked := false
		r.on(func(_ *loop, c *conn) { blocked = c.flows[server].pipe != nil || c.flows[server].pending != nil })
		return blocked
	})
	for range 3 {
		r.handOver(anew(1, roundRobin(t, o.addr)))
	}
	n, err := (&pattern{seed: 7}).check(c)
	if err != nil || n != size {
		t.Errorf("%d of %d bytes: %v", n, size, err)
	}
}

// TestHandOverOfAHalfClosedConnection: an end that was passed on is not passed
// on again, and the other direction goes on.
func TestHandOverOfAHalfClosedConnection(t *testing.T) {
	o := startOrigin(t, func(c net.Conn) {
		b, _ := io.ReadAll(c)
		_, _ = c.Write(b)
	})
	r := startRig(t, anew(2, roundRobin(t, o.addr)))
	c := r.dial(0)
	if _, err := io.WriteString(c, "all of it"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is relayed", func() bool { return r.e.Stats().Servers[0].Connections == 1 })
	r.handOver(anew(1, roundRobin(t, o.addr)))
	_ = c.(*net.TCPConn).CloseWrite()
	r.handOver(anew(2, roundRobin(t, o.addr)))
	if b, err := io.ReadAll(c); string(b) != "all of it" || err != nil {
		t.Errorf("read %q, %v", b, err)
	}
	if rec := r.next(); rec.Reason != ReasonClosed || rec.EndedBy != Client {
		t.Errorf("ended by %s: %s", rec.EndedBy, rec.Reason)
	}
}

// TestHandOverOfQueues: whoever connects while nothing is accepted is served
// by the next process, whatever its number of loops.
func TestHandOverOfQueues(t *testing.T) {
	o := saying(t, "a")
	r := startRig(t, anew(3, roundRobin(t, o.addr)))
	for _, loops := range []int{1, 2, 3} {
		release := r.hold()
		var waiting []net.Conn
		for range 50 {
			waiting = append(waiting, r.dial(0))
		}
		go release()
		r.handOver(anew(loops, roundRobin(t, o.addr)))
		for _, c := range waiting {
			hear(t, c, "a")
			c.Close()
		}
	}
}

// TestNothingIsAcceptedAfterLeaving: events that came in one batch with the
// command to hold still are for the next process.
func TestNothingIsAcceptedAfterLeaving(t *testing.T) {
	o := saying(t, "a")
	r := startRig(t, anew(1, roundRobin(t, o.addr)))
	next := r.prepareNext(anew(1, roundRobin(t, o.addr)))
	old, release := r.e, r.hold()
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.moveTo(next)
	}()
	eventually(t, "the command is in the mail", func() bool {
		m := &old.loops[0].mail
		m.Lock()
		defer m.Unlock()
		return len(m.funcs) > 0
	})
	var waiting []net.Conn
	for range 10 {
		waiting = append(waiting, r.dial(0))
	}
	release()
	<-done
	for _, c := range waiting {
		hear(t, c, "a")
	}
}

// TestHandOverToAnotherConfiguration: connections of a pool, a server and a
// listener that are gone go on.
func TestHandOverToAnotherConfiguration(t *testing.T) {
	a, b := saying(t, "a"), saying(t, "b")
	r := startRig(t, anew(2, roundRobin(t, a.addr)))
	old := r.dial(0)
	hear(t, old, "a")
	other := roundRobin(t, b.addr)
	r.handOver(&Config{Loops: 2, Listeners: []*Listener{{Name: "new", Address: ip("127.0.0.1:0"), Pool: other}}})
	tell(t, old, "still here")
	r.handOver(&Config{Loops: 1, Listeners: []*Listener{{Name: "new", Address: ip("127.0.0.1:0"), Pool: roundRobin(t, b.addr)}}})
	tell(t, old, "and here")
	old.Close()
	if rec := r.next(); rec.Listener != "plain" || rec.Server != a.addr || rec.Pool != "pool" {
		t.Errorf("record: listener %s, pool %s, server %s", rec.Listener, rec.Pool, rec.Server)
	}
}

// TestThawGoesOnWhereItWas: an engine that was frozen and has to go on loses
// nothing.
func TestThawGoesOnWhereItWas(t *testing.T) {
	o := startOrigin(t, echo)
	r := startRig(t, anew(2, roundRobin(t, o.addr)))
	const streams, size = 8, 16 << 20
	done := make(chan error, streams)
	for i := range streams {
		c := r.dial(0)
		go func() { done <- echoed(c, uint64(i), size) }()
	}
	for len(done) < streams {
		frozen, err := r.e.Freeze(nil)
		if err != nil {
			t.Fatal(err)
		}
		for h := range frozen.Connections() {
			_ = encoded(t, h)
		}
		frozen.Thaw()
	}
	for range streams {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// TestFreezeWaitsForNobodyElse: freezing, reloading and stopping exclude each
// other.
func TestFreezeWaitsForNobodyElse(t *testing.T) {
	o := startOrigin(t, echo)
	r := startRig(t, anew(2, roundRobin(t, o.addr)))
	frozen, err := r.e.Freeze(nil)
	if err != nil {
		t.Fatal(err)
	}
	var reloaded sync.WaitGroup
	reloaded.Go(func() {
		if err := r.e.Reload(anew(2, roundRobin(t, o.addr))); !errors.Is(err, ErrStopped) {
			t.Errorf("reload after leaving: %v", err)
		}
	})
	frozen.Leave()
	reloaded.Wait()
	if _, err := r.e.Freeze(nil); !errors.Is(err, ErrStopped) {
		t.Errorf("freeze after leaving: %v", err)
	}
}

// TestHandOverOfAHeaderToNowhere: a connection that waits for its PROXY header
// and whose listener is gone cannot go on.
func TestHandOverOfAHeaderToNowhere(t *testing.T) {
	o := startOrigin(t, echo)
	r := startRig(t, &Config{Loops: 1, Listeners: []*Listener{proxied(plainListener(roundRobin(t, o.addr)), "127.0.0.0/8")}})
	r.dialProxy("PROXY ")
	next := r.prepareNext(&Config{Loops: 1, Listeners: []*Listener{{Name: "new", Address: ip("127.0.0.1:0"), Pool: roundRobin(t, o.addr)}}})
	frozen, err := r.e.Freeze(nil)
	if err != nil {
		t.Fatal(err)
	}
	for h := range frozen.Connections() {
		fds := duplicates(t, h.FDs())
		h = encoded(t, h)
		if !h.SetFDs(fds) {
			t.Fatal("descriptors are missing")
		}
		if err := next.Take(h); err == nil {
			t.Error("it was taken")
		}
	}
	frozen.Leave()
	next.Run()
	r.e = next
}
