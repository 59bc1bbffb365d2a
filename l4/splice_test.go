package l4

import (
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"culvert/l4/internal/program"
)

// setPipes changes how many pipes an engine with one loop may have.
func (p *pairs) setPipes(n int64) {
	p.e.each(func(l *loop) { l.eng.pipes.maxPipes = n })
}

// holdsPipe reports whether some flow of a connection has bytes in a pipe.
func (p *pairs) holdsPipe() (n int) {
	p.on(func(_ *loop, c *conn) {
		for _, f := range c.flows {
			if f.pipe != nil && f.pipe.Len > 0 {
				n++
			}
		}
	})
	return n
}

// stream is a one-way transfer whose reader stops and goes on at will.
type stream struct {
	t        testing.TB
	seed     uint64
	from, to *net.TCPConn
	sent     int64
	got      int64
}

// stall writes until nothing moves any more.
func (s *stream) stall() {
	_ = s.from.SetWriteDeadline(time.Now().Add(60 * time.Millisecond))
	for b := make([]byte, 64<<10); ; {
		_, _ = (&pattern{seed: s.seed, off: s.sent}).Read(b)
		n, err := s.from.Write(b)
		s.sent += int64(n)
		if err == nil {
			_ = s.from.SetWriteDeadline(time.Now().Add(60 * time.Millisecond))
			continue
		}
		if !isTimeout(err) {
			s.t.Error(err)
		}
		for _, c := range []*net.TCPConn{s.from, s.to} {
			_ = c.SetDeadline(time.Now().Add(3 * patience))
		}
		return
	}
}

// read takes n bytes out.
func (s *stream) read(n int64) {
	m, err := io.CopyN(&pattern{seed: s.seed, off: s.got}, struct{ io.Reader }{s.to}, n)
	s.got += m
	if err != nil {
		s.t.Errorf("stream %d: %v", s.seed, err)
	}
}

// finish goes on for a while, ends, and checks the rest.
func (s *stream) finish() {
	const more = 1 << 20
	done := make(chan error, 1)
	go func() {
		err := (&pattern{seed: s.seed, off: s.sent}).send(s.from, more)
		done <- errors.Join(err, s.from.CloseWrite())
	}()
	n, err := (&pattern{seed: s.seed, off: s.got}).check(s.to)
	if want := s.sent + more - s.got; n != want || err != nil {
		s.t.Errorf("stream %d: got %d bytes, %v, want %d", s.seed, n, err, want)
	}
	if err := <-done; err != nil {
		s.t.Error(err)
	}
}

// getStuck lets pipes become stuck: they are looked at four times a second.
func (p *pairs) getStuck() {
	for range 8 {
		p.advance(stuckAfter / 4)
	}
}

// newStream is a stream whose reader is the side slow.
func (p *pairs) newStream(seed uint64, slow side) *stream {
	c, s := p.connect()
	if slow == client {
		return &stream{t: p.t, seed: seed, from: s, to: c}
	}
	return &stream{t: p.t, seed: seed, from: c, to: s}
}

// A peer that stops reading stops the other one. What the engine holds for
// them is bounded, it costs no processor time, and nothing is lost.
func TestSlowPeerStopsTheOther(t *testing.T) {
	for _, slow := range []side{client, server} {
		t.Run(slow.party().String(), func(t *testing.T) {
			p := startPairs(t, 64<<10, func(c *Config) { c.Loops = 1 })
			const n = 16
			var streams [n]*stream
			var wg sync.WaitGroup
			for i := range streams {
				streams[i] = p.newStream(uint64(i), slow)
				wg.Go(streams[i].stall)
			}
			wg.Wait()
			st := p.e.Stats()
			if st.BufferedBytes > n*bufferSize {
				t.Errorf("%d bytes are buffered for %d slow readers, want no more than %d", st.BufferedBytes, n, n*bufferSize)
			}
			if st.Pipes > 2*n {
				t.Errorf("%d pipes are open for %d slow readers", st.Pipes, n)
			}
			staysQuiet(t, "with stalled streams")
			p.getStuck()
			if k := p.e.Stats().BufferedBytes; k > n*bufferSize {
				t.Errorf("%d bytes are buffered for %d stuck readers, want no more than %d", k, n, n*bufferSize)
			}
			staysQuiet(t, "with stuck streams")
			c, s := p.connect()
			if err := transfer(c, s, 77, 4<<20); err != nil {
				t.Errorf("a stream beside the slow ones: %v", err)
			}
			for _, s := range streams {
				wg.Go(s.finish)
			}
			wg.Wait()
		})
	}
}

