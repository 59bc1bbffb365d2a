package l4

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Every byte that a server sent before its reset reaches the client, however
// slowly it reads, and the reset comes behind them.
func TestP8ServersResetComesBehindItsBytes(t *testing.T) {
	for _, tt := range []struct {
		recv   int // 0: a client that reads fast
		rounds int
		sizes  []int64
	}{
		{0, 40, []int64{0, 1, 1000, 64 << 10, 64<<10 + 1, 1 << 20}},
		{0, 3, []int64{8 << 20}},
		{4096, 3, []int64{0, 1, 5000, 50_000}},
	} {
		for _, n := range tt.sizes {
			t.Run(fmt.Sprintf("%d bytes, receive buffer %d", n, tt.recv), func(t *testing.T) {
				p := startPairs(t, tt.recv, nil)
				for range tt.rounds * soak(1, 20) {
					c, s := p.connect()
					go func() {
						if (&pattern{seed: 4}).send(s, n) != nil {
							return
						}
						acknowledged(t, s)
						reset(s)
					}()
					if got, err := (&pattern{seed: 4}).check(c); got != n || !isErr(err, syscall.ECONNRESET) {
						t.Fatalf("got %d bytes, %v, want %d, %v", got, err, n, syscall.ECONNRESET)
					}
					if rec := p.next(); rec.Reason != ReasonReset || rec.EndedBy != Server || rec.BytesDown != uint64(n) {
						t.Fatalf("got record %+v", rec)
					}
				}
			})
		}
	}
}

// A client that does not take its bytes is waited for, but not for ever.
func TestResetWaitsForTheClientOnlySoLong(t *testing.T) {
	p := startPairs(t, 4096, func(c *Config) { c.Loops = 1 })
	for range soak(5, 50) {
		c, s := p.connect()
		p.on(func(_ *loop, c *conn) {
			_ = syscall.SetsockoptInt(int(c.ends[client].fd), syscall.SOL_SOCKET, syscall.SO_SNDBUF, 1<<20)
		})
		if err := (&pattern{}).send(s, 50_000); err != nil {
			t.Fatal(err)
		}
		acknowledged(t, s)
		before := p.clock.now()
		reset(s)
		eventually(t, "the client's acknowledgement is awaited", func() bool { return strings.HasPrefix(p.state(), "await ack") })
		p.advance(ackTime - 2*time.Second)
		if state := p.state(); state == "gone" && p.clock.now()-before < ackTime {
			t.Fatal("the client was not waited for")
		}
		p.advance(2*time.Second + 2*ackPoll)
		if rec := p.next(); rec.Reason != ReasonReset || rec.EndedBy != Server {
			t.Fatalf("got %v by %v", rec.Reason, rec.EndedBy)
		}
		if _, err := (&pattern{}).check(c); !isErr(err, syscall.ECONNRESET) {
			t.Fatalf("the client got %v, want %v", err, syscall.ECONNRESET)
		}
	}
}

// A client's reset reaches the server at once, whatever is in the way.
func TestP9ClientsResetReachesTheServer(t *testing.T) {
	idle := func(*stream) {}
	for _, tt := range []struct {
		name   string
		recv   int
		slow   side
		before func(*stream)
	}{
		{"idle", 0, server, idle},
		{"the server takes nothing", 4096, server, func(s *stream) { s.stall() }},
		{"the client takes nothing", 4096, client, func(s *stream) { s.stall() }},
		{"after bytes", 0, server, func(s *stream) { _, _ = s.from.Write([]byte("a")); _, _ = s.to.Read(make([]byte, 1)) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := startPairs(t, tt.recv, nil)
			rounds := 100
			if tt.recv > 0 {
				rounds = 10
			}
			for range rounds * soak(1, 20) {
				s := p.newStream(1, tt.slow)
				tt.before(s)
				c, srv := s.from, s.to
				if tt.slow == client {
					c, srv = s.to, s.from
				}
				reset(c)
				if rec := p.next(); rec.Reason != ReasonReset || rec.EndedBy != Client {
					t.Fatalf("got %v by %v, want %v by %v", rec.Reason, rec.EndedBy, ReasonReset, Client)
				}
				if _, err := io.Copy(io.Discard, struct{ io.Reader }{srv}); !isErr(err, syscall.ECONNRESET) {
					t.Fatalf("the server got %v, want %v", err, syscall.ECONNRESET)
				}
				srv.Close()
			}
		})
	}
}

