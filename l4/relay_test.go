package l4

import (
	"bytes"
	"context"
	"errors"
	"fmt"
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

// pairs makes connections whose two ends are both in the hands of the test.
type pairs struct {
	*rig
	ln   net.Listener
	recv int // bytes of receive buffer of each end; 0: the kernel's choice
}

// startPairs starts a plain relay. set may change its configuration.
func startPairs(t testing.TB, recv int, set func(*Config)) *pairs {
	t.Helper()
	p := &pairs{recv: recv}
	lc := net.ListenConfig{Control: p.control}
	ln, err := lc.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	p.ln = ln
	cfg := &Config{Listeners: []*Listener{plainListener(roundRobin(t, ln.Addr().String()))}}
	if set != nil {
		set(cfg)
	}
	p.rig = startRig(t, cfg)
	return p
}

func (p *pairs) control(_, _ string, c syscall.RawConn) error {
	if p.recv == 0 {
		return nil
	}
	return c.Control(func(fd uintptr) {
		_ = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, p.recv)
	})
}

// connect returns both ends of a new connection. The engine's own buffers are
// as small as those of the ends.
func (p *pairs) connect() (c, s *net.TCPConn) {
	p.t.Helper()
	d := net.Dialer{Timeout: patience, Control: p.control}
	near, err := d.Dial("tcp", p.addrs[0])
	if err != nil {
		p.t.Fatal(err)
	}
	far, err := p.ln.Accept()
	if err != nil {
		p.t.Fatal(err)
	}
	for _, end := range []net.Conn{near, far} {
		_ = end.SetDeadline(time.Now().Add(patience))
		p.t.Cleanup(func() { end.Close() })
	}
	if p.recv > 0 {
		p.on(func(_ *loop, c *conn) {
			for _, e := range c.ends {
				_ = syscall.SetsockoptInt(int(e.fd), syscall.SOL_SOCKET, syscall.SO_SNDBUF, p.recv)
			}
		})
	}
	return near.(*net.TCPConn), far.(*net.TCPConn)
}

// state describes the only connection: its phase, and the state of its flow
// up and of its flow down.
func (p *pairs) state() string {
	state := "gone"
	p.on(func(_ *loop, c *conn) {
		phase := [...]string{"hello", "dial", "relay", "goodbye", "awaitAck", "gone"}[c.phase]
		flow := [...]string{"open", "ended", "shut"}
		state = fmt.Sprintf("%s %s/%s", phase, flow[c.flows[client].state], flow[c.flows[server].state])
	})
	return state
}

// acknowledged waits until the peer's kernel has all that c wrote.
func acknowledged(t testing.TB, c *net.TCPConn) {
	t.Helper()
	eventually(t, "everything written is acknowledged", func() bool { return unsent(t, c) == 0 })
}

func unsent(t testing.TB, c *net.TCPConn) int {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	if err := raw.Control(func(fd uintptr) { n = outq(int(fd)) }); err != nil {
		t.Fatal(err)
	}
	return n
}

