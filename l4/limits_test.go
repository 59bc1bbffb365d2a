package l4

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"culvert/balancer"
)

// dialFrom connects to listener 0 from a loopback address of its own.
func (r *rig) dialFrom(local string) net.Conn {
	r.t.Helper()
	d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(local), 0)), Timeout: patience}
	c, err := d.Dial("tcp", r.addrs[0])
	if err != nil {
		r.t.Fatal(err)
	}
	_ = c.SetDeadline(time.Now().Add(patience))
	r.t.Cleanup(func() { c.Close() })
	return c
}

func TestOnePrefixCannotUseUpTheHellosOfAnother(t *testing.T) {
	o := startOrigin(t, echo)
	const limit = 8
	r := startRig(t, &Config{
		Listeners: []*Listener{tlsListener(t, nil, &Route{ServerName: "chat.example.com", Pool: roundRobin(t, o.addr)})},
		Limits:    Limits{HelloPerPrefix: limit},
		Loops:     2,
	})
	wire := chatHello(t)
	greedy := make([]net.Conn, 100)
	var wg sync.WaitGroup
	for i := range greedy {
		greedy[i] = r.dial(0)
		wg.Go(func() { _, _ = greedy[i].Write(wire[:1]) })
	}
	wg.Wait()
	for range len(greedy) - limit {
		if rec := r.next(); rec.Reason != ReasonHelloLimit || rec.EndedBy != Culvert || rec.Client.Addr() != netip.MustParseAddr("127.0.0.1") {
			t.Fatalf("got record %+v", rec)
		}
	}
	if st := r.e.Stats().Listeners[0]; st.Active != limit || st.Ended[Ending{Culvert, ReasonHelloLimit}] != uint64(len(greedy)-limit) {
		t.Errorf("%d wait, and %v ended; want %d and %d", st.Active, st.Ended, limit, len(greedy)-limit)
	}
	legit := func(c net.Conn) {
		t.Helper()
		if got, err := r.bounce(c, wire[:100], wire[100:]); err != nil || !bytes.Equal(got, wire) {
			t.Fatalf("got %d bytes, %v, want the hello", len(got), err)
		}
		c.Close()
		if rec := r.next(); rec.Reason != ReasonClosed {
			t.Fatalf("got record %+v", rec)
		}
	}
	for range soak(100, 1000) {
		legit(r.dialFrom("127.0.0.2"))
	}
	// A hello that is whole at once waits for nothing, and is not counted.
	r.wantEchoed("from the greedy address", wire)
	// Each that completes its hello makes room for one.
	served := 0
	for _, c := range greedy {
		if got, err := r.bounce(c, wire[1:]); err == nil && bytes.Equal(got, wire) {
			served++
			c.Close()
			r.next()
			legit(r.dialFrom("127.0.0.1"))
		}
	}
	if served != limit {
		t.Errorf("%d of the waiting ones were served, want %d", served, limit)
	}
}

// crowd is clients that hold their connections: each says a byte and waits
// for it to come back.
type crowd struct {
	conns  []net.Conn
	served atomic.Int64
	ended  atomic.Int64
	who    chan net.Conn // those that were served
}

func (r *rig) crowd(n int) *crowd {
	r.t.Helper()
	cr := &crowd{who: make(chan net.Conn, n)}
	var wg sync.WaitGroup
	for range n {
		c := r.dial(0)
		cr.conns = append(cr.conns, c)
		wg.Go(func() {
			_, _ = c.Write([]byte("?"))
			if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
				cr.ended.Add(1)
				return
			}
			cr.served.Add(1)
			cr.who <- c
		})
	}
	r.t.Cleanup(func() {
		for _, c := range cr.conns {
			c.Close()
		}
		wg.Wait()
	})
	return cr
}

