package l4

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	mrand "math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"culvert/balancer"
	"culvert/l4/internal/program"
	"culvert/l4/socket"
)

// patience bounds every wait of a test. What it waits for takes milliseconds;
// the machine may be busy.
const patience = 20 * time.Second

// rig is an engine under test, with what it reported.
type rig struct {
	t       testing.TB
	e       *Engine
	addrs   []string
	records chan Record
	clock   *clock
}

// clock is an injected clock: it runs like the real one, plus what advance
// added.
type clock struct {
	start time.Time
	ahead atomic.Int64
}

func (c *clock) now() time.Duration { return time.Since(c.start) + time.Duration(c.ahead.Load()) }

// startRig starts an engine and, when the test ends, checks that it left
// nothing behind: no descriptor, goroutine, reserved place or buffered byte.
func startRig(t testing.TB, cfg *Config) *rig {
	t.Helper()
	return startHookedRig(t, cfg, nil)
}

// startHookedRig is startRig with a function that the loop calls, once, when a
// connection ends.
func startHookedRig(t testing.TB, cfg *Config, ended *atomic.Pointer[func()]) *rig {
	t.Helper()
	fds, goroutines := openFDs(t), runtime.NumGoroutine()
	r := &rig{t: t, records: make(chan Record, 1<<17), clock: &clock{start: time.Now()}}
	e, err := Start(cfg, Hooks{Now: r.clock.now, Record: func(rec *Record) {
		if ended != nil {
			if f := ended.Swap(nil); f != nil {
				(*f)()
			}
		}
		select {
		case r.records <- *rec:
		default: // a load test that does not look
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	r.e = e
	for _, a := range e.Addrs() {
		r.addrs = append(r.addrs, strings.TrimPrefix(a.String(), "unix:"))
	}
	t.Cleanup(func() { r.stop(fds, goroutines) })
	return r
}

func (r *rig) stop(fds, goroutines int) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel() // close what is left at once
	r.e.Shutdown(ctx)
	st := r.e.Stats()
	for _, s := range st.Servers {
		if n := s.Server.Active(); n != 0 {
			r.t.Errorf("server %s has %d active connections at the end, want 0", s.Server.Name(), n)
		}
	}
	for _, l := range st.Listeners {
		if l.Active != 0 {
			r.t.Errorf("listener %s has %d active connections at the end, want 0", l.Name, l.Active)
		}
	}
	if st.BufferedBytes != 0 || st.Pipes != 0 || st.Paused != 0 {
		r.t.Errorf("at the end: %d buffered bytes, %d pipes, %d paused listeners, want none", st.BufferedBytes, st.Pipes, st.Paused)
	}
	eventually(r.t, "descriptors are back at the baseline", func() bool { return openFDs(r.t) <= fds+2 })
	eventually(r.t, "goroutines are back at the baseline", func() bool { return runtime.NumGoroutine() <= goroutines+2 })
}

// advance moves the engine's clock and lets it deal with what became due.
func (r *rig) advance(d time.Duration) {
	r.clock.ahead.Add(int64(d))
	r.e.Tick()
}

// next returns the next record.
func (r *rig) next() Record {
	r.t.Helper()
	select {
	case rec := <-r.records:
		return rec
	case <-time.After(patience):
		r.t.Fatal("no connection ended in time")
		panic("unreachable")
	}
}

// dial connects to listener i, like any client.
func (r *rig) dial(i int) net.Conn {
	r.t.Helper()
	network := "tcp"
	if strings.HasPrefix(r.addrs[i], "/") {
		network = "unix"
	}
	c, err := net.DialTimeout(network, r.addrs[i], patience)
	if err != nil {
		r.t.Fatal(err)
	}
	_ = c.SetDeadline(time.Now().Add(patience))
	r.t.Cleanup(func() { c.Close() })
	return c
}

// dialTLS makes a handshake through listener 0.
func (r *rig) dialTLS(name string) *tls.Conn {
	r.t.Helper()
	c := tls.Client(r.dial(0), &tls.Config{ServerName: name, InsecureSkipVerify: true})
	if err := c.Handshake(); err != nil {
		r.t.Fatal(err)
	}
	return c
}

// tlsListener is a listener on a free loopback port that routes by name.
func tlsListener(t testing.TB, def *Route, routes ...*Route) *Listener {
	t.Helper()
	table, err := NewTable(routes, def)
	if err != nil {
		t.Fatal(err)
	}
	return &Listener{Name: "tls", Address: ip("127.0.0.1:0"), Table: table}
}

// plainListener is a plain TCP listener on a free loopback port.
func plainListener(p *Pool) *Listener {
	return &Listener{Name: "plain", Address: ip("127.0.0.1:0"), Pool: p}
}

func ip(addrPort string) socket.Addr { return socket.IP(netip.MustParseAddrPort(addrPort)) }

// roundRobin is a pool over addresses ("ip:port" or "/path") whose order of
// picks is known.
func roundRobin(t testing.TB, addrs ...string) *Pool {
	t.Helper()
	var servers []balancer.ServerConfig
	for _, a := range addrs {
		servers = append(servers, balancer.ServerConfig{Address: a})
	}
	return inTurn(t, servers...)
}

// inTurn is a pool that takes these servers in turn.
func inTurn(t testing.TB, servers ...balancer.ServerConfig) *Pool {
	t.Helper()
	p := &Pool{}
	for _, s := range servers {
		p.Targets = append(p.Targets, target(t, s.Address))
	}
	b, err := balancer.New(balancer.Config{Name: "pool", Policy: balancer.RoundRobin, Servers: servers})
	if err != nil {
		t.Fatal(err)
	}
	p.Balancer = b
	return p
}

func target(t testing.TB, a string) socket.Target {
	t.Helper()
	if !strings.HasPrefix(a, "/") {
		return socket.NewTarget(ip(a))
	}
	u, err := socket.Unix(a)
	if err != nil {
		t.Fatal(err)
	}
	return socket.NewTarget(u)
}

func openFDs(t testing.TB) int {
	t.Helper()
	d, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(d)
}

// eventually waits until ok holds; there is no event to wait for.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Errorf("not in time: %s", what)
}

// soak returns how much of something a test does: small in every run, large
// when CULVERT_SOAK=1 asks for a long one.
func soak(small, large int) int {
	if os.Getenv("CULVERT_SOAK") == "1" {
		return large
	}
	return small
}

// raced reports that the race detector is on: everything takes ten times as
// long.
var raced = sync.OnceValue(func() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
})

// isolated runs the test in a process of its own with a network of its own,
// in which it may do what it likes to routes and packets. It reports true in
// that process; in the one that started it, it reports false when all is over.
func isolated(t *testing.T) bool {
	t.Helper()
	if os.Getenv("CULVERT_ISOLATED") == t.Name() {
		sh(t, "ip link set lo up")
		return true
	}
	if os.Getuid() != 0 {
		program.Missing(t, "root")
	}
	program.Need(t, "ip", "nft")
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout=60s")
	cmd.Env = append(os.Environ(), "CULVERT_ISOLATED="+t.Name())
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("in its own network: %v\n%s", err, out)
	}
	return false
}