// TestFlowStates walks the table of states in the comment of flow.
func TestFlowStates(t *testing.T) {
	const pending = 60 << 10 // more than the small buffers take, less than one read
	type ends struct{ c, s *net.TCPConn }
	type step struct {
		name string
		do   func(*pairs, ends)
		want string
	}
	// at once has the loop see everything that f does in one event.
	atOnce := func(f func(*pairs, ends)) func(*pairs, ends) {
		return func(p *pairs, e ends) {
			release := p.hold()
			f(p, e)
			release()
		}
	}
	finFrom := func(of func(ends) *net.TCPConn) func(*pairs, ends) {
		return func(_ *pairs, e ends) { _ = of(e).CloseWrite() }
	}
	readAll := func(of func(ends) *net.TCPConn, want error) func(*pairs, ends) {
		return func(p *pairs, e ends) {
			p.t.Helper()
			if n, err := io.Copy(io.Discard, struct{ io.Reader }{of(e)}); n != pending || !isErr(err, want) {
				p.t.Errorf("got %d bytes, %v, want %d, %v", n, err, pending, want)
			}
		}
	}
	sees := func(of func(ends) *net.TCPConn, want error) func(*pairs, ends) {
		return func(p *pairs, e ends) {
			p.t.Helper()
			if err := lastWord(of(e)); !isErr(err, want) {
				p.t.Errorf("got %v, want %v", err, want)
			}
		}
	}
	write := func(of func(ends) *net.TCPConn) func(*pairs, ends) {
		return func(p *pairs, e ends) { _, _ = of(e).Write(make([]byte, pending)) }
	}
	both := func(fs ...func(*pairs, ends)) func(*pairs, ends) {
		return func(p *pairs, e ends) {
			for _, f := range fs {
				f(p, e)
			}
		}
	}
	resetFrom := func(of func(ends) *net.TCPConn) func(*pairs, ends) {
		return func(p *pairs, e ends) { acknowledged(p.t, of(e)); reset(of(e)) }
	}
	c := func(e ends) *net.TCPConn { return e.c }
	s := func(e ends) *net.TCPConn { return e.s }

	for _, tt := range []struct {
		name  string
		steps []step
		by    Party
		want  Reason
	}{
		{"the client ends, then the server", []step{
			{"client FIN", finFrom(c), "relay shut/open"},
			{"server sees it", sees(s, io.EOF), "relay shut/open"},
			{"server FIN", finFrom(s), "gone"},
			{"client sees it", sees(c, io.EOF), "gone"},
		}, Client, ReasonClosed},
		{"the server ends, then the client", []step{
			{"server FIN", finFrom(s), "relay open/shut"},
			{"client sees it", sees(c, io.EOF), "relay open/shut"},
			{"client FIN", finFrom(c), "gone"},
			{"server sees it", sees(s, io.EOF), "gone"},
		}, Server, ReasonClosed},
		{"the client ends with bytes pending", []step{
			{"bytes and FIN", atOnce(both(write(c), finFrom(c))), "relay ended/open"},
			{"server reads", readAll(s, nil), "relay shut/open"},
			{"server FIN", finFrom(s), "gone"},
		}, Client, ReasonClosed},
		{"the server ends with bytes pending", []step{
			{"bytes and FIN", atOnce(both(write(s), finFrom(s))), "relay open/ended"},
			{"client reads", readAll(c, nil), "relay open/shut"},
			{"client FIN", finFrom(c), "gone"},
		}, Server, ReasonClosed},
		{"both end with bytes pending", []step{
			{"bytes and FIN", atOnce(both(write(s), finFrom(s), write(c), finFrom(c))), "relay ended/ended"},
			{"client reads", readAll(c, nil), "relay ended/shut"},
			{"server reads", readAll(s, nil), "gone"},
		}, Server, ReasonClosed},
		{"the server resets", []step{
			{"RST", resetFrom(s), "gone"},
			{"client sees it", sees(c, syscall.ECONNRESET), "gone"},
		}, Server, ReasonReset},
		{"the client resets", []step{
			{"RST", resetFrom(c), "gone"},
			{"server sees it", sees(s, syscall.ECONNRESET), "gone"},
		}, Client, ReasonReset},
		{"the server resets with bytes pending", []step{
			{"bytes", atOnce(both(write(s), resetFrom(s))), "relay open/open"},
			{"client writes", func(_ *pairs, e ends) { _, _ = e.c.Write([]byte("a")) }, "relay shut/open"},
			{"client reads", readAll(c, syscall.ECONNRESET), "gone"},
		}, Server, ReasonReset},
		{"the server resets while it takes nothing", []step{
			{"bytes", write(c), "relay open/open"},
			{"RST", func(_ *pairs, e ends) { reset(e.s) }, "gone"},
			{"client sees it", sees(c, syscall.ECONNRESET), "gone"},
		}, Server, ReasonReset},
		{"the client resets while the server takes nothing", []step{
			{"bytes", write(c), "relay open/open"},
			{"RST", func(_ *pairs, e ends) { reset(e.c) }, "gone"},
		}, Client, ReasonReset},
		{"the client resets while it takes nothing", []step{
			{"bytes", write(s), "relay open/open"},
			{"RST", func(_ *pairs, e ends) { reset(e.c) }, "gone"},
			{"server sees it", sees(s, syscall.ECONNRESET), "gone"},
		}, Client, ReasonReset},
		{"the client resets with the end of its bytes pending", []step{
			{"bytes and FIN", atOnce(both(write(c), finFrom(c))), "relay ended/open"},
			{"RST", func(_ *pairs, e ends) { reset(e.c) }, "gone"},
		}, Client, ReasonReset},
		{"the client ends, then resets", []step{
			{"client FIN", finFrom(c), "relay shut/open"},
			{"RST", resetFrom(c), "gone"},
			{"server sees it", sees(s, io.EOF), "gone"},
		}, Client, ReasonReset},
		{"the server ends, then resets", []step{
			{"server FIN", finFrom(s), "relay open/shut"},
			{"client sees it", sees(c, io.EOF), "relay open/shut"},
			{"RST", resetFrom(s), "gone"},
			{"client cannot write", func(p *pairs, e ends) {
				eventually(p.t, "a write fails", func() bool { _, err := e.c.Write([]byte("a")); return err != nil })
			}, "gone"},
		}, Server, ReasonReset},
		{"the client ends, the server resets", []step{
			{"client FIN", finFrom(c), "relay shut/open"},
			{"RST", resetFrom(s), "gone"},
			{"client sees it", sees(c, syscall.ECONNRESET), "gone"},
		}, Server, ReasonReset},
		{"the server ends, the client resets", []step{
			{"server FIN", finFrom(s), "relay open/shut"},
			{"RST", resetFrom(c), "gone"},
			{"server sees it", sees(s, syscall.ECONNRESET), "gone"},
		}, Client, ReasonReset},
		{"the server ends and resets at once with bytes pending", []step{
			{"all", atOnce(both(write(s), finFrom(s), resetFrom(s))), "relay open/open"},
			{"client reads", func(p *pairs, e ends) {
				if n, _ := io.Copy(io.Discard, struct{ io.Reader }{e.c}); n != pending {
					p.t.Errorf("got %d bytes, want %d", n, pending)
				}
			}, "gone"},
		}, Server, ReasonReset},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := startPairs(t, 4096, func(c *Config) { c.Loops = 1 })
			for range soak(6, 100) {
				var e ends
				e.c, e.s = p.connect()
				if got := p.state(); got != "relay open/open" {
					t.Fatalf("at the start: got %s", got)
				}
				for _, st := range tt.steps {
					st.do(p, e)
					got := ""
					eventually(t, st.name+" leads to "+st.want, func() bool { got = p.state(); return got == st.want })
					if t.Failed() {
						t.Fatalf("%s led to %s", st.name, got)
					}
				}
				if rec := p.next(); rec.Reason != tt.want || rec.EndedBy != tt.by && tt.name != "both end with bytes pending" {
					t.Fatalf("got %v by %v, want %v by %v", rec.Reason, rec.EndedBy, tt.want, tt.by)
				}
			}
		})
	}
}