func TestConnectionLimitsAreExactAndFreePlacesAreTaken(t *testing.T) {
	const limit, clients = 20, 50
	for _, tt := range []struct {
		name        string
		engine, own int
	}{
		{"of the engine", limit, 0},
		{"of the listener", 0, limit},
		{"the smaller counts", limit * 3, limit},
		{"the smaller counts, the other way round", limit, limit * 3},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := startOrigin(t, echo)
			l := plainListener(roundRobin(t, o.addr))
			l.MaxConnections = tt.own
			r := startRig(t, &Config{Listeners: []*Listener{l}, Limits: Limits{Connections: tt.engine}, Loops: 2})
			cr := r.crowd(clients)
			for want := int64(limit); want <= clients; want++ {
				eventually(t, "as many are served as may be", func() bool { return cr.served.Load() >= want })
				r.e.Tick()
				if served, seen := cr.served.Load(), o.accepted.Load(); served != want || seen != want {
					t.Fatalf("%d are served and %d have reached the server, want %d", served, seen, want)
				}
				if active := r.e.Stats().Listeners[0].Active; want < clients && active < limit {
					t.Fatalf("%d are active while others wait, want %d", active, limit)
				}
				(<-cr.who).Close()
				r.next()
			}
			if n := cr.ended.Load(); n != 0 {
				t.Errorf("%d were rejected, want none", n)
			}
		})
	}
}

func TestWaitingListenerIsReportedAsPaused(t *testing.T) {
	o := startOrigin(t, echo)
	l := plainListener(roundRobin(t, o.addr))
	l.MaxConnections = 1
	r := startRig(t, &Config{Listeners: []*Listener{l}, Loops: 1})
	cr := r.crowd(2)
	eventually(t, "the listener is paused", func() bool { return r.e.Stats().Paused == 1 })
	for range 2 {
		(<-cr.who).Close()
	}
	eventually(t, "and accepts again", func() bool { return r.e.Stats().Paused == 0 })
}

func TestOneFullListenerLeavesTheOtherAlone(t *testing.T) {
	o := startOrigin(t, echo)
	full, free := plainListener(roundRobin(t, o.addr)), plainListener(roundRobin(t, o.addr))
	full.MaxConnections, free.Name = 3, "free"
	r := startRig(t, &Config{Listeners: []*Listener{full, free}, Loops: 2})
	cr := r.crowd(50)
	eventually(t, "the first is full", func() bool { return cr.served.Load() == 3 })
	for range 100 {
		c := r.dial(1)
		echoes(t, c, 100)
		c.Close()
	}
	if n := cr.served.Load(); n != 3 {
		t.Errorf("%d are served at the full listener, want 3", n)
	}
}

// limitedPool is a pool of two servers that take most connections each.
func limitedPool(t *testing.T, most int, addrs ...string) *Pool {
	t.Helper()
	var servers []balancer.ServerConfig
	for _, a := range addrs {
		servers = append(servers, balancer.ServerConfig{Address: a, MaxConns: most})
	}
	return inTurn(t, servers...)
}

func TestServersTakeExactlyTheirConnections(t *testing.T) {
	const most, clients = 10, 100
	a, b := startOrigin(t, echo), startOrigin(t, echo)
	r := startRig(t, &Config{Listeners: []*Listener{plainListener(limitedPool(t, most, a.addr, b.addr))}, Loops: 2})
	cr := r.crowd(clients)
	eventually(t, "all are decided", func() bool { return cr.served.Load()+cr.ended.Load() == clients })
	if served, at, bt := cr.served.Load(), a.accepted.Load(), b.accepted.Load(); served != 2*most || at != most || bt != most {
		t.Fatalf("%d were served, %d and %d by each, want %d by each", served, at, bt, most)
	}
	for range clients - 2*most {
		if rec := r.next(); rec.Reason != ReasonServersFull || rec.EndedBy != Culvert || rec.Server != "" {
			t.Fatalf("got record %+v", rec)
		}
	}
	if got := r.e.Stats().Listeners[0].Ended[Ending{Culvert, ReasonServersFull}]; got != clients-2*most {
		t.Errorf("%d were counted, want %d", got, clients-2*most)
	}
	(<-cr.who).Close()
	r.next()
	c := r.dial(0)
	echoes(t, c, 1000)
}

