package l4

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"
)

// received collects what servers got, one entry a connection.
type received struct {
	sync.Mutex
	all [][]byte
}

func (r *received) add(b []byte) {
	r.Lock()
	defer r.Unlock()
	r.all = append(r.all, bytes.Clone(b))
}

func (r *received) take() [][]byte {
	r.Lock()
	defer r.Unlock()
	all := r.all
	r.all = nil
	return all
}

// readHelloOf reads n bytes, the length of the hello, and notes them.
func (r *received) readHelloOf(c net.Conn, n int) bool {
	b := make([]byte, n)
	m, err := io.ReadFull(c, b)
	r.add(b[:m])
	return err == nil
}

func closeConn(c net.Conn) { c.Close() }

func TestP5HelloIsReplayedToTheNextServer(t *testing.T) {
	hello := chatHello(t)
	for _, tt := range []struct {
		name string
		bad  func(net.Conn, *received)
		want []Reason // one of
		wait time.Duration
	}{
		{"reset at accept", func(c net.Conn, _ *received) { reset(c) }, []Reason{ReasonResetEarly}, 0},
		{"reset after the hello", func(c net.Conn, r *received) { r.readHelloOf(c, len(hello)); reset(c) }, []Reason{ReasonResetEarly}, 0},
		{"reset within the hello", func(c net.Conn, r *received) { r.readHelloOf(c, 7); reset(c) }, []Reason{ReasonResetEarly}, 0},
		{"closed with the hello unread", func(c net.Conn, r *received) { r.readHelloOf(c, 7); c.Close() }, []Reason{ReasonResetEarly}, 0},
		{"closed at accept", func(c net.Conn, _ *received) { c.Close() }, []Reason{ReasonClosedEarly, ReasonResetEarly}, 0},
		{"closed after the hello", func(c net.Conn, r *received) { r.readHelloOf(c, len(hello)); c.Close() }, []Reason{ReasonClosedEarly}, 0},
		{"ends without reading", func(c net.Conn, _ *received) {
			_ = c.(*net.TCPConn).CloseWrite()
			_, _ = io.Copy(io.Discard, struct{ io.Reader }{c})
		}, []Reason{ReasonClosedEarly}, 0},
		{"silence", func(c net.Conn, r *received) {
			r.readHelloOf(c, len(hello))
			_, _ = io.Copy(io.Discard, struct{ io.Reader }{c})
		}, []Reason{ReasonFirstByteTimeout}, 10 * time.Minute},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var atBad, atGood received
			bad := startOrigin(t, func(c net.Conn) { tt.bad(c, &atBad) })
			good := startOrigin(t, func(c net.Conn) {
				if atGood.readHelloOf(c, len(hello)) {
					_, _ = io.WriteString(c, "good")
					_, _ = io.Copy(io.Discard, struct{ io.Reader }{c})
				}
			})
			p := withTries(roundRobin(t, bad.addr, good.addr), 0, 0, Off)
			p.FirstByteTimeout = 10 * time.Minute
			r := startRig(t, &Config{Listeners: []*Listener{routeTo(t, p)}})
			n, replayed := soak(100, 10000), 0
			for i := range n {
				c := r.dial(0)
				if _, err := c.Write(hello); err != nil {
					t.Fatal(err)
				}
				if tt.wait > 0 && i%2 == 0 {
					eventually(t, "the silent server has the hello", func() bool { return len(atBad.take()) == 1 })
					r.advance(tt.wait - patience)
					if good.accepted.Load() > int64(i) {
						t.Fatal("the silent server was left before its timeout")
					}
					r.advance(patience + 2*fineTick)
				}
				got := make([]byte, 4)
				if _, err := io.ReadFull(c, got); err != nil || string(got) != "good" {
					t.Fatalf("got %q, %v, want the good server's answer", got, err)
				}
				c.Close()
				rec := r.next()
				if rec.Server != good.addr || rec.Reason != ReasonClosed || rec.BytesUp != uint64(len(hello)) || rec.BytesDown != 4 {
					t.Fatalf("got record %+v", rec)
				}
				if len(rec.Tries) == 0 {
					continue
				}
				replayed++
				if len(rec.Tries) != 1 || rec.Tries[0].Server != bad.addr || !slices.Contains(tt.want, rec.Tries[0].Reason) {
					t.Fatalf("got tries %v, want one of %s, %v", rec.Tries, bad.addr, tt.want)
				}
			}
			if replayed != n/2 {
				t.Errorf("%d of %d hellos were replayed, want half", replayed, n)
			}
			for _, b := range atGood.take() {
				if !bytes.Equal(b, hello) {
					t.Fatalf("a server got %d bytes that are not the hello", len(b))
				}
			}
			for _, b := range atBad.take() {
				if !bytes.HasPrefix(hello, b) {
					t.Fatalf("the bad server got %d bytes that are not the hello's", len(b))
				}
			}
		})
	}
}