// transfer sends n bytes from one end to the other, with the FIN behind
// them, and checks what arrives.
func transfer(from, to *net.TCPConn, seed uint64, n int64) error {
	sent := make(chan error, 1)
	go func() {
		err := (&pattern{seed: seed}).send(from, n)
		sent <- errors.Join(err, from.CloseWrite())
	}()
	got, err := (&pattern{seed: seed}).check(to)
	if err == nil && got != n {
		err = fmt.Errorf("got %d bytes, want %d", got, n)
	}
	return errors.Join(err, <-sent)
}

var sizes = []int64{0, 1, 2, 1000, 4096, 16 << 10, 64<<10 - 1, 64 << 10, 64<<10 + 1, 128 << 10, 200_000, 256 << 10, 1 << 20, 10 << 20}

func TestHalfCloseIsKept(t *testing.T) {
	p := startPairs(t, 0, nil)
	for round := range soak(4, 80) {
		for _, n := range sizes {
			for _, m := range sizes[round%2*7 : round%2*7+7] {
				if n+m > 11<<20 {
					continue
				}
				c, s := p.connect()
				first, second, by := c, s, Client
				if round/2%2 == 1 {
					first, second, by = s, c, Server
				}
				if err := transfer(first, second, 1, n); err != nil {
					t.Fatalf("%d bytes from the %v: %v", n, by, err)
				}
				if err := transfer(second, first, 2, m); err != nil {
					t.Fatalf("%d bytes to the %v, which has ended after %d: %v", m, by, n, err)
				}
				if rec := p.next(); rec.Reason != ReasonClosed || rec.EndedBy != by || rec.BytesUp+rec.BytesDown != uint64(n+m) {
					t.Fatalf("got record %+v, want %d bytes, closed by %v", rec, n+m, by)
				}
				c.Close()
				s.Close()
			}
		}
	}
}