// A reader that stops and goes on many times loses nothing.
func TestStopAndGoLosesNothing(t *testing.T) {
	p := startPairs(t, 256<<10, nil)
	for i := range soak(2, 100) {
		s := p.newStream(uint64(i), side(i%2))
		for range 3 {
			s.stall()
			s.read((s.sent - s.got) / 2)
			s.stall()
			s.read(s.sent - s.got)
		}
		s.finish()
		s.to.Close()
		p.next()
	}
}

// stuckStreams makes streams that have a stuck pipe each.
func stuckStreams(t *testing.T, p *pairs, n int) (streams []*stream) {
	t.Helper()
	for i := range n {
		s := p.newStream(uint64(i), client)
		s.stall()
		for range 20 { // it may have stalled while it copied
			if p.holdsPipe() == i+1 {
				break
			}
			s.read(s.sent - s.got)
			s.stall()
		}
		if got := p.holdsPipe(); got != i+1 {
			t.Fatalf("%d stalled streams hold %d pipes", i+1, got)
		}
		streams = append(streams, s)
	}
	return streams
}

// When pipes are short, one that did not move for a second is emptied into
// memory and given to somebody who can use it.
func TestStuckPipesAreGivenBackWhenTheyAreShort(t *testing.T) {
	p := startPairs(t, 64<<10, func(c *Config) { c.Loops = 1 })
	p.setPipes(3)
	streams := stuckStreams(t, p, 3)
	p.getStuck()
	st := p.e.Stats()
	if got := p.holdsPipe(); got >= 3 || st.BufferedBytes == 0 || st.BufferedBytes > 3*bigPipe {
		t.Errorf("%d of 3 stuck pipes are still held, %d bytes are buffered", got, st.BufferedBytes)
	}
	stuckStreams(t, p, 1)[0].finish() // the pipes that came back serve others
	for _, s := range streams {
		s.finish()
	}
	if k := p.e.Stats().BufferedBytes; k != 0 {
		t.Errorf("%d bytes are buffered when all is delivered, want 0", k)
	}
}

// With plenty of pipes a stuck one stays in the kernel: memory is dearer.
func TestStuckPipesStayWhenThereArePlenty(t *testing.T) {
	p := startPairs(t, 64<<10, func(c *Config) { c.Loops = 1 })
	streams := stuckStreams(t, p, 2)
	p.getStuck()
	if k := p.e.Stats().BufferedBytes; k > 2*maxStuckCopy {
		t.Errorf("%d bytes of two stuck pipes are in memory, want no more than %d", k, 2*maxStuckCopy)
	}
	for _, s := range streams {
		s.finish()
	}
}

// A stream that ends while its bytes are in a stuck pipe, or were taken from
// one, still delivers them; one that is reset gives the pipe up.
func TestStuckStreamsEnd(t *testing.T) {
	p := startPairs(t, 64<<10, func(c *Config) { c.Loops = 1 })
	p.setPipes(1)
	for _, evicted := range []bool{false, true} {
		for _, end := range []string{"FIN", "RST of the reader", "RST of the writer"} {
			s := stuckStreams(t, p, 1)[0]
			if evicted {
				p.getStuck()
				if p.holdsPipe() != 0 {
					t.Fatal("the stuck pipe is still held")
				}
			}
			switch end {
			case "FIN":
				s.finish()
				s.to.Close()
			case "RST of the reader":
				reset(s.to)
				if rec := p.next(); rec.Reason != ReasonReset || rec.EndedBy != Client {
					t.Errorf("%s: got %v by %v", end, rec.Reason, rec.EndedBy)
				}
				continue
			case "RST of the writer":
				reset(s.from)
				got, err := (&pattern{off: s.got}).check(s.to)
				if !isErr(err, syscall.ECONNRESET) {
					t.Errorf("%s: got %v after %d bytes, want %v", end, err, got, syscall.ECONNRESET)
				}
			}
			p.next()
			if st := p.e.Stats(); st.BufferedBytes != 0 || st.Pipes > 1 {
				t.Errorf("%s: %d buffered bytes, %d pipes, want none, at most 1", end, st.BufferedBytes, st.Pipes)
			}
		}
	}
}

// manyTransfers runs n connections that send size bytes both ways at once.
func (p *pairs) manyTransfers(n int, size int64) {
	p.t.Helper()
	var wg sync.WaitGroup
	for i := range uint64(n) {
		c, s := p.connect()
		for _, e := range []net.Conn{c, s} {
			_ = e.SetDeadline(time.Now().Add(3 * patience))
		}
		wg.Go(func() {
			if err := transfer(c, s, 2*i, size); err != nil {
				p.t.Errorf("stream %d up: %v", i, err)
			}
			if err := transfer(s, c, 2*i+1, size); err != nil {
				p.t.Errorf("stream %d down: %v", i, err)
			}
		})
	}
	wg.Wait()
}