// sh runs a shell command.
func sh(t testing.TB, command string) {
	t.Helper()
	if out, err := exec.Command("sh", "-ec", command).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", command, err, out)
	}
}

// pattern is an endless stream: a long random block again and again, entered
// at a place that depends on the seed. A byte that is lost, doubled or from
// another stream is found. Read makes the stream and Write checks it.
type pattern struct {
	seed uint64
	off  int64
}

// patternBlock has a prime length, so that no buffer size divides it.
var patternBlock = sync.OnceValue(func() []byte {
	b := make([]byte, 1<<20-3)
	chacha := mrand.NewChaCha8([32]byte{1})
	_, _ = chacha.Read(b)
	return b
})

// here is the stream at off, up to the end of the block.
func (p *pattern) here() []byte {
	b := patternBlock()
	enter := p.seed * 0x9e3779b97f4a7c15 % uint64(len(b))
	return b[(enter+uint64(p.off))%uint64(len(b)):]
}

func (p *pattern) Read(b []byte) (int, error) {
	for left := b; len(left) > 0; {
		n := copy(left, p.here())
		left, p.off = left[n:], p.off+int64(n)
	}
	return len(b), nil
}

func (p *pattern) Write(b []byte) (int, error) {
	for left := b; len(left) > 0; {
		want := p.here()
		n := min(len(left), len(want))
		if !bytes.Equal(left[:n], want[:n]) {
			return len(b) - len(left), fmt.Errorf("stream %#x is wrong between bytes %d and %d", p.seed, p.off, p.off+int64(n))
		}
		left, p.off = left[n:], p.off+int64(n)
	}
	return len(b), nil
}

// send writes n bytes of the stream.
func (p *pattern) send(w io.Writer, n int64) error {
	buf := make([]byte, min(n, 64<<10))
	for n > 0 {
		b := buf[:min(n, int64(len(buf)))]
		_, _ = p.Read(b)
		if _, err := w.Write(b); err != nil {
			return err
		}
		n -= int64(len(b))
	}
	return nil
}

// check reads to the end of the stream and returns how many bytes came.
func (p *pattern) check(r io.Reader) (int64, error) {
	start := p.off
	_, err := io.Copy(struct{ io.Writer }{p}, struct{ io.Reader }{r})
	return p.off - start, err
}

// hold stops every loop until release is called: what happens meanwhile comes
// to them in one batch of events.
func (r *rig) hold() (release func()) {
	gate := make(chan struct{})
	var held sync.WaitGroup
	for _, l := range r.e.loops {
		held.Add(1)
		l.post(func(*loop) { held.Done(); <-gate })
	}
	held.Wait()
	return sync.OnceFunc(func() { close(gate) })
}

// on runs f on the loop of the only connection, if there is one.
func (r *rig) on(f func(*loop, *conn)) {
	r.e.each(func(l *loop) {
		for _, c := range l.conns {
			if c != nil && c.phase != phaseGone {
				f(l, c)
			}
		}
	})
}

// isErr reports whether err is or wraps want.
func isErr(err, want error) bool { return errors.Is(err, want) }

// fileConn makes a net.Conn of a connected socket and owns it.
func fileConn(t testing.TB, fd int) net.Conn {
	t.Helper()
	f := os.NewFile(uintptr(fd), "socket")
	defer f.Close()
	c, err := net.FileConn(f)
	if err != nil {
		t.Fatal(err)
	}
	_ = c.SetDeadline(time.Now().Add(patience))
	t.Cleanup(func() { c.Close() })
	return c
}

// outq is how many bytes of fd's send queue are not acknowledged.
func outq(fd int) int { return socket.Unacked(fd) }
