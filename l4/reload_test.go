package l4

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"culvert/l4/socket"
)

// again is a plain listener at the address where r's first one is bound.
func (r *rig) again(p *Pool) *Listener {
	return &Listener{Name: "plain", Address: r.e.config().Listeners[0].Address, Pool: p}
}

// reload makes the rig serve what listeners say.
func (r *rig) reload(listeners ...*Listener) {
	r.t.Helper()
	if err := r.e.Reload(&Config{Listeners: listeners}); err != nil {
		r.t.Fatal(err)
	}
}

// succeeding returns p after it has adopted old.
func succeeding(p, old *Pool) *Pool {
	p.Balancer.Adopt(old.Balancer)
	return p
}

// saying is an origin that says a word at once and then echoes.
func saying(t testing.TB, word string) *origin {
	return startOrigin(t, func(c net.Conn) {
		if _, err := io.WriteString(c, word); err == nil {
			echo(c)
		}
	})
}

func hear(t testing.TB, c net.Conn, want string) {
	t.Helper()
	b := make([]byte, len(want))
	if _, err := io.ReadFull(c, b); err != nil || string(b) != want {
		t.Fatalf("heard %q, %v, want %q", b, err, want)
	}
}

func tell(t testing.TB, c net.Conn, word string) {
	t.Helper()
	if _, err := io.WriteString(c, word); err != nil {
		t.Fatal(err)
	}
	hear(t, c, word)
}

func TestReloadSendsNewConnectionsToTheNewPool(t *testing.T) {
	a, b := saying(t, "a"), saying(t, "b")
	pool := roundRobin(t, a.addr)
	r := startRig(t, &Config{Loops: 2, Listeners: []*Listener{plainListener(pool)}})
	before := r.dial(0)
	hear(t, before, "a")
	r.reload(r.again(roundRobin(t, b.addr)))
	for range 10 {
		hear(t, r.dial(0), "b")
	}
	tell(t, before, "still here")
}

// A reload that names the same server keeps its connections counted: no two
// generations together exceed its limit.
func TestReloadKeepsLimitsExact(t *testing.T) {
	a := saying(t, "a")
	pool := limitedPool(t, 2, a.addr)
	r := startRig(t, &Config{Loops: 2, Listeners: []*Listener{plainListener(pool)}})
	first := r.dial(0)
	hear(t, first, "a")
	next := succeeding(limitedPool(t, 2, a.addr), pool)
	r.reload(r.again(next))
	hear(t, r.dial(0), "a")
	if _, err := r.dial(0).Read(make([]byte, 1)); err == nil {
		t.Error("a third connection was served")
	}
	if rec := r.next(); rec.Reason != ReasonServersFull {
		t.Errorf("it ended with %s", rec.Reason)
	}
	first.Close()
	r.next()
	hear(t, r.dial(0), "a")
	if n := next.Balancer.Servers()[0].Active(); n != 2 {
		t.Errorf("%d active, want 2", n)
	}
}

// TestReloadMovesAListener: its name keeps its counts, and the connections that
// came to its old address.
func TestReloadMovesAListener(t *testing.T) {
	a := saying(t, "a")
	pool := roundRobin(t, a.addr)
	r := startRig(t, &Config{Listeners: []*Listener{plainListener(pool)}})
	old := r.dial(0)
	hear(t, old, "a")
	path, err := socket.Unix(filepath.Join(t.TempDir(), "moved.sock"))
	if err != nil {
		t.Fatal(err)
	}
	r.reload(&Listener{Name: "plain", Address: path, Pool: succeeding(roundRobin(t, a.addr), pool)})
	c, err := net.Dial("unix", path.Path())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	hear(t, c, "a")
	if l := r.e.Stats().Listeners[0]; l.Active != 2 || l.Accepted != 2 {
		t.Errorf("%d active of %d accepted, want 2 of 2", l.Active, l.Accepted)
	}
	old.Close()
	eventually(t, "one is left", func() bool { return r.e.Stats().Listeners[0].Active == 1 })
}

func TestReloadOpensAndClosesListeners(t *testing.T) {
	a := saying(t, "a")
	pool := roundRobin(t, a.addr)
	r := startRig(t, &Config{Loops: 2, Listeners: []*Listener{plainListener(pool)}})
	old := r.dial(0)
	hear(t, old, "a")
	other := &Listener{Name: "other", Address: ip("127.0.0.1:0"), Pool: roundRobin(t, a.addr)}
	for round := range 5 {
		r.reload(r.again(roundRobin(t, a.addr)), other)
		addr := r.e.Addrs()[1].String()
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		hear(t, c, "a")
		r.reload(r.again(roundRobin(t, a.addr)))
		if late, err := net.Dial("tcp", addr); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("round %d: a listener that is gone accepts (%v)", round, err)
			late.Close()
		}
		tell(t, c, "still here")
		c.Close()
		r.next()
		other = &Listener{Name: "other", Address: ip("127.0.0.1:0"), Pool: roundRobin(t, a.addr)}
	}
	tell(t, old, "still here")
	for _, l := range r.e.loops {
		if n := len(l.accepters); n > 2 {
			t.Errorf("%d accepters after five reloads, want the places of old ones reused", n)
		}
	}
}