// withExtension appends an empty extension to a hello in one record.
func withExtension(hello []byte, id uint16) []byte {
	b := bytes.Clone(hello)
	b = append(b, byte(id>>8), byte(id), 0, 0)
	binary.BigEndian.PutUint16(b[3:], uint16(len(b)-5))                   // record
	b[6], b[7], b[8] = 0, byte((len(b)-9)>>8), byte(len(b)-9)             // handshake
	at := 9 + 2 + 32                                                      // version, random
	at += 1 + int(b[at])                                                  // session
	at += 2 + int(binary.BigEndian.Uint16(b[at:]))                        // cipher suites
	at += 1 + int(b[at])                                                  // compression
	binary.BigEndian.PutUint16(b[at:], binary.BigEndian.Uint16(b[at:])+4) // extensions
	return b
}

// lastWord is what a client that got no answer sees: a FIN or a reset.
func lastWord(c net.Conn) error {
	_, err := c.Read(make([]byte, 1))
	return err
}

func TestP5HelloIsNotReplayed(t *testing.T) {
	hello := chatHello(t)
	const more = "more"
	say := func(b []byte) func(net.Conn) {
		return func(c net.Conn) { _, _ = c.Write(b) }
	}
	for _, tt := range []struct {
		name   string
		client func(net.Conn)
		reads  int // before the server ends; -1: to the end
		more   bool
	}{
		{"with early data offered", say(withExtension(hello, 42)), len(hello) + 4, false},
		{"with bytes right behind it", say(append(bytes.Clone(hello), more...)), len(hello) + len(more), false},
		{"after later bytes of the client", say(hello), len(hello), true},
		{"when the client has ended", func(c net.Conn) { _, _ = c.Write(hello); _ = c.(*net.TCPConn).CloseWrite() }, -1, false},
	} {
		for end, how := range map[string]func(net.Conn){"reset": reset, "closed": closeConn} {
			t.Run(tt.name+", "+end, func(t *testing.T) {
				var got received
				first := make(chan struct{}, 1)
				serve := func(c net.Conn) {
					switch {
					case tt.reads < 0:
						b, _ := io.ReadAll(c)
						got.add(b)
					default:
						got.readHelloOf(c, tt.reads)
					}
					if tt.more {
						first <- struct{}{}
						got.readHelloOf(c, len(more))
					}
					how(c)
				}
				a, b := startOrigin(t, serve), startOrigin(t, serve)
				r := startRig(t, &Config{Listeners: []*Listener{routeTo(t, roundRobin(t, a.addr, b.addr))}})
				n := soak(100, 1000)
				for range n {
					c := r.dial(0)
					tt.client(c)
					if tt.more {
						<-first
						_, _ = io.WriteString(c, more)
					}
					want, reason := io.EOF, ReasonClosedEarly
					if end == "reset" {
						want, reason = syscall.ECONNRESET, ReasonResetEarly
					}
					if err := lastWord(c); !isErr(err, want) {
						t.Fatalf("got %v, want the server's end: %v", err, want)
					}
					c.Close()
					if rec := r.next(); len(rec.Tries) > 1 || rec.Reason != reason && rec.Reason != ReasonClosed {
						t.Fatalf("got %v after %v, want %v and one attempt", rec.Reason, rec.Tries, reason)
					}
				}
				if sum := a.accepted.Load() + b.accepted.Load(); sum != int64(n) {
					t.Errorf("%d connections came to the servers, want %d", sum, n)
				}
			})
		}
	}
}

