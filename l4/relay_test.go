package l4

import (
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"unsafe"
)

// cpuTime is what this process has used so far.
func cpuTime(t testing.TB) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// staysQuiet fails the test if the process, which has nothing to do, keeps a
// processor busy.
func staysQuiet(t testing.TB, when string) {
	t.Helper()
	const window = 500 * time.Millisecond
	before := cpuTime(t)
	time.Sleep(window) // the time in which nothing is to happen
	if used := cpuTime(t) - before; used > window/4 {
		t.Errorf("%s: %v of processor time in %v, want next to none", when, used, window)
	}
}

func TestSmallMessagesAreNotHeldBack(t *testing.T) {
	o := startOrigin(t, echo)
	for _, loops := range []int{1, 2} {
		r := startRig(t, &Config{Listeners: []*Listener{plainListener(roundRobin(t, o.addr))}, Loops: loops})
		c := r.dial(0)
		_ = c.SetDeadline(time.Now().Add(3 * patience))
		n, slow := soak(2000, 100_000), 0
		b := []byte{1}
		for range n {
			start := time.Now()
			if _, err := c.Write(b); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(c, b); err != nil {
				t.Fatal(err)
			}
			if time.Since(start) > 35*time.Millisecond { // a corked or delayed segment takes 40 or 200
				slow++
			}
		}
		if slow > n/100 {
			t.Errorf("%d of %d round trips took over 35 ms, want next to none", slow, n)
		}
		c.Close()
	}
}

