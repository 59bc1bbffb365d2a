package l4

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"culvert/balancer"
)

// answers waits for a first byte, answers with name and stays until the
// client leaves.
func answers(name string) func(net.Conn) {
	return func(c net.Conn) {
		if _, err := c.Read(make([]byte, 64<<10)); err == nil {
			_, _ = io.WriteString(c, name)
			_, _ = io.Copy(io.Discard, struct{ io.Reader }{c})
		}
	}
}

// ask sends b and returns what comes back until the end or len(want) bytes.
func (r *rig) ask(b []byte, want string) {
	r.t.Helper()
	c := r.dial(0)
	defer c.Close()
	if _, err := c.Write(b); err != nil {
		r.t.Fatal(err)
	}
	got := make([]byte, len(want))
	if _, err := io.ReadFull(c, got); err != nil || string(got) != want {
		r.t.Fatalf("got %q, %v, want %q", got, err, want)
	}
}

// routeTo is a listener on which chat.example.com leads to p.
func routeTo(t testing.TB, p *Pool) *Listener {
	return tlsListener(t, nil, &Route{ServerName: "chat.example.com", Pool: p})
}

// bothKinds runs f for a listener that reads the hello and for a plain one.
func bothKinds(t *testing.T, f func(*testing.T, func(*Pool) *Listener)) {
	t.Run("tls", func(t *testing.T) { f(t, func(p *Pool) *Listener { return routeTo(t, p) }) })
	t.Run("plain", func(t *testing.T) { f(t, plainListener) })
}

// silentAddr is an address at which connects get no answer: a listener whose
// accept queue is full. admit takes one connection from the queue.
func silentAddr(t testing.TB) (addr string, admit func() net.Conn) {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Close(fd) })
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	sa, _ := syscall.Getsockname(fd)
	addr = fmt.Sprintf("127.0.0.1:%d", sa.(*syscall.SockaddrInet4).Port)
	for range 5 {
		c, err := net.DialTimeout("tcp", addr, 200*time.Millisecond)
		if err != nil {
			return addr, func() net.Conn { return acceptFrom(t, fd) }
		}
		t.Cleanup(func() { c.Close() })
	}
	t.Fatal("the accept queue does not fill")
	return
}

func acceptFrom(t testing.TB, fd int) net.Conn {
	t.Helper()
	nfd, _, err := syscall.Accept4(fd, syscall.SOCK_CLOEXEC|syscall.SOCK_NONBLOCK)
	if err != nil {
		t.Fatal(err)
	}
	return fileConn(t, nfd)
}

// withTries sets the caps of failing over.
func withTries(p *Pool, tries int, connect, all time.Duration) *Pool {
	p.Tries, p.ConnectTimeout, p.FailoverTimeout = tries, connect, all
	return p
}

func sameTries(got []Try, want ...Try) bool {
	if len(got) != len(want) {
		return false
	}
	for i := range got {
		if got[i].Server != want[i].Server || got[i].Reason != want[i].Reason {
			return false
		}
	}
	return true
}

func TestP4RefusedServerIsSkipped(t *testing.T) {
	bothKinds(t, func(t *testing.T, listener func(*Pool) *Listener) {
		bad := refusedAddr(t)
		good := startOrigin(t, answers("good"))
		r := startRig(t, &Config{Listeners: []*Listener{listener(roundRobin(t, bad, good.addr))}})
		n, hello, skipped := soak(200, 10000), chatHello(t), 0
		for range n {
			r.ask(hello, "good")
			rec := r.next()
			if rec.Server != good.addr {
				t.Fatalf("got server %s, want %s", rec.Server, good.addr)
			}
			switch {
			case sameTries(rec.Tries):
			case sameTries(rec.Tries, Try{Server: bad, Reason: ReasonRefused}):
				skipped++
			default:
				t.Fatalf("got tries %v, want at most one refused by %s", rec.Tries, bad)
			}
		}
		if skipped != n/2 {
			t.Errorf("%d of %d connections began at the refusing server, want half", skipped, n)
		}
		if s := r.e.Stats().Servers[0]; s.Failures[ReasonRefused] != uint64(skipped) || s.Failovers != uint64(skipped) || s.Connections != 0 {
			t.Errorf("got %+v, want %d refusals, all followed by another server", s, skipped)
		}
	})
}