// A reset of the client while a server has yet to answer ends everything.
func TestResetOfTheClientEndsTheSearch(t *testing.T) {
	hello := chatHello(t)
	ended := make(chan error, 1)
	serve := func(c net.Conn) {
		_, _ = io.ReadFull(c, make([]byte, len(hello)))
		ended <- nil
		ended <- lastWord(c)
	}
	a, b := startOrigin(t, serve), startOrigin(t, serve)
	r := startRig(t, &Config{Listeners: []*Listener{routeTo(t, roundRobin(t, a.addr, b.addr))}})
	n := soak(100, 1000)
	for range n {
		c := r.dial(0)
		_, _ = c.Write(hello)
		<-ended
		reset(c)
		if err := <-ended; !isErr(err, syscall.ECONNRESET) {
			t.Fatalf("the server got %v, want %v", err, syscall.ECONNRESET)
		}
		if rec := r.next(); rec.Reason != ReasonReset || rec.EndedBy != Client || len(rec.Tries) != 0 {
			t.Fatalf("got %v by %v after %v, want %v by %v", rec.Reason, rec.EndedBy, rec.Tries, ReasonReset, Client)
		}
	}
	if sum := a.accepted.Load() + b.accepted.Load(); sum != int64(n) {
		t.Errorf("%d connections came to the servers, want %d", sum, n)
	}
}

// When nobody is left to be asked the client sees how the last server ended.
func TestEndOfTheLastServerIsPassedOn(t *testing.T) {
	hello := chatHello(t)
	for _, tt := range []struct {
		name           string
		servers, tries int
		asked          int // of the servers
	}{
		{"the only one", 1, 0, 1},
		{"all were asked", 2, 0, 2},
		{"as many as allowed were asked", 4, 3, 3},
		{"one may be asked", 4, 1, 1},
	} {
		for end, how := range map[string]func(net.Conn){"reset": reset, "closed": closeConn} {
			t.Run(tt.name+", "+end, func(t *testing.T) {
				var addrs []string
				var got received
				for range tt.servers {
					o := startOrigin(t, func(c net.Conn) { got.readHelloOf(c, len(hello)); how(c) })
					addrs = append(addrs, o.addr)
				}
				r := startRig(t, &Config{Listeners: []*Listener{routeTo(t, withTries(roundRobin(t, addrs...), tt.tries, 0, 0))}})
				for range soak(25, 1000) {
					c := r.dial(0)
					_, _ = c.Write(hello)
					want := io.EOF
					if end == "reset" {
						want = syscall.ECONNRESET
					}
					if err := lastWord(c); !isErr(err, want) {
						t.Fatalf("got %v, want %v", err, want)
					}
					c.Close()
					rec := r.next()
					asked := got.take()
					if len(asked) != tt.asked {
						t.Fatalf("%d servers got the hello, want %d; record %+v", len(asked), tt.asked, rec)
					}
				}
			})
		}
	}
}