func TestReloadThatCannotBindChangesNothing(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	a, b := saying(t, "a"), saying(t, "b")
	r := startRig(t, &Config{Loops: 2, Listeners: []*Listener{plainListener(roundRobin(t, a.addr))}})
	fds := openFDs(t)
	err = r.e.Reload(&Config{Listeners: []*Listener{
		r.again(roundRobin(t, b.addr)),
		{Name: "free", Address: ip("127.0.0.1:0"), Pool: roundRobin(t, b.addr)},
		{Name: "taken", Address: ip(taken.Addr().String()), Pool: roundRobin(t, b.addr)},
	}})
	if !errors.Is(err, syscall.EADDRINUSE) {
		t.Fatalf("got %v", err)
	}
	if n := openFDs(t); n != fds {
		t.Errorf("%d descriptors, were %d", n, fds)
	}
	hear(t, r.dial(0), "a")
}

// An accept queue is served also when its listener goes away.
// TestReloadThatFailsLeavesAddressesAndCounters: a listener that would have
// moved is still shown where it is when another one cannot be bound, and one
// that would have been new leaves no counter behind.
func TestReloadThatFailsLeavesAddressesAndCounters(t *testing.T) {
	a := saying(t, "a")
	pool := roundRobin(t, a.addr)
	r := startRig(t, &Config{Loops: 2, Listeners: []*Listener{plainListener(pool)}})
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	was, sizes := r.e.Addrs()[0], r.e.catalog.sizes()
	moved := plainListener(pool)
	moved.Address = ip("127.0.0.2:0")
	fresh := &Listener{Name: "fresh", Address: ip("127.0.0.1:0"), Pool: pool}
	stuck := &Listener{Name: "stuck", Address: ip(taken.Addr().String()), Pool: pool}
	if err := r.e.Reload(&Config{Listeners: []*Listener{moved, fresh, stuck}}); !errors.Is(err, syscall.EADDRINUSE) {
		t.Fatalf("Reload: %v, want %v", err, syscall.EADDRINUSE)
	}
	if got := r.e.Addrs()[0]; got != was {
		t.Errorf("the listener is shown at %s, and listens on %s", got, was)
	}
	if got := r.e.catalog.sizes(); got != sizes {
		t.Errorf("the catalog has %+v, before the reload %+v", got, sizes)
	}
}

func TestRetiredListenerServesItsQueue(t *testing.T) {
	a := saying(t, "a")
	r := startRig(t, &Config{Loops: 1, Listeners: []*Listener{plainListener(roundRobin(t, a.addr))}})
	release := r.hold()
	var queued []net.Conn
	for range 20 {
		queued = append(queued, r.dial(0))
	}
	reloaded := make(chan error, 1)
	go func() {
		reloaded <- r.e.Reload(&Config{Listeners: []*Listener{{Name: "other", Address: ip("127.0.0.1:0"), Pool: roundRobin(t, a.addr)}}})
	}()
	release()
	if err := <-reloaded; err != nil {
		t.Fatal(err)
	}
	for _, c := range queued {
		hear(t, c, "a")
	}
}

func TestReloadChangesListenersInPlace(t *testing.T) {
	o := startOrigin(t, tlsEcho(t))
	pool := roundRobin(t, o.addr)
	plain := plainListener(pool)
	plain.MaxConnections = 100
	r := startRig(t, &Config{Loops: 1, Listeners: []*Listener{plain}})
	table, err := NewTable(nil, &Route{Action: Forward, Pool: roundRobin(t, o.addr)})
	if err != nil {
		t.Fatal(err)
	}
	tcp := socket.Options{UserTimeout: 7 * time.Second}
	r.reload(&Listener{Name: "plain", Address: plain.Address, Table: table, TCP: tcp, MaxConnections: 2, Backlog: 7})
	c := r.dialTLS("chat.example.com")
	tell(t, c, "hello")
	if n := r.e.Stats().Paused; n != 0 {
		t.Errorf("%d paused before the limit", n)
	}
	r.dial(0)
	eventually(t, "the new limit pauses the listener", func() bool { return r.e.Stats().Paused == 1 })
}