func TestNoServerToBeHad(t *testing.T) {
	refused := []string{refusedAddr(t), refusedAddr(t), refusedAddr(t), refusedAddr(t)}
	down := func(p *Pool) *Pool {
		for _, s := range p.Balancer.Servers() {
			s.Set(balancer.Configured, true, 0)
		}
		return p
	}
	full := func(t *testing.T) *Pool {
		b, err := balancer.New(balancer.Config{Name: "pool", Servers: []balancer.ServerConfig{{Address: refused[0], MaxConns: 1}}})
		if err != nil {
			t.Fatal(err)
		}
		b.Servers()[0].Hold()
		p := roundRobin(t, refused[0])
		p.Balancer = b
		return p
	}
	for _, tt := range []struct {
		name  string
		pool  func(*testing.T) *Pool
		want  Reason
		tries int
	}{
		{"the only server refuses", func(t *testing.T) *Pool { return roundRobin(t, refused[0]) }, ReasonRefused, 1},
		{"both refuse", func(t *testing.T) *Pool { return roundRobin(t, refused[:2]...) }, ReasonTriesExhausted, 2},
		{"more refuse than are tried", func(t *testing.T) *Pool { return roundRobin(t, refused...) }, ReasonTriesExhausted, DefaultTries},
		{"all are tried", func(t *testing.T) *Pool { return withTries(roundRobin(t, refused...), -1, 0, 0) }, ReasonTriesExhausted, 4},
		{"one try is allowed", func(t *testing.T) *Pool { return withTries(roundRobin(t, refused...), 1, 0, 0) }, ReasonRefused, 1},
		{"all are down", func(t *testing.T) *Pool { return down(roundRobin(t, refused...)) }, ReasonNoServerUp, 0},
		{"all are full", full, ReasonServersFull, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bothKinds(t, func(t *testing.T, listener func(*Pool) *Listener) {
				p := tt.pool(t)
				r := startRig(t, &Config{Listeners: []*Listener{listener(p)}})
				hello := chatHello(t)
				for range soak(20, 1000) {
					c := r.dial(0)
					_, _ = c.Write(hello)
					if n, err := io.Copy(io.Discard, c); n > 0 || isTimeout(err) {
						t.Fatalf("got %d bytes, %v, want to be closed at once", n, err)
					}
					rec := r.next()
					if rec.Reason != tt.want || rec.EndedBy != Culvert || len(rec.Tries) != tt.tries {
						t.Fatalf("got %v by %v after %v, want %v by %v after %d tries", rec.Reason, rec.EndedBy, rec.Tries, tt.want, Culvert, tt.tries)
					}
					c.Close()
				}
				if tt.want == ReasonServersFull {
					p.Balancer.Servers()[0].Release()
				}
			})
		})
	}
}

func isTimeout(err error) bool {
	ne, ok := err.(net.Error)
	return ok && ne.Timeout()
}