func noHalfClose(c *Config) { c.Listeners[0].Session.KeepHalfClose = SwitchOff }

func TestWithoutHalfCloseTheServersEndEndsBoth(t *testing.T) {
	p := startPairs(t, 0, noHalfClose)
	for i := range soak(100, 1000) {
		n := sizes[i%len(sizes)]
		c, s := p.connect()
		if err := transfer(s, c, 1, n); err != nil {
			t.Fatal(err)
		}
		if err := lastWord(s); !isErr(err, io.EOF) {
			t.Fatalf("the server got %v, want its connection closed", err)
		}
		c.Close()
		if rec := p.next(); rec.Reason != ReasonClosed || rec.EndedBy != Server || rec.BytesDown != uint64(n) {
			t.Fatalf("got record %+v", rec)
		}
	}
}

func TestWithoutHalfCloseTheClientsEndEndsBoth(t *testing.T) {
	p := startPairs(t, 0, noHalfClose)
	for i := range soak(100, 1000) {
		n := sizes[i%len(sizes)]
		c, s := p.connect()
		if err := transfer(c, s, 1, n); err != nil {
			t.Fatal(err)
		}
		if err := lastWord(c); !isErr(err, io.EOF) {
			t.Fatalf("the client got %v, want its connection closed", err)
		}
		if rec := p.next(); rec.Reason != ReasonClosed || rec.EndedBy != Client || rec.BytesUp != uint64(n) {
			t.Fatalf("got record %+v", rec)
		}
		s.Close()
	}
}

// A server that answers and ends without reading what the client still sends:
// a close with unread input is a reset, which destroys what the client has not
// got yet.
func TestWithoutHalfCloseUnreadInputSparesTheAnswer(t *testing.T) {
	const answer = 100_000
	for _, unread := range []int{1, 1000, 40 << 10} {
		t.Run(fmt.Sprint(unread), func(t *testing.T) {
			p := startPairs(t, 4096, func(c *Config) { noHalfClose(c); c.Loops = 1 })
			for range soak(3, 200) {
				c, s := p.connect()
				p.on(func(_ *loop, c *conn) { // the answer is to fit into the engine's send buffer
					_ = syscall.SetsockoptInt(int(c.ends[client].fd), syscall.SOL_SOCKET, syscall.SO_SNDBUF, 4*answer)
				})
				// The server reads nothing, so what the client sends stays
				// with the engine once the way to the server is full.
				for blocked := false; !blocked; {
					_, _ = c.Write(make([]byte, 1000))
					acknowledged(t, c)
					p.on(func(_ *loop, c *conn) { blocked = c.ends[server].blocked })
				}
				_, _ = c.Write(make([]byte, unread))
				acknowledged(t, c)
				if err := (&pattern{seed: 3}).send(s, answer); err != nil {
					t.Fatal(err)
				}
				_ = s.CloseWrite()
				if rec := p.next(); rec.Reason != ReasonClosed || rec.BytesDown != answer {
					t.Fatalf("got record %+v", rec)
				}
				if n, err := (&pattern{seed: 3}).check(c); n != answer || err != nil {
					t.Fatalf("the client got %d bytes, %v, want the %d of the answer and its end", n, err, answer)
				}
				c.Close()
				s.Close()
			}
		})
	}
}

