package terminate

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"culvert/balancer"
)

// readWhole reads a request to the end of its body: a request of which no body
// was sent may go to another server.
func readWhole(r *bufio.Reader) error {
	q, err := http.ReadRequest(r)
	if err == nil {
		_, err = io.Copy(io.Discard, q.Body)
	}
	return err
}

// deadly is a server that reads whole requests and closes before it answers.
func deadly(t *testing.T, requests *atomic.Int64) (addr string) {
	return startScript(t, func(c net.Conn, r *bufio.Reader) {
		if err := readWhole(r); err == nil {
			requests.Add(1)
		}
	})
}

// moribund starts a server that answers the first request of a connection, and
// closes it before it answers the second.
func moribund(t *testing.T, second *atomic.Int64) (addr string) {
	return startScript(t, func(c net.Conn, r *bufio.Reader) {
		if err := readWhole(r); err != nil {
			return
		}
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		if err := readWhole(r); err == nil {
			second.Add(1)
		}
	})
}

// A request that is not idempotent is sent only once, even if it fails.
func TestPostIsNeverRepeated(t *testing.T) {
	key := func(q *http.Request) { q.Header.Set("Idempotency-Key", "1") }
	xkey := func(q *http.Request) { q.Header.Set("X-Idempotency-Key", "1") }
	for _, tt := range []struct {
		name, method, body string
		change             func(*http.Request)
	}{
		{"a body", "POST", "hello", nil},
		{"no body", "POST", "", nil},
		{"a key", "POST", "hello", key},
		{"a key, no body", "POST", "", key},
		{"another key, no body", "POST", "", xkey},
		{"PATCH", "PATCH", "hello", key},
		{"PATCH without a body", "PATCH", "", key},
		{"PUT whose body was read", "PUT", "hello", nil},
		{"an unknown method", "MOVE", "", key},
	} {
		t.Run(tt.name, func(t *testing.T) {
			eachProtocol(t, func(t *testing.T, protocol string) {
				var first, second atomic.Int64
				other := startRecorder(t, nil)
				r := startRig(t, setting{pool: func(c *balancer.Config) { c.Servers[1].Backup = true }}, deadly(t, &first), other.addr)
				post := func() answer {
					q := newRequest(t, tt.method, "/", strings.NewReader(tt.body))
					if tt.change != nil {
						tt.change(q)
					}
					return r.do(r.client(protocol), q)
				}
				if got := post(); got.StatusCode != 502 {
					t.Errorf("got %s, want 502", got.Status)
				}
				if n := first.Load(); n != 1 {
					t.Errorf("the server got it %d times", n)
				}
				if got := other.take(); len(got) > 0 {
					t.Errorf("another server got %+v", got)
				}

				// The same over a reused connection.
				again := startRig(t, setting{pool: func(c *balancer.Config) { c.Servers[1].Backup = true }}, moribund(t, &second), other.addr)
				r = again
				if got := r.get(protocol, "/"); got.StatusCode != 200 {
					t.Fatalf("got %s", got.Status)
				}
				if got := post(); got.StatusCode != 502 {
					t.Errorf("reused connection: got %s, want 502", got.Status)
				}
				if n := second.Load(); n != 1 {
					t.Errorf("reused connection: the server got it %d times", n)
				}
				if got := other.take(); len(got) > 0 {
					t.Errorf("reused connection: another server got %+v", got)
				}
			})
		})
	}
}

// The Idempotency-Key of a POST is passed on, although it permits no retry.
func TestIdempotencyKeyIsPassedOn(t *testing.T) {
	server := startRecorder(t, nil)
	r := startRig(t, setting{}, server.addr)
	q := newRequest(t, "POST", "/", nil)
	q.Header.Set("Idempotency-Key", "1")
	q.Header.Set("X-Idempotency-Key", "2")
	r.do(r.client("HTTP/1.1"), q)
	if h := server.take()[0].Header; h.Get("Idempotency-Key") != "1" || h.Get("X-Idempotency-Key") != "2" {
		t.Errorf("the server got %v", h)
	}
}