func TestCountersOnlyGrowOverReloads(t *testing.T) {
	a := saying(t, "a")
	r := startRig(t, &Config{Loops: 2, Listeners: []*Listener{plainListener(roundRobin(t, a.addr))}})
	for n := uint64(1); n < 6; n++ {
		c := r.dial(0)
		hear(t, c, "a")
		c.Close()
		r.next()
		st := r.e.Stats()
		if got := st.Servers[0].Connections; got != n || st.Listeners[0].Accepted != n {
			t.Errorf("%d connections, %d accepted, want %d", got, st.Listeners[0].Accepted, n)
		}
		r.reload(r.again(roundRobin(t, a.addr)))
	}
	k := &r.e.catalog
	if len(k.servers) != 1 || len(k.listeners) != 1 {
		t.Errorf("the catalog has grown to %d servers and %d listeners", len(k.servers), len(k.listeners))
	}
}

func TestReloadAfterShutdown(t *testing.T) {
	r := startRig(t, &Config{Listeners: []*Listener{plainListener(roundRobin(t, refusedAddr(t)))}})
	r.stop(openFDs(t), 1000)
	if err := r.e.Reload(&Config{}); !errors.Is(err, ErrStopped) {
		t.Errorf("got %v", err)
	}
}

// P1: a reload loses no connection, new or established.
func TestReloadsUnderLoadLoseNothing(t *testing.T) {
	a, b := startOrigin(t, echo), startOrigin(t, echo)
	pool := roundRobin(t, a.addr, b.addr)
	r := startRig(t, &Config{Loops: 2, Listeners: []*Listener{plainListener(pool)}})
	fds := openFDs(t)
	var stop atomic.Bool
	var work sync.WaitGroup
	var served atomic.Int64
	failed := make(chan error, 100)
	report := func(err error) {
		select {
		case failed <- err:
		default:
		}
	}
	for range 20 { // established before the first reload, and moving all the time
		c := r.dial(0)
		work.Go(func() {
			defer c.Close()
			if err := streamUntil(c, &stop); err != nil {
				report(fmt.Errorf("established: %w", err))
			}
		})
	}
	for range 4 {
		work.Go(func() {
			for !stop.Load() {
				if err := oneExchange(r.addrs[0]); err != nil {
					report(fmt.Errorf("new: %w", err))
					return
				}
				served.Add(1)
			}
		})
	}
	for range soak(100, 1000) {
		next := succeeding(roundRobin(t, a.addr, b.addr), pool)
		r.reload(r.again(next), &Listener{Name: "other", Address: ip("127.0.0.1:0"), Pool: next})
		pool = next
		for at := served.Load(); served.Load() < at+4 && len(failed) == 0; {
			time.Sleep(time.Millisecond)
		}
	}
	stop.Store(true)
	work.Wait()
	select {
	case err := <-failed:
		t.Error(err)
	default:
	}
	t.Logf("%d connections served", served.Load())
	r.reload(r.again(succeeding(roundRobin(t, a.addr, b.addr), pool)))
	eventually(t, "no descriptors are left over", func() bool { return openFDs(t) <= fds+2 })
}

// streamUntil echoes numbered blocks and checks them.
func streamUntil(c net.Conn, stop *atomic.Bool) error {
	buf := make([]byte, 4096)
	var out, in pattern
	for !stop.Load() {
		_ = c.SetDeadline(time.Now().Add(patience))
		if err := out.send(c, int64(len(buf))); err != nil {
			return err
		}
		if _, err := io.ReadFull(c, buf); err != nil {
			return err
		}
		if _, err := in.Write(buf); err != nil {
			return err
		}
	}
	return nil
}

// oneExchange is a short connection.
func oneExchange(addr string) error {
	c, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		return err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(c, "word"); err != nil {
		return err
	}
	_, err = io.ReadFull(c, make([]byte, 4))
	return err
}

// TestReloadLeavesConnectionsTheirListener: a hello that is under way has the
// cap that it began with, and a session its timeouts.
func TestReloadLeavesConnectionsTheirListener(t *testing.T) {
	o := startOrigin(t, tlsEcho(t))
	ln := func() *Listener { return routeTo(t, roundRobin(t, o.addr)) }
	r := startRig(t, &Config{Loops: 1, Listeners: []*Listener{ln()}})
	long := helloFor(t, &tls.Config{ServerName: "chat.example.com", InsecureSkipVerify: true, NextProtos: manyProtocols(500)})
	c := r.dial(0)
	if _, err := c.Write(long[:len(long)-1]); err != nil {
		t.Fatal(err)
	}
	open := r.dialTLS("chat.example.com")
	eventually(t, "both are there", func() bool { return r.e.Active() == 2 })
	short := ln()
	short.Address, short.MaxHello, short.Session.IdleTimeout = r.e.config().Listeners[0].Address, 1<<10, time.Second
	r.reload(short)
	if _, err := c.Write(long[len(long)-1:]); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(c, make([]byte, 5)); err != nil {
		t.Errorf("a hello of %d bytes that began before: %v", len(long), err)
	}
	r.advance(time.Minute)
	tell(t, open, "still here")
}

func manyProtocols(n int) (all []string) {
	for i := range n {
		all = append(all, fmt.Sprintf("protocol-%d", i))
	}
	return all
}