func TestP4UnansweredConnectIsLeftAtItsTimeoutAndNotBefore(t *testing.T) {
	bothKinds(t, func(t *testing.T, listener func(*Pool) *Listener) {
		silent, _ := silentAddr(t)
		good := startOrigin(t, answers("good"))
		const timeout = 10 * time.Minute // nothing to the injected clock
		p := withTries(roundRobin(t, silent, good.addr), 0, timeout, Off)
		r := startRig(t, &Config{Listeners: []*Listener{listener(p)}})
		c := r.dial(0)
		_, _ = c.Write(chatHello(t))
		eventually(t, "the silent server is dialed", func() bool { return r.e.Stats().Servers[0].Active == 1 })
		for range 9 {
			r.advance(timeout / 10)
			if n := good.accepted.Load(); n != 0 {
				t.Fatal("the silent server was left before its timeout")
			}
		}
		r.advance(timeout/10 - patience)
		if s := r.e.Stats().Servers[0]; s.Failures[ReasonConnectTimeout] != 0 || s.Active != 1 {
			t.Fatalf("the silent server was left before its timeout: %+v", s)
		}
		r.advance(patience + 2*fineTick)
		got := make([]byte, 4)
		if _, err := io.ReadFull(c, got); err != nil || string(got) != "good" {
			t.Fatalf("got %q, %v, want the next server's answer", got, err)
		}
		c.Close()
		if rec := r.next(); !sameTries(rec.Tries, Try{Server: silent, Reason: ReasonConnectTimeout}) || rec.Tries[0].Duration < timeout {
			t.Errorf("got tries %v, want one connect timeout of %v", rec.Tries, timeout)
		}
	})
}

func TestFailingOverStopsAtTheCaps(t *testing.T) {
	var silent []string
	for range 4 {
		addr, _ := silentAddr(t)
		silent = append(silent, addr)
	}
	const step = 10 * time.Minute
	for _, tt := range []struct {
		name  string
		tries int
		all   time.Duration
		want  Reason
		after int // tries
	}{
		{"tries", 2, Off, ReasonTriesExhausted, 2},
		{"time", -1, 5 * step / 2, ReasonFailoverTimeout, 3},
		{"servers", -1, Off, ReasonTriesExhausted, 4},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := withTries(roundRobin(t, silent...), tt.tries, step, tt.all)
			r := startRig(t, &Config{Listeners: []*Listener{plainListener(p)}})
			c := r.dial(0)
			failures := func() (n uint64) {
				for _, s := range r.e.Stats().Servers {
					n += s.Failures[ReasonConnectTimeout]
				}
				return n
			}
			active := func() bool { return r.e.Stats().Listeners[0].Active == 1 }
			eventually(t, "a server is dialed", active)
			for i := range tt.after {
				wait := step
				if left := tt.all - time.Duration(i)*step; tt.all > 0 && left < step {
					wait = left
				}
				r.advance(wait - patience)
				if n := failures(); n != uint64(i) || !active() {
					t.Fatalf("%d attempts were over early, want %d", n, i)
				}
				r.advance(patience + 2*fineTick)
			}
			if n, err := c.Read(make([]byte, 1)); n != 0 || isTimeout(err) {
				t.Fatalf("got %d, %v, want to be closed", n, err)
			}
			if rec := r.next(); rec.Reason != tt.want || len(rec.Tries) != tt.after || rec.EndedBy != Culvert {
				t.Errorf("got %v by %v after %v, want %v after %d", rec.Reason, rec.EndedBy, rec.Tries, tt.want, tt.after)
			}
		})
	}
}

// A loop that slept for long has wheels that stand where it left them.
func TestDeadlineSetAfterALongSleepIsNotLate(t *testing.T) {
	silent, _ := silentAddr(t)
	const timeout = time.Second
	for _, slept := range []time.Duration{time.Minute, 61450 * time.Millisecond, 65 * time.Second, time.Hour} {
		t.Run(slept.String(), func(t *testing.T) {
			p := withTries(roundRobin(t, silent), 1, timeout, Off)
			r := startRig(t, &Config{Listeners: []*Listener{plainListener(p)}, Loops: 1})
			r.clock.ahead.Add(int64(slept)) // without a turn of the loop
			r.dial(0)
			eventually(t, "the server is dialed", func() bool { return r.e.Stats().Servers[0].Active == 1 })
			r.advance(timeout + 2*fineTick)
			if n := r.e.Stats().Servers[0].Failures[ReasonConnectTimeout]; n != 1 {
				t.Errorf("got %d connect timeouts when it was due, want 1", n)
			}
		})
	}
}