func TestPlainTCPIsNeverReplayed(t *testing.T) {
	for end, how := range map[string]func(net.Conn){"reset": reset, "closed": closeConn} {
		t.Run(end, func(t *testing.T) {
			serve := func(c net.Conn) { _, _ = io.ReadFull(c, make([]byte, 5)); how(c) }
			a, b := startOrigin(t, serve), startOrigin(t, serve)
			r := startRig(t, &Config{Listeners: []*Listener{plainListener(roundRobin(t, a.addr, b.addr))}})
			n := soak(100, 1000)
			for range n {
				c := r.dial(0)
				_, _ = io.WriteString(c, "hello")
				want := io.EOF
				if end == "reset" {
					want = syscall.ECONNRESET
				}
				if err := lastWord(c); !isErr(err, want) {
					t.Fatalf("got %v, want %v", err, want)
				}
				c.Close()
				if rec := r.next(); len(rec.Tries) > 1 {
					t.Fatalf("got tries %v, want one at most", rec.Tries)
				}
			}
			if sum := a.accepted.Load() + b.accepted.Load(); sum != int64(n) {
				t.Errorf("%d connections came to the servers, want %d", sum, n)
			}
		})
	}
}

func TestResetAfterTheFirstByteIsPassedOn(t *testing.T) {
	hello := chatHello(t)
	serve := func(c net.Conn) {
		_, _ = io.ReadFull(c, make([]byte, len(hello)))
		_, _ = io.WriteString(c, "x")
		reset(c)
	}
	a, b := startOrigin(t, serve), startOrigin(t, serve)
	r := startRig(t, &Config{Listeners: []*Listener{routeTo(t, roundRobin(t, a.addr, b.addr))}})
	n := soak(100, 10000)
	for range n {
		c := r.dial(0)
		_, _ = c.Write(hello)
		if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		if err := lastWord(c); !isErr(err, syscall.ECONNRESET) {
			t.Fatalf("got %v, want %v", err, syscall.ECONNRESET)
		}
		if rec := r.next(); rec.Reason != ReasonReset || rec.EndedBy != Server || len(rec.Tries) != 0 {
			t.Fatalf("got %v by %v after %v, want %v by %v", rec.Reason, rec.EndedBy, rec.Tries, ReasonReset, Server)
		}
	}
	if sum := a.accepted.Load() + b.accepted.Load(); sum != int64(n) {
		t.Errorf("%d connections came to the servers, want %d", sum, n)
	}
}

// Without a first-byte timeout a server may think for as long as a connection
// may be idle, whatever the time for failing over is.
func TestServerMayBeSilentWithoutAFirstByteTimeout(t *testing.T) {
	hello := chatHello(t)
	for _, tt := range []struct {
		name     string
		failover time.Duration
		life     time.Duration
		want     Reason
	}{
		{"time for failing over", time.Minute, 0, ReasonIdleTimeout},
		{"no time for failing over", Off, 0, ReasonIdleTimeout},
		{"lifetime", time.Minute, 59 * time.Minute, ReasonLifetime},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got received
			o := startOrigin(t, func(c net.Conn) {
				got.readHelloOf(c, len(hello))
				_, _ = io.Copy(io.Discard, struct{ io.Reader }{c})
			})
			p := withTries(roundRobin(t, o.addr), 0, 0, tt.failover)
			p.FirstByteTimeout, p.Session.IdleTimeout, p.Session.Lifetime = Off, time.Hour, tt.life
			r := startRig(t, &Config{Listeners: []*Listener{routeTo(t, p)}})
			c := r.dial(0)
			_, _ = c.Write(hello)
			eventually(t, "the server has the hello", func() bool { return len(got.take()) == 1 })
			r.advance(time.Hour - 2*time.Minute)
			if n := r.e.Stats().Listeners[0].Active; n != 1 {
				t.Fatalf("the connection ended early: %+v", r.next())
			}
			r.advance(3 * time.Minute)
			if rec := r.next(); rec.Reason != tt.want || rec.EndedBy != Culvert {
				t.Errorf("got %v by %v, want %v", rec.Reason, rec.EndedBy, tt.want)
			}
		})
	}
}