func TestBothCloseAtOnce(t *testing.T) {
	p := startPairs(t, 0, nil)
	for i := range soak(200, 10000) {
		c, s := p.connect()
		if i%2 == 0 {
			_, _ = c.Write([]byte("last words"))
			_, _ = io.ReadFull(s, make([]byte, 10))
		}
		var wg sync.WaitGroup
		wg.Go(func() { c.Close() })
		wg.Go(func() { s.Close() })
		wg.Wait()
		if rec := p.next(); rec.Reason != ReasonClosed || rec.EndedBy == Culvert {
			t.Fatalf("got %v by %v, want %v", rec.Reason, rec.EndedBy, ReasonClosed)
		}
	}
}

// The last bytes and the FIN may come in one segment, and in one event.
func TestFINInTheSegmentOfTheLastByte(t *testing.T) {
	p := startPairs(t, 0, func(c *Config) { c.Loops = 1 })
	for i := range soak(8, 100) * len(sizes) {
		n := sizes[i%len(sizes)]
		c, s := p.connect()
		for _, d := range []struct{ from, to *net.TCPConn }{{c, s}, {s, c}} {
			release := func() {}
			if n < 32<<10 && i/len(sizes)%2 == 0 {
				release = p.hold()
			}
			cork(t, d.from)
			sent := make(chan error, 1)
			go func() {
				err := (&pattern{seed: 9}).send(d.from, n)
				sent <- errors.Join(err, d.from.CloseWrite())
				release()
			}()
			if got, err := (&pattern{seed: 9}).check(d.to); got != n || err != nil {
				t.Fatalf("got %d bytes, %v, want %d", got, err, n)
			}
			if err := <-sent; err != nil {
				t.Fatal(err)
			}
		}
		if rec := p.next(); rec.Reason != ReasonClosed {
			t.Fatalf("got %v", rec.Reason)
		}
	}
}

func cork(t testing.TB, c *net.TCPConn) {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	_ = raw.Control(func(fd uintptr) { err = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_CORK, 1) })
	if err != nil {
		t.Fatal(err)
	}
}

// sessionTimes is a relay with these limits of a session.
func sessionTimes(s Session) func(*Config) {
	return func(c *Config) { c.Listeners[0].Session = s }
}

// alive fails the test if the only connection has ended.
func (p *pairs) alive(when string) {
	p.t.Helper()
	if p.state() == "gone" {
		rec := p.next()
		p.t.Fatalf("%s: ended by %v, %v, after %v", when, rec.EndedBy, rec.Reason, rec.Total)
	}
}

const hour = time.Hour

func TestAbandonedHalfOpenIsReapedAndNotEarly(t *testing.T) {
	for _, by := range []side{client, server} {
		t.Run(by.party().String(), func(t *testing.T) {
			p := startPairs(t, 0, sessionTimes(Session{IdleTimeout: 24 * hour, HalfCloseTimeout: hour}))
			c, s := p.connect()
			first, second := c, s
			if by == server {
				first, second = s, c
			}
			p.advance(20 * hour) // of silence before, which do not count
			p.alive("idle")
			_ = first.CloseWrite()
			if err := lastWord(second); !isErr(err, io.EOF) {
				t.Fatal(err)
			}
			p.advance(hour - patience)
			p.alive("half-closed for less than the time")
			if _, err := second.Write([]byte("a")); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(first, make([]byte, 1)); err != nil {
				t.Fatal(err)
			}
			p.advance(hour - patience)
			p.alive("after a byte, for less than the time")
			p.advance(patience + 2*coarseTick)
			if rec := p.next(); rec.Reason != ReasonHalfCloseTimeout || rec.EndedBy != Culvert {
				t.Errorf("got %v by %v, want %v", rec.Reason, rec.EndedBy, ReasonHalfCloseTimeout)
			}
		})
	}
}