func TestUnreachableServerIsSkipped(t *testing.T) {
	if !isolated(t) {
		return
	}
	sh(t, `ip route add unreachable 198.51.100.1; ip route add prohibit 198.51.100.2; ip route add blackhole 198.51.100.3
		ip addr add 198.51.100.10 dev lo
		nft add table inet t
		nft add chain inet t in '{ type filter hook input priority 0; }'
		nft add rule inet t in tcp dport 81 reject with tcp reset
		nft add rule inet t in tcp dport 82 reject with icmp type host-unreachable
		nft add rule inet t in tcp dport 83 reject with icmp type net-unreachable
		nft add rule inet t in tcp dport 84 reject with icmp type port-unreachable
		nft add rule inet t in tcp dport 85 reject with icmp type admin-prohibited
		nft add rule inet t in tcp dport 86 drop`)
	good := startOrigin(t, answers("good"))
	for addr, want := range map[string]Reason{
		"198.51.100.1:80":  ReasonUnreachable,
		"198.51.100.2:80":  ReasonUnreachable,
		"198.51.100.3:80":  ReasonConnectFailed,
		"203.0.113.1:80":   ReasonUnreachable, // no route at all
		"198.51.100.10:81": ReasonRefused,
		"198.51.100.10:82": ReasonUnreachable,
		"198.51.100.10:83": ReasonUnreachable,
		"198.51.100.10:84": ReasonRefused,
		"198.51.100.10:85": ReasonUnreachable,
		"198.51.100.10:86": ReasonConnectTimeout,
	} {
		t.Run(addr, func(t *testing.T) {
			bothKinds(t, func(t *testing.T, listener func(*Pool) *Listener) {
				p := withTries(roundRobin(t, addr, good.addr), 0, 250*time.Millisecond, 0)
				r := startRig(t, &Config{Listeners: []*Listener{listener(p)}})
				n, hello, failed := 20, chatHello(t), 0
				for range n {
					start := time.Now()
					r.ask(hello, "good")
					took, rec := time.Since(start), r.next()
					switch {
					case sameTries(rec.Tries):
					case sameTries(rec.Tries, Try{Server: addr, Reason: want}):
						failed++
						if want == ReasonConnectTimeout && took < p.ConnectTimeout {
							t.Fatalf("left after %v, want %v", took, p.ConnectTimeout)
						}
					default:
						t.Fatalf("got tries %v, want %v", rec.Tries, want)
					}
				}
				if failed != n/2 {
					t.Errorf("%d of %d connections began at the bad server, want half", failed, n)
				}
			})
		})
	}
}

// On plain TCP the server may speak first, and its bytes may come in the very
// event that says it is connected.
func TestServerThatSpeaksFirstIsHeard(t *testing.T) {
	spoken := make(chan struct{}, 1)
	o := startOrigin(t, func(c net.Conn) {
		_, _ = io.WriteString(c, "220 ready")
		spoken <- struct{}{}
		_, _ = io.Copy(io.Discard, struct{ io.Reader }{c})
	})
	for range soak(20, 1000) {
		if !speaksFirst(t, o, spoken, "220 ready", nil) {
			return
		}
	}
}

// speaksFirst has a loop dial o and look at the result only after o has
// spoken. It reports whether the client then got want, and err.
func speaksFirst(t *testing.T, o *origin, spoken chan struct{}, want string, wantErr error) bool {
	t.Helper()
	var hook atomic.Pointer[func()]
	idle := startOrigin(t, echo)
	gone := plainListener(roundRobin(t, idle.addr))
	gone.Name = "gone"
	e := &Config{Listeners: []*Listener{plainListener(roundRobin(t, o.addr)), gone}, Loops: 1}
	r := startHookedRig(t, e, &hook)
	other := r.dial(1)
	if _, err := other.Write([]byte("a")); err != nil {
		t.Fatal(err)
	}
	_, _ = io.ReadFull(other, make([]byte, 1))
	wait := func() { <-spoken }
	hook.Store(&wait) // the end of the other connection holds the loop
	release := r.hold()
	c := r.dial(0)
	reset(other)
	release()
	got, err := io.ReadAll(io.LimitReader(c, int64(len(want))))
	if err != nil || string(got) != want {
		t.Errorf("got %q, %v, want %q", got, err, want)
		return false
	}
	if wantErr != nil {
		if _, err := c.Read(make([]byte, 1)); !isErr(err, wantErr) {
			t.Errorf("got %v behind it, want %v", err, wantErr)
			return false
		}
	}
	c.Close()
	return true
}

