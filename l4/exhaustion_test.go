package l4

import (
	"bytes"
	"io"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// waitIn is one client of an engine in another process: it says a byte, waits
// for it to come back, and then holds the connection until it is told to
// leave.
func waitIn(t *testing.T, addr string, served *atomic.Int64, leave <-chan struct{}) {
	c, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		t.Error(err)
		return
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(3 * patience))
	_, _ = c.Write([]byte("?"))
	if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
		t.Errorf("a client that waited was rejected: %v", err)
		return
	}
	served.Add(1)
	<-leave
}

// pingPong checks that an established connection works.
func pingPong(t *testing.T, conns []net.Conn) {
	t.Helper()
	for _, c := range conns {
		_ = c.SetDeadline(time.Now().Add(patience))
		msg, got := []byte("still there?"), make([]byte, 12)
		if _, err := c.Write(msg); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, msg) {
			t.Fatalf("got %q, %v, want the echo", got, err)
		}
	}
}

func dialAll(t *testing.T, addr string, n int) (conns []net.Conn) {
	t.Helper()
	for range n {
		c, err := net.DialTimeout("tcp", addr, patience)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		conns = append(conns, c)
	}
	return conns
}

// doesNotSpin checks that the process uses little of a processor.
func doesNotSpin(t *testing.T, p *engineProcess) {
	t.Helper()
	const while = 500 * time.Millisecond
	before := p.ask("")
	time.Sleep(while)  // CPU time is measured over a time
	after := p.ask("") // which costs two garbage collections
	if share := float64(after.CPU-before.CPU) / float64(while); share > 0.3 {
		t.Errorf("the engine used %.0f%% of a processor while it had nothing to do", 100*share)
	}
}

func TestEngineOutOfPlacesServesWhomItHasAndLosesNobody(t *testing.T) {
	o := startOrigin(t, echo)
	p, s := startProcess(t, engineSpec{Origin: o.addr, FDs: 256, Loops: 2})
	old := dialAll(t, s.Addr, 10)
	pingPong(t, old)
	const clients = 1000
	var served atomic.Int64
	leave := make(chan struct{})
	var wg sync.WaitGroup
	for range clients {
		wg.Go(func() { waitIn(t, s.Addr, &served, leave) })
	}
	full := 0
	eventually(t, "the engine is full", func() bool {
		s := p.ask("")
		full = int(s.Active)
		return s.Paused > 0 && int(served.Load())+len(old) == full && s.FDs >= 2*full
	})
	if full < 50 || full > 128 {
		t.Errorf("256 descriptors carry %d connections, want 50 to 128", full)
	}
	doesNotSpin(t, p)
	pingPong(t, old)
	if n := int(served.Load()) + len(old); n != full {
		t.Errorf("%d are served at a time, want %d", n, full)
	}
	close(leave)
	wg.Wait()
	if n := served.Load(); n != clients {
		t.Errorf("%d of %d were served in the end", n, clients)
	}
	pingPong(t, old)
}

func TestP13EngineOutOfDescriptorsPausesAndRecovers(t *testing.T) {
	o := startOrigin(t, echo)
	p, s := startProcess(t, engineSpec{Origin: o.addr, Loops: 2})
	old := dialAll(t, s.Addr, 10)
	pingPong(t, old)
	base := p.ask("full 0")
	var served atomic.Int64
	leave := make(chan struct{})
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() { waitIn(t, s.Addr, &served, leave) })
	}
	eventually(t, "the listener is paused", func() bool { return p.ask("").Paused > 0 })
	doesNotSpin(t, p)
	pingPong(t, old)
	if s := p.ask(""); s.Accepted != base.Accepted || s.FDs != base.FDs || served.Load() != 0 {
		t.Errorf("%d were accepted with no descriptor left", s.Accepted-base.Accepted)
	}
	p.ask("free")
	eventually(t, "all are served", func() bool { return served.Load() == 100 })
	close(leave)
	wg.Wait()
	pingPong(t, old)
	eventually(t, "descriptors are back at the baseline", func() bool { return p.ask("").FDs == base.FDs })
}

