package l4

import (
	"context"
	"fmt"
	"io"
	"net"
	"syscall"
	"testing"
	"time"
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
	p.on(func(l *loop, c *conn) {
		state = fmt.Sprintf("%s %s/%s", l.spec(c).name, c.flows[client].state, c.flows[server].state)
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