func TestIdleConnectionIsReapedAndNotEarly(t *testing.T) {
	p := startPairs(t, 0, sessionTimes(Session{IdleTimeout: hour}))
	c, s := p.connect()
	for i := range 4 {
		p.advance(hour - patience)
		p.alive("idle for less than the time")
		from, to := c, s
		if i%2 == 1 {
			from, to = s, c
		}
		if _, err := from.Write([]byte("a")); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(to, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
	}
	p.advance(hour + 2*coarseTick)
	if rec := p.next(); rec.Reason != ReasonIdleTimeout || rec.EndedBy != Culvert {
		t.Errorf("got %v by %v, want %v", rec.Reason, rec.EndedBy, ReasonIdleTimeout)
	}
	for _, e := range []net.Conn{c, s} {
		if err := lastWord(e); !isErr(err, io.EOF) {
			t.Errorf("got %v, want both ends closed", err)
		}
	}
}

func TestLifetimeEndsABusyConnection(t *testing.T) {
	p := startPairs(t, 0, sessionTimes(Session{IdleTimeout: hour, Lifetime: 3 * hour}))
	c, s := p.connect()
	for range 5 {
		p.advance(hour/2 + 5*time.Minute)
		p.alive("younger than its lifetime")
		_, _ = c.Write([]byte("a"))
		if _, err := io.ReadFull(s, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
	}
	p.advance(5*time.Minute - patience)
	p.alive("younger than its lifetime")
	p.advance(patience + 2*coarseTick)
	if rec := p.next(); rec.Reason != ReasonLifetime || rec.EndedBy != Culvert {
		t.Errorf("got %v by %v, want %v", rec.Reason, rec.EndedBy, ReasonLifetime)
	}
}

func TestTimeoutsThatAreOffNeverFire(t *testing.T) {
	p := startPairs(t, 0, sessionTimes(Session{IdleTimeout: Off, HalfCloseTimeout: Off, Lifetime: Off}))
	c, s := p.connect()
	p.advance(1000 * hour)
	p.alive("idle")
	_ = c.CloseWrite()
	_ = lastWord(s)
	p.advance(1000 * hour)
	p.alive("half-closed")
	if err := transfer(s, c, 1, 100); err != nil {
		t.Fatal(err)
	}
}

// sendUrgent sends one byte of urgent data.
func sendUrgent(c *net.TCPConn, b byte) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	werr := raw.Write(func(fd uintptr) bool {
		err = syscall.Sendto(int(fd), []byte{b}, syscall.MSG_OOB, &syscall.SockaddrInet4{})
		return err != syscall.EAGAIN
	})
	return errors.Join(werr, err)
}

const urgentByte = 0xff // never a normal one

// sevenBit is a stream without urgentByte.
type sevenBit struct{ off int }

func (s *sevenBit) fill(b []byte) {
	for i := range b {
		b[i] = byte(s.off * 31 >> 4 & 0x7f)
		s.off++
	}
}

// sendWithUrgent sends size bytes in chunks, with an urgent byte after some.
func sendWithUrgent(c *net.TCPConn, size, chunk int, at func(i int) bool) error {
	var s sevenBit
	buf := make([]byte, chunk)
	for i := 0; s.off < size; i++ {
		b := buf[:min(chunk, size-s.off)]
		s.fill(b)
		if _, err := c.Write(b); err != nil {
			return err
		}
		if at(i) {
			if err := sendUrgent(c, urgentByte); err != nil {
				return err
			}
		}
	}
	return c.CloseWrite()
}

// withoutUrgent reads to the end and checks every byte but the urgent ones,
// which a receiver without SO_OOBINLINE mostly does not see, but sees when
// the next one overtakes them.
func withoutUrgent(r io.Reader) (int, error) {
	var s sevenBit
	buf, want := make([]byte, 64<<10), make([]byte, 64<<10)
	for {
		n, err := r.Read(buf)
		got := slices.DeleteFunc(buf[:n], func(b byte) bool { return b == urgentByte })
		s.fill(want[:len(got)])
		if !bytes.Equal(got, want[:len(got)]) {
			return s.off, fmt.Errorf("wrong before byte %d", s.off)
		}
		if err != nil {
			if err == io.EOF {
				err = nil
			}
			return s.off, err
		}
	}
}

func TestUrgentDataStopsNothing(t *testing.T) {
	for _, tt := range []struct {
		name        string
		size, chunk int
		at          func(int) bool
	}{
		{"one in a few bytes", 30, 10, func(i int) bool { return i == 0 }},
		{"before the end", 30, 30, func(i int) bool { return true }},
		{"after every message", 5000, 100, func(int) bool { return true }},
		{"one in bulk", 2 << 20, 64 << 10, func(i int) bool { return i == 15 }},
		{"last of bulk", 2 << 20, 64 << 10, func(i int) bool { return i == 31 }},
		{"many in bulk", 2 << 20, 64 << 10, func(i int) bool { return i%7 == 3 }},
		{"many in bulk of small writes", 1 << 20, 3000, func(i int) bool { return i%11 == 3 }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := startPairs(t, 0, nil)
			for i := range soak(15, 500) {
				c, s := p.connect()
				from, to := c, s
				if i%2 == 1 {
					from, to = s, c
				}
				sent := make(chan error, 1)
				go func() { sent <- sendWithUrgent(from, tt.size, tt.chunk, tt.at) }()
				if n, err := withoutUrgent(to); n != tt.size || err != nil {
					t.Fatalf("got %d bytes, %v, want %d", n, err, tt.size)
				}
				if err := <-sent; err != nil {
					t.Fatal(err)
				}
				if err := transfer(to, from, 5, 100_000); err != nil {
					t.Fatalf("the other way: %v", err)
				}
				if rec := p.next(); rec.Reason != ReasonClosed {
					t.Fatalf("got %v by %v", rec.Reason, rec.EndedBy)
				}
			}
		})
	}
}