// An idempotent request is sent to the next server if one closes the connection.
func TestGetGoesToTheNextServer(t *testing.T) {
	for _, method := range []string{"GET", "HEAD", "OPTIONS", "DELETE"} {
		t.Run(method, func(t *testing.T) {
			eachProtocol(t, func(t *testing.T, protocol string) {
				var n atomic.Int64
				other := startRecorder(t, nil)
				dead := deadly(t, &n)
				r := startRig(t, setting{pool: func(c *balancer.Config) { c.Servers[1].Backup = true }}, dead, other.addr)
				if got := r.do(r.client(protocol), newRequest(t, method, "/a", nil)); got.StatusCode != 200 {
					t.Errorf("got %s", got.Status)
				}
				if n.Load() != 1 || len(other.take()) != 1 {
					t.Errorf("the first server got it %d times", n.Load())
				}
				if q := r.report(); q.Tries != 2 || q.Server != other.addr || q.Status != 200 {
					t.Errorf("got the report %+v", q)
				}
				if diff := cmp.Diff([]string{other.addr}, r.served); diff != "" {
					t.Errorf("served (-want +got):\n%s", diff)
				}
			})
		})
	}
}

// After a refused connection, any request is sent to the next server, because no
// byte of it has been sent.
func TestRefusedConnectionFailsOver(t *testing.T) {
	eachProtocol(t, func(t *testing.T, protocol string) {
		server, dead := startRecorder(t, nil), closedAddr(t)
		r := startRig(t, setting{pool: func(c *balancer.Config) { c.Servers[1].Backup = true }}, dead, server.addr)
		for _, body := range []string{"", "hello", strings.Repeat("x", 1<<20)} {
			got := r.do(r.client(protocol), newRequest(t, "POST", "/", strings.NewReader(body)))
			reached := server.take()
			if got.StatusCode != 200 || len(reached) != 1 || reached[0].Body != body {
				t.Errorf("%d bytes: got %s, %d requests", len(body), got.Status, len(reached))
			}
			if q := r.report(); q.Tries != 2 || q.Server != server.addr || q.BytesIn != int64(len(body)) {
				t.Errorf("got the report %+v", q)
			}
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		if failed := r.outcomes[dead]; len(failed) != 3 || slices.Contains(failed, nil) {
			t.Errorf("the outcomes of the dead server are %v", failed)
		}
		for _, err := range r.outcomes[server.addr] {
			if err != nil {
				t.Errorf("the outcome of the other server is %v", err)
			}
		}
	})
}

// The statuses of culvert's own responses after failed attempts.
func TestStatusWithoutServerResponse(t *testing.T) {
	var n atomic.Int64
	silent := func(t *testing.T) string {
		return startScript(t, func(_ net.Conn, r *bufio.Reader) { _, _ = io.Copy(io.Discard, r) })
	}
	slow := Limits{ResponseTimeout: 50 * time.Millisecond}
	says := func(s string) func(*testing.T) string {
		return func(t *testing.T) string { return answering(t, s) }
	}
	for _, tt := range []struct {
		name   string
		server func(*testing.T) string
		set    setting
		want   int
		tries  int
	}{
		{"refused", func(t *testing.T) string { return closedAddr(t) }, setting{}, 502, 2},
		{"all down", silent, setting{pool: func(c *balancer.Config) { c.Servers[0].Down, c.Servers[1].Down = true, true }}, 503, 0},
		{"closed", func(t *testing.T) string { return deadly(t, &n) }, setting{}, 502, 2},
		{"silent", silent, setting{Config: Config{Limits: slow}}, 504, 1},
		{"one try", func(t *testing.T) string { return closedAddr(t) }, setting{upstream: func(u *Upstream) { u.Tries = 1 }}, 502, 1},
		{"no connection in time", silent, setting{upstream: func(u *Upstream) {
			u.ConnectTimeout = time.Millisecond
			u.Dial = func(ctx context.Context, _ *balancer.Server, _ Client) (net.Conn, error) {
				<-ctx.Done()
				return nil, ctx.Err()
			}
		}}, 504, 2},
		{"no HTTP", says("hello\r\n\r\n"), setting{}, 502, 2},
		{"HTTP/2", says("\x00\x00\x00\x04\x00\x00\x00\x00\x00"), setting{}, 502, 2},
		{"headers without end", says("HTTP/1.1 200 OK\r\n" + strings.Repeat("A: "+strings.Repeat("b", 1000)+"\r\n", 400)), setting{}, 502, 2},
		{"two lengths", says("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"), setting{}, 502, 2},
		{"101", says("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"), setting{}, 502, 2},
		{"101 without Upgrade", says("HTTP/1.1 101 Switching Protocols\r\n\r\n"), setting{}, 502, 2},
		{"status 42", says("HTTP/1.1 042 What\r\nContent-Length: 0\r\n\r\n"), setting{}, 502, 2},
		{"status 000", says("HTTP/1.1 000 What\r\nContent-Length: 0\r\n\r\n"), setting{}, 502, 2},
		{"only 103", says("HTTP/1.1 103 Early Hints\r\n\r\n"), setting{}, 502, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			eachProtocol(t, func(t *testing.T, protocol string) {
				r := startRig(t, tt.set, tt.server(t), tt.server(t))
				got := r.get(protocol, "/")
				if got.StatusCode != tt.want || got.Header.Get("Cache-Control") != "no-store" {
					t.Errorf("got %s, %v, want %d", got.Status, got.Header, tt.want)
				}
				if q := r.report(); q.Status != tt.want || q.Tries != tt.tries || q.Refused != "" {
					t.Errorf("got the report %+v, want %d tries", q, tt.tries)
				}
			})
		})
	}
}