func TestBulkWithoutPipesIsCopied(t *testing.T) {
	p := startPairs(t, 0, func(c *Config) { c.Loops = 1 })
	p.setPipes(0)
	p.manyTransfers(16, 2<<20)
	if n := p.e.Stats().Pipes; n != 0 {
		t.Errorf("got %d pipes, want none", n)
	}
}

// The kernel gives no pipe: the limit of descriptors is reached. Streams go on
// by copying, and by splice again after a while.
func TestBulkGoesOnWhenTheKernelGivesNoPipe(t *testing.T) {
	p := startPairs(t, 0, func(c *Config) { c.Loops = 1 })
	var cs, ss []*net.TCPConn
	for range 8 {
		c, s := p.connect()
		cs, ss = append(cs, c), append(ss, s)
	}
	var lim syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &lim); err != nil {
		t.Fatal(err)
	}
	low := lim
	low.Cur = uint64(nextFD(t))
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &low); err != nil {
		t.Fatal(err)
	}
	restore := sync.OnceFunc(func() { _ = syscall.Setrlimit(syscall.RLIMIT_NOFILE, &lim) })
	defer restore()
	send := func(i, size int) {
		done := make(chan error, 1)
		go func() { done <- (&pattern{seed: 1}).send(cs[i], int64(size)) }()
		if _, err := io.CopyN(&pattern{seed: 1}, struct{ io.Reader }{ss[i]}, int64(size)); err != nil {
			t.Errorf("without a pipe: %v", err)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	for i := range cs {
		send(i, 4<<20)
	}
	if n := p.e.Stats().Pipes; n != 0 {
		t.Fatalf("got %d pipes at the limit of descriptors, want none", n)
	}
	dry := false
	p.e.each(func(l *loop) { dry = l.pipes.dry })
	if !dry {
		t.Fatal("no stream asked for a pipe")
	}
	restore()
	p.advance(sweepEvery + time.Second)
	for i := range cs {
		send(i, 4<<20)
	}
	if n := p.e.Stats().Pipes; n == 0 {
		t.Error("no pipe is used when there are descriptors again")
	}
}

// nextFD fills the gaps among the descriptors and returns the number that the
// next one would have.
func nextFD(t testing.TB) int {
	t.Helper()
	for prev := -1; ; {
		f, err := os.Open("/dev/null")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		fd := int(f.Fd())
		if highest(t) == fd && prev < fd {
			return fd + 1
		}
		prev = fd
	}
}

func highest(t testing.TB) (fd int) {
	t.Helper()
	d, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range d[:len(d)-1] {
		n, _ := strconv.Atoi(e.Name())
		if _, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil {
			fd = max(fd, n)
		}
	}
	return fd
}

// Pipes that nobody used for a while are closed.
func TestUnusedPipesAreClosed(t *testing.T) {
	p := startPairs(t, 0, func(c *Config) { c.Loops = 1 })
	p.manyTransfers(8, 4<<20)
	if p.e.Stats().Pipes == 0 {
		t.Fatal("no pipe was used")
	}
	for range 4 {
		p.advance(sweepEvery + time.Second)
	}
	if n := p.e.Stats().Pipes; n != 0 {
		t.Errorf("%d pipes are open after half a minute of silence, want none", n)
	}
}

// A user without privileges has 64 MiB for pipes: a thousand bulk streams
// share them, and lose nothing.
func TestUnprivilegedBulk(t *testing.T) {
	const user = 65534
	if os.Getenv("CULVERT_UNPRIVILEGED") == "" {
		if os.Getuid() != 0 {
			program.Missing(t, "root")
		}
		cmd := exec.Command(os.Args[0], "-test.run=^TestUnprivilegedBulk$", "-test.v", "-test.timeout=120s")
		cmd.Env = append(os.Environ(), "CULVERT_UNPRIVILEGED=1")
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("as an unprivileged user: %v\n%s", err, out)
		}
		return
	}
	if err := errors.Join(syscall.Setgroups(nil), syscall.Setgid(user), syscall.Setuid(user)); err != nil {
		t.Fatal(err)
	}
	p := startPairs(t, 0, func(c *Config) { c.Loops = 2 })
	if p.e.pipes.maxBytes == 0 {
		t.Fatal("the limit of the user's pipes is not known")
	}
	n, size := 1000, int64(300<<10)
	if raced() {
		n, size = 300, 200<<10
	}
	var most int64
	stop, watched := make(chan bool), make(chan bool)
	go func() {
		defer close(watched)
		for {
			select {
			case <-stop:
				return
			default:
			}
			if b := p.e.pipes.bytes.Load(); b > most {
				most = b
			}
			time.Sleep(time.Millisecond) // between two looks
		}
	}()
	p.manyTransfers(n, size)
	close(stop)
	<-watched
	if most == 0 || most > p.e.pipes.maxBytes {
		t.Errorf("pipes held up to %d bytes, want some and at most %d", most, p.e.pipes.maxBytes)
	}
}