// That this process has no descriptor to spare is not the server's fault: it
// must not be counted, and so not be ejected, for it.
func TestServerIsNotBlamedForMissingDescriptors(t *testing.T) {
	r := chatRig(t)
	wire := chatHello(t)
	conns, _, _ := r.connect(1, wire[:1])
	var all syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &all); err != nil {
		t.Fatal(err)
	}
	fillers := fillFDs(t, openFDs(t)+16)
	_, err := conns[0].Write(wire[1:])
	r.e.Tick()
	limitFDs(t, all.Cur)
	for _, fd := range fillers {
		syscall.Close(fd)
	}
	if err != nil || len(fillers) == 0 {
		t.Fatal(len(fillers), err)
	}
	if s := r.e.Stats().Servers[0]; len(s.Failures) > 0 || s.Active > 0 {
		t.Errorf("the server has %d failures %v and %d connections, want none", len(s.Failures), s.Failures, s.Active)
	}
	if rec := r.next(); rec.EndedBy != Culvert || len(rec.Tries) > 0 {
		t.Errorf("got record %+v", rec)
	}
	r.wantEchoed("a hello afterwards", wire)
}

func TestIdleConnectionCostsTwoDescriptorsAndHalfAKiB(t *testing.T) {
	wire := chatHello(t)
	o := startOrigin(t, func(c net.Conn) { // cheaper than echo: both ends are in this process
		b := make([]byte, len(wire))
		if _, err := io.ReadFull(c, b); err == nil {
			_, _ = c.Write(b[:1])
			_, _ = c.Read(b)
		}
	})
	p, s := startProcess(t, engineSpec{Origin: o.addr, Hello: true, Loops: 2})
	connect := func(n int) []net.Conn {
		conns := dialAll(t, s.Addr, n)
		for _, c := range conns {
			if _, err := c.Write(wire); err != nil {
				t.Fatal(err)
			}
		}
		for _, c := range conns {
			_ = c.SetDeadline(time.Now().Add(patience))
			if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
				t.Fatal(err)
			}
		}
		return conns
	}
	n := soak(4000, 8000)
	connect(1000) // what the first ones set up is there once
	before := p.ask("")
	connect(n)
	after := p.ask("")
	each := float64(after.Memory-before.Memory) / float64(n)
	if each > 512 && n <= 4000 { // what else the process does only adds: once more
		connect(n)
		each = min(each, float64(p.ask("").Memory-after.Memory)/float64(n))
	}
	if got := after.FDs - before.FDs; got != 2*n {
		t.Errorf("%d connections have %d descriptors, want %d", n, got, 2*n)
	}
	if after.Active != before.Active+int64(n) || after.Pipes != 0 || after.Goroutines != before.Goroutines {
		t.Errorf("got %+v, want %d connections, no pipes and %d goroutines", after, 1000+n, before.Goroutines)
	}
	t.Logf("%.0f bytes of memory each", each)
	if !raced() && each > 512 {
		t.Errorf("an idle connection costs %.0f bytes of memory, want at most 512", each)
	}
	doesNotSpin(t, p)
}

func TestChurnLeavesNothingBehind(t *testing.T) {
	var origins []string
	for range 4 { // more ports than one address has
		origins = append(origins, startOrigin(t, echo).addr)
	}
	r := startRig(t, &Config{Listeners: []*Listener{plainListener(roundRobin(t, origins...))}, Loops: 2})
	churn := func(n int) {
		var wg sync.WaitGroup
		var left atomic.Int64
		left.Store(int64(n))
		for range 16 {
			wg.Go(func() {
				for left.Add(-1) >= 0 {
					c, err := net.DialTimeout("tcp", r.addrs[0], patience)
					if err != nil {
						t.Error(err)
						return
					}
					_ = c.SetDeadline(time.Now().Add(patience))
					if _, err := c.Write([]byte("?")); err != nil {
						t.Error(err)
					}
					if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
						t.Error(err)
					}
					reset(c) // leaves no port waiting
				}
			})
		}
		wg.Wait()
		eventually(t, "all have ended", func() bool { return r.e.Stats().Listeners[0].Active == 0 })
		for len(r.records) > 0 {
			<-r.records
		}
	}
	heap := func() int64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	churn(2000)
	fds, goroutines, memory := openFDs(t), runtime.NumGoroutine(), heap()
	const large = 1000000
	n := soak(50000, large)
	churn(n)
	eventually(t, "descriptors are back", func() bool { return openFDs(t) <= fds+2 })
	eventually(t, "goroutines are back", func() bool { return runtime.NumGoroutine() <= goroutines+2 })
	if grown := heap() - memory; grown > 1<<20 {
		t.Errorf("%d bytes more are in use after %d connections, want at most 1 MiB", grown, n)
	}
	st := r.e.Stats()
	if got, want := st.Listeners[0].Accepted, uint64(n+2000); got != want {
		t.Errorf("%d were accepted, want %d", got, want)
	}
}