func TestServersAreNeverOverbookedInAStorm(t *testing.T) {
	const most = 4
	a, b := startOrigin(t, echo), startOrigin(t, echo)
	pool := limitedPool(t, most, a.addr, b.addr)
	r := startRig(t, &Config{Listeners: []*Listener{plainListener(pool)}, Loops: 2})
	var stop atomic.Bool
	var served, refused atomic.Int64
	var watching, storming sync.WaitGroup
	watching.Go(func() {
		for !stop.Load() {
			for _, s := range pool.Balancer.Servers() {
				if n := s.Active(); n > most {
					t.Errorf("%d connections at %s, want at most %d", n, s.Name(), most)
					return
				}
			}
			time.Sleep(50 * time.Microsecond) // a watcher that leaves room for the watched
		}
	})
	for range 24 {
		storming.Go(func() {
			for range soak(50, 5000) {
				c, err := net.DialTimeout("tcp", r.addrs[0], patience)
				if err != nil {
					t.Error(err)
					return
				}
				_ = c.SetDeadline(time.Now().Add(patience))
				_, _ = c.Write([]byte("?"))
				if _, err := io.ReadFull(c, make([]byte, 1)); err == nil {
					served.Add(1)
				} else {
					refused.Add(1)
				}
				c.Close()
			}
		})
	}
	storming.Wait()
	stop.Store(true)
	watching.Wait()
	if served.Load() == 0 || refused.Load() == 0 {
		t.Errorf("%d were served and %d refused, want some of each", served.Load(), refused.Load())
	}
}

func TestKeptBytesStayBoundedAndEverybodyFinishes(t *testing.T) {
	const bound, size = 1 << 20, 6 << 20 // the kernel takes some 3 MiB
	clients := soak(48, 250)             // each keeps what a read of 64 KiB leaves over: half of it, mostly
	var seed atomic.Uint64
	o := startOrigin(t, func(c net.Conn) {
		var id [1]byte
		if _, err := io.ReadFull(c, id[:]); err == nil {
			_ = (&pattern{seed: uint64(id[0])}).send(c, size)
		}
	})
	r := startRig(t, &Config{Listeners: []*Listener{plainListener(roundRobin(t, o.addr))}, Limits: Limits{BufferedBytes: bound}, Loops: 2})
	r.e.each(func(l *loop) { l.pipes.dry = true }) // all of it goes through memory
	conns := make([]net.Conn, clients)
	for i := range conns {
		c := r.dial(0)
		_, _ = c.Write([]byte{byte(seed.Add(1))})
		conns[i] = c
	}
	most := int64(0)
	watch := func() { most = max(most, r.e.Stats().BufferedBytes) }
	// Everything that fits in the kernel and under the bound arrives.
	for last, same := int64(-1), 0; same < 20; time.Sleep(time.Millisecond) { // no event says that nothing moves
		watch()
		down := int64(r.e.Stats().Servers[0].BytesDown) + r.e.Stats().BufferedBytes
		if same++; down != last {
			last, same = down, 0
		}
	}
	if most < bound/2 {
		t.Fatalf("only %d bytes were buffered: the clients are not slow enough for this test", most)
	}
	var wg sync.WaitGroup
	for i, c := range conns {
		wg.Go(func() {
			p := &pattern{seed: uint64(byte(i + 1))}
			if n, err := p.check(c); err != nil || n != size {
				t.Errorf("client %d got %d bytes, %v, want %d", i, n, err, size)
			}
		})
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	for open := true; open; {
		select {
		case <-done:
			open = false
		default:
			watch()
			time.Sleep(time.Millisecond) // between two looks at a gauge
		}
	}
	if most > bound {
		t.Errorf("%d bytes were buffered at most, want up to %d", most, bound)
	}
	for _, c := range conns {
		c.Close()
	}
}

func TestInternerForgetsAndStaysSmall(t *testing.T) {
	in := interner{}
	a := in.get([]byte("chat.example.com"))
	if b := in.get([]byte("chat.example.com")); a != b || len(in) != 1 {
		t.Errorf("got %q and %q from %d strings", a, b, len(in))
	}
	known := []byte("chat.example.com")
	if n := testing.AllocsPerRun(100, func() { in.get(known) }); n != 0 {
		t.Errorf("a known name costs %v allocations, want 0", n)
	}
	for i := range 3 * maxInterned {
		if got, want := in.get(fmt.Appendf(nil, "%d", i)), strconv.Itoa(i); got != want || len(in) > maxInterned {
			t.Fatalf("got %q, want %q, from %d strings", got, want, len(in))
		}
	}
	long := bytes.Repeat([]byte("h2,"), 10000) // an ALPN list may take most of a hello
	for i := range 100 {
		copy(long, fmt.Sprintf("%09d", i))
		if got := in.get(long); got != string(long) {
			t.Fatalf("got another string, of %d bytes", len(got))
		}
	}
	kept := 0
	for s := range in {
		kept += len(s)
	}
	if kept > 1<<20 {
		t.Errorf("%d bytes of strings are kept, want at most 1 MiB", kept)
	}
}