// The same for a server that speaks, and resets before the loop looks: it was
// connected, so this is no failure to connect.
func TestServerThatSpeaksFirstAndResetsIsHeard(t *testing.T) {
	spoken := make(chan struct{}, 1)
	o := startOrigin(t, func(c net.Conn) {
		_, _ = io.WriteString(c, "421 busy")
		reset(c)
		spoken <- struct{}{}
	})
	for range soak(20, 1000) {
		if !speaksFirst(t, o, spoken, "421 busy", syscall.ECONNRESET) {
			return
		}
	}
}

func TestClientLeavesWhileAServerIsDialed(t *testing.T) {
	bothKinds(t, func(t *testing.T, listener func(*Pool) *Listener) {
		silent, _ := silentAddr(t)
		next := startOrigin(t, answers("next"))
		r := startRig(t, &Config{Listeners: []*Listener{listener(withTries(roundRobin(t, silent, next.addr), 0, time.Hour, Off))}})
		for range 20 {
			c := r.dial(0)
			_, _ = c.Write(chatHello(t))
			// Half of them begin at the server that answers.
			eventually(t, "a server is dialed", func() bool {
				s := r.e.Stats()
				return s.Servers[0].Active+s.Servers[1].Active == 1
			})
			reset(c)
			if rec := r.next(); rec.Reason != ReasonReset || rec.EndedBy != Client || len(rec.Tries) != 0 {
				t.Fatalf("got %v by %v after %v, want %v by %v at once", rec.Reason, rec.EndedBy, rec.Tries, ReasonReset, Client)
			}
		}
	})
}

// What the client says and its FIN reach a server that is slow to accept.
func TestClientEndsWhileAServerIsDialed(t *testing.T) {
	bothKinds(t, func(t *testing.T, listener func(*Pool) *Listener) {
		slow, admit := silentAddr(t)
		r := startRig(t, &Config{Listeners: []*Listener{listener(withTries(roundRobin(t, slow), 0, time.Hour, Off))}})
		c := r.dial(0)
		sent := chatHello(t)
		_, _ = c.Write(sent)
		_ = c.(*net.TCPConn).CloseWrite()
		eventually(t, "the server is dialed", func() bool { return r.e.Stats().Servers[0].Active == 1 })
		admit().Close() // the connection that filled the queue
		var got net.Conn
		eventually(t, "the server accepts", func() bool { // the kernel sends the SYN again after a second
			if r.e.Stats().Servers[0].Connections == 1 && got == nil {
				got = admit()
			}
			return got != nil
		})
		if b, err := io.ReadAll(got); err != nil || !bytes.Equal(b, sent) {
			t.Errorf("got %d bytes, %v, want the %d that the client sent and its FIN", len(b), err, len(sent))
		}
		_, _ = io.WriteString(got, "answer")
		got.Close()
		if b, err := io.ReadAll(c); err != nil || string(b) != "answer" {
			t.Errorf("got %q, %v, want the answer", b, err)
		}
	})
}

func TestUnixServerThatIsGone(t *testing.T) {
	good := startOrigin(t, answers("good"))
	gone := t.TempDir() + "/gone.sock"
	r := startRig(t, &Config{Listeners: []*Listener{plainListener(roundRobin(t, gone, good.addr))}})
	r.ask([]byte("a"), "good")
	rec := r.next()
	if !sameTries(rec.Tries, Try{Server: gone, Reason: ReasonRefused}) || !strings.HasPrefix(rec.Tries[0].Server, "/") {
		t.Errorf("got tries %v, want %s refused", rec.Tries, gone)
	}
}