// A Server without an Upstream answers with status 503.
func TestNoUpstream(t *testing.T) {
	r := startRig(t, setting{}, closedAddr(t))
	r.SetUpstream(nil)
	if got := r.get("HTTP/1.1", "/"); got.StatusCode != 503 {
		t.Errorf("got %s, want 503", got.Status)
	}
}

// sluggish is a connection to a server that has answered before the request, and
// whose Write blocks until it is closed.
type sluggish struct {
	net.Conn
	closed chan bool
	once   sync.Once
	says   *strings.Reader
}

func (s *sluggish) Read(b []byte) (int, error) { return s.says.Read(b) }

func (s *sluggish) Write(b []byte) (int, error) {
	<-s.closed
	return len(b), nil
}

func (s *sluggish) Close() error {
	s.once.Do(func() { close(s.closed) })
	return nil
}

func (*sluggish) SetDeadline(time.Time) error      { return nil }
func (*sluggish) SetReadDeadline(time.Time) error  { return nil }
func (*sluggish) SetWriteDeadline(time.Time) error { return nil }

// If the first server answers with an unsolicited 101, the next server gets the
// complete body.
func TestBodyAfterUnsolicited101GoesToTheNextServer(t *testing.T) {
	other := startRecorder(t, nil)
	var dials atomic.Int64
	r := startRig(t, setting{
		pool: func(c *balancer.Config) { c.Servers[1].Backup = true },
		upstream: func(u *Upstream) {
			u.Dial = func(ctx context.Context, s *balancer.Server, c Client) (net.Conn, error) {
				if dials.Add(1) == 1 {
					return &sluggish{closed: make(chan bool), says: strings.NewReader("HTTP/1.1 101 Switching Protocols\r\n\r\n")}, nil
				}
				eventually(t, "the first server gets no more of the body", func() bool {
					b := make([]byte, 1<<20)
					return !strings.Contains(string(b[:runtime.Stack(b, true)]), "sendBody")
				})
				return dialServer(ctx, s, c)
			}
		},
	}, closedAddr(t), other.addr)
	q := newRequest(t, "PUT", "/", io.MultiReader(strings.NewReader("hello")))
	got := r.do(r.client("HTTP/1.1"), q)
	all := other.take()
	if len(all) != 1 || all[0].Body != "hello" {
		t.Errorf("got %s, and the other server got %+v; want hello", got.Status, all)
	}
}