// What the client is still to get when both ends have ended is delivered: the
// engine is done with the connection by then, and the kernel is not.
func TestBytesOutliveTheConnection(t *testing.T) {
	p := startPairs(t, 4096, nil)
	const n = 30_000
	for range soak(5, 100) {
		c, s := p.connect()
		p.on(func(_ *loop, c *conn) {
			_ = syscall.SetsockoptInt(int(c.ends[client].fd), syscall.SOL_SOCKET, syscall.SO_SNDBUF, 1<<20)
		})
		_ = c.CloseWrite()
		if err := (&pattern{}).send(s, n); err != nil {
			t.Fatal(err)
		}
		s.Close()
		if rec := p.next(); rec.Reason != ReasonClosed || rec.BytesDown != n {
			t.Fatalf("got record %+v", rec)
		}
		if got, err := (&pattern{}).check(c); got != n || err != nil {
			t.Fatalf("got %d bytes, %v, want %d", got, err, n)
		}
	}
}

// serverProcess is a server in a process of its own.
type serverProcess struct {
	addr string
	cmd  *exec.Cmd
	out  *bufio.Scanner
}

const processBytes = 300 << 10 // that it sends on every connection

func startServerProcess(t *testing.T) *serverProcess {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestServerProcess$")
	cmd.Env = append(os.Environ(), "CULVERT_SERVER_PROCESS=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s := &serverProcess{cmd: cmd, out: bufio.NewScanner(out)}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	s.addr = s.line(t)
	return s
}

// line returns the next line that the process prints.
func (s *serverProcess) line(t *testing.T) string {
	t.Helper()
	if !s.out.Scan() {
		t.Fatalf("the server process ended: %v", s.out.Err())
	}
	return s.out.Text()
}

// TestServerProcess is the server process: it says where it listens, sends
// processBytes on every connection, says so, and never reads.
func TestServerProcess(t *testing.T) {
	if os.Getenv("CULVERT_SERVER_PROCESS") == "" {
		return // it is no test: another test runs it as a process of its own
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	fmt.Println(ln.Addr())
	for {
		c, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			if (&pattern{seed: 8}).send(c, processBytes) == nil {
				fmt.Println("sent")
			}
			select {} // until killed
		}()
	}
}

// A server that is killed had its bytes on the way: they arrive, the
// connections end, and those of other servers do not notice.
func TestP8KilledServerLosesNothingThatItSent(t *testing.T) {
	o := startOrigin(t, echo)
	for _, unread := range []bool{false, true} {
		name := "closed"
		if unread {
			name = "reset"
		}
		t.Run(name, func(t *testing.T) {
			for range soak(2, 20) {
				srv := startServerProcess(t)
				other := plainListener(roundRobin(t, o.addr))
				other.Name = "other"
				r := startRig(t, &Config{Listeners: []*Listener{plainListener(roundRobin(t, srv.addr)), other}})
				const n = 25
				var doomed, others [n]net.Conn
				for i := range n {
					doomed[i], others[i] = r.dial(0), r.dial(1)
					if unread { // a process that dies with unread input resets
						_, _ = doomed[i].Write([]byte("never read"))
					}
				}
				for range n {
					srv.line(t)
				}
				if unread { // what is in its send queue would die with it
					eventually(t, "the engine has all bytes", func() bool {
						st := r.e.Stats().Servers[0]
						return st.BytesDown == n*processBytes && st.BytesUp == n*uint64(len("never read"))
					})
				}
				_ = srv.cmd.Process.Kill()
				var wg sync.WaitGroup
				for _, c := range doomed {
					wg.Go(func() {
						got, err := (&pattern{seed: 8}).check(c)
						if got != processBytes || (unread && !isErr(err, syscall.ECONNRESET)) || (!unread && err != nil) {
							t.Errorf("got %d bytes, %v, want the %d that were sent and their end", got, err, processBytes)
						}
						c.Close()
					})
				}
				wg.Wait()
				for range n {
					if rec := r.next(); rec.EndedBy != Server || rec.Server != srv.addr {
						t.Errorf("got %v by %v of %s", rec.Reason, rec.EndedBy, rec.Server)
					}
				}
				for _, c := range others {
					echoes(t, c, 10_000)
					c.Close()
				}
			}
		})
	}
}