// An urgent byte, more bytes and a FIN that arrive between an event and the
// splice it leads to: splice stops at the mark and says 0, as at the end.
func TestUrgentDataBehindTheEventIsNoEnd(t *testing.T) {
	p := startPairs(t, 0, func(c *Config) { c.Loops = 1 })
	for i := range soak(10, 100) {
		c, s := p.connect()
		from, to, f := c, s, client
		if i%2 == 1 {
			from, to, f = s, c, server
		}
		const size = 30
		held, gate := make(chan bool), make(chan bool)
		p.e.loops[0].post(func(l *loop) { // the events stay unseen
			held <- true
			<-gate
			for _, c := range l.conns {
				if c != nil && c.phase == phaseRelay {
					c.flows[f].splicing, c.ends[f].readable = true, true
					l.relay(c)
				}
			}
		})
		<-held
		if err := sendUrgent(from, urgentByte); err != nil {
			t.Fatal(err)
		}
		if err := sendWithUrgent(from, size, size, func(int) bool { return false }); err != nil {
			t.Fatal(err)
		}
		acknowledged(t, from)
		close(gate)
		if n, err := withoutUrgent(to); n != size || err != nil {
			t.Fatalf("got %d bytes, %v, want %d", n, err, size)
		}
		c.Close()
		s.Close()
		p.next()
	}
}

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

func TestUrgentDataDoesNotSpin(t *testing.T) {
	p := startPairs(t, 0, nil)
	for i := range 4 {
		c, s := p.connect()
		from, to := c, s
		if i%2 == 1 {
			from, to = s, c
		}
		if i >= 2 {
			_, _ = from.Write([]byte("ab"))
		}
		if err := sendUrgent(from, urgentByte); err != nil {
			t.Fatal(err)
		}
		if i >= 2 {
			if _, err := io.ReadFull(to, make([]byte, 2)); err != nil {
				t.Fatal(err)
			}
		}
	}
	staysQuiet(t, "with urgent bytes that nobody reads")
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

func TestManyStreamsDoNotMix(t *testing.T) {
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
	if m := between[len(between)/2]; m > 256*turnBudget {
		t.Errorf("%d bytes moved by the bulk stream for one small round trip, want no more than %d", m, 256*turnBudget)
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
		eventually(t, "much is there to be read", func() bool { return socketQueue(fd) > 3*turnBudget })
		close(gate)
		if got := <-result; got[0] == 0 || got[0] > 2*turnBudget || got[1] == 0 {
			t.Errorf("one turn moved %d bytes and left %d, want some, at most %d, and some left", got[0], got[1], 2*turnBudget)
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