func TestGigabytesThroughOneConnection(t *testing.T) {
	size := int64(2 << 30)
	switch {
	case raced():
		size = 256 << 20
	case testing.Short():
		size = 64 << 20
	}
	size = int64(soak(int(size), 100<<30))
	p := startPairs(t, 0, nil)
	c, s := p.connect()
	for _, e := range []net.Conn{c, s} {
		_ = e.SetDeadline(time.Now().Add(hour))
	}
	var wg sync.WaitGroup
	for i, d := range []struct{ from, to *net.TCPConn }{{c, s}, {s, c}} {
		wg.Go(func() {
			if err := transfer(d.from, d.to, uint64(i), size/2); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if rec := p.next(); rec.BytesUp != uint64(size/2) || rec.BytesDown != uint64(size/2) || rec.Reason != ReasonClosed {
		t.Errorf("got record %+v, want %d bytes each way", rec, size/2)
	}
}

func TestP8ManyStreamsDoNotMix(t *testing.T) {
	size := int64(512 << 10)
	if raced() {
		size = 128 << 10
	}
	p := startPairs(t, 0, func(c *Config) { c.Loops = 2 })
	var wg sync.WaitGroup
	for i := range uint64(512) {
		c, s := p.connect()
		for _, e := range []net.Conn{c, s} {
			_ = e.SetDeadline(time.Now().Add(3 * patience))
		}
		wg.Go(func() {
			if err := transfer(c, s, 2*i, size+int64(i)); err != nil {
				t.Errorf("stream %d up: %v", i, err)
			}
		})
		wg.Go(func() {
			if err := transfer(s, c, 2*i+1, size-int64(i)); err != nil {
				t.Errorf("stream %d down: %v", i, err)
			}
		})
	}
	wg.Wait()
}

// chaos sends a random amount in random pieces and then ends in a random way.
// It reports how much it meant to send and whether it ended with a FIN.
func chaos(rnd *rand.Rand, c *net.TCPConn, seed uint64) (n int64, fin bool) {
	n = rnd.Int64N(1 << rnd.IntN(22))
	src := &pattern{seed: seed}
	for left := n; left > 0; {
		m := min(left, 1+rnd.Int64N(1<<rnd.IntN(18)))
		if src.send(c, m) != nil {
			return n, false
		}
		left -= m
		if rnd.IntN(200) == 0 {
			return n, false
		}
	}
	return n, rnd.IntN(20) > 0 && c.CloseWrite() == nil
}

// TestChaos has many connections end in every way in the middle of whatever
// they do. What arrives is right up to the end, and complete unless somebody
// reset.
func TestChaos(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	p := startPairs(t, 0, func(c *Config) { c.Loops = 2 })
	// Both ends of one connection must know each other, so connections are
	// made one by one, and live side by side.
	var wg sync.WaitGroup
	var whole atomic.Int64
	places := make(chan bool, 48)
	n := soak(600, 50_000)
	for i := range n {
		places <- true
		c, s := p.connect()
		wg.Go(func() {
			defer func() { <-places }()
			whole.Add(chaosPair(t, seed+uint64(i)*4, c, s))
		})
	}
	wg.Wait()
	if whole.Load() < int64(n)/2 {
		t.Errorf("%d of %d connections went through whole, want most", whole.Load(), n)
	}
}

// chaosPair returns 1 if both directions ended well.
func chaosPair(t *testing.T, seed uint64, c, s *net.TCPConn) int64 {
	defer c.Close()
	defer s.Close()
	var wg sync.WaitGroup
	var sent, got [2]int64
	var fin [2]bool
	var errs [2]error
	for i, d := range []struct{ from, to *net.TCPConn }{{c, s}, {s, c}} {
		rnd := rand.New(rand.NewPCG(seed, uint64(i)))
		wg.Go(func() {
			sent[i], fin[i] = chaos(rnd, d.from, seed+uint64(i))
			if !fin[i] {
				reset(d.from)
			}
		})
		wg.Go(func() { got[i], errs[i] = (&pattern{seed: seed + uint64(i)}).check(d.to) })
	}
	wg.Wait()
	whole := fin[0] && fin[1]
	for i := range 2 {
		var wrong net.Error
		if errs[i] != nil && !errors.As(errs[i], &wrong) {
			t.Errorf("connection %d: %v", seed, errs[i])
		}
		if isTimeout(errs[i]) || got[i] > sent[i] || whole && (got[i] != sent[i] || errs[i] != nil) {
			t.Errorf("connection %d: got %d of %d bytes, %v; both ended with a FIN: %v", seed, got[i], sent[i], errs[i], whole)
		}
	}
	if whole {
		return 1
	}
	return 0
}

// A stream that always has more to send does not keep its neighbours on the
// same loop from having their turns.
func TestBulkStreamLeavesTurnsToOthers(t *testing.T) {
	p := startPairs(t, 0, func(c *Config) { c.Loops = 1 })
	bc, bs := p.connect()
	for _, e := range []net.Conn{bc, bs} {
		_ = e.SetDeadline(time.Now().Add(3 * patience))
	}
	var moved atomic.Int64
	var wg sync.WaitGroup
	wg.Go(func() {
		b := make([]byte, 1<<20)
		for {
			if _, err := bc.Write(b); err != nil {
				return
			}
		}
	})
	wg.Go(func() {
		b := make([]byte, 1<<20)
		for {
			n, err := bs.Read(b)
			moved.Add(int64(n))
			if err != nil {
				return
			}
		}
	})
	c, s := p.connect()
	wg.Go(func() { echo(s) })
	eventually(t, "the bulk stream flows", func() bool { return moved.Load() > 16<<20 })
	var between []int64
	for range soak(200, 10_000) {
		before := moved.Load()
		if _, err := c.Write([]byte("a")); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		between = append(between, moved.Load()-before)
	}
	bc.Close()
	bs.Close()
	c.Close()
	wg.Wait()
	slices.Sort(between)
	if m := between[len(between)/2]; m > 256*quantum {
		t.Errorf("%d bytes moved by the bulk stream for one small round trip, want no more than %d", m, 256*quantum)
	}
}

// One turn of a connection ends when its budget is used up, with the rest
// put off, whatever is still to be had.
func TestTurnHasABudget(t *testing.T) {
	p := startPairs(t, 0, func(c *Config) { c.Loops = 1 })
	for _, f := range []side{client, server} {
		s := p.newStream(1, f.other())
		engineFD := make(chan int, 1)
		p.on(func(_ *loop, c *conn) {
			_ = syscall.SetsockoptInt(int(c.ends[f].fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 8<<20)
			engineFD <- int(c.ends[f].fd)
		})
		held, gate, result := make(chan bool), make(chan bool), make(chan [2]uint64, 1)
		p.e.loops[0].post(func(l *loop) {
			held <- true
			<-gate
			for _, c := range l.conns {
				if c != nil && c.phase == phaseRelay {
					before := c.flows[f].bytes
					c.ends[f].readable = true
					l.relay(c)
					left := uint64(socketQueue(int(c.ends[f].fd)))
					result <- [2]uint64{c.flows[f].bytes - before, left}
				}
			}
		})
		<-held
		sent := make(chan error, 1)
		go func() { sent <- (&pattern{seed: 1}).send(s.from, 4<<20) }()
		fd := <-engineFD
		eventually(t, "much is there to be read", func() bool { return socketQueue(fd) > 3*quantum })
		close(gate)
		if got := <-result; got[0] == 0 || got[0] > 2*quantum || got[1] == 0 {
			t.Errorf("one turn moved %d bytes and left %d, want some, at most %d, and some left", got[0], got[1], 2*quantum)
		}
		s.read(4 << 20)
		if err := <-sent; err != nil {
			t.Fatal(err)
		}
		s.to.Close()
		s.from.Close()
		p.next()
	}
}

// socketQueue is how many bytes of fd wait to be read.
func socketQueue(fd int) int {
	var n int32
	_, _, _ = syscall.Syscall(syscall.SYS_IOCTL, uintptr(fd), syscall.TIOCINQ, uintptr(unsafe.Pointer(&n)))
	return int(n)
}
