package terminate

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"culvert/balancer"
)

// scriptedServer is a server whose responses are scripted by a test.
type scriptedServer struct {
	addr        string
	conns, open atomic.Int64 // total, and open now
}

// scriptedRequest is a request that the server got, and the connection to answer
// on.
type scriptedRequest struct {
	*http.Request
	conn net.Conn
	tcp  *net.TCPConn // the connection under conn
	at   *held        // the same, under TLS
	n    int64        // number of the request on its connection, from 1
}

// startScripted runs the server until the test ends. A connection ends when play
// returns false or the other end closes it.
func startScripted(t testing.TB, secure bool, play func(x *scriptedRequest) bool) *scriptedServer {
	t.Helper()
	s := &scriptedServer{}
	s.addr = startScript(t, func(c net.Conn, r *bufio.Reader) {
		x := scriptedRequest{conn: c, tcp: c.(*net.TCPConn), n: s.conns.Add(1)}
		s.open.Add(1)
		defer s.open.Add(-1)
		if secure {
			x.at = &held{Conn: c}
			x.conn = tls.Server(x.at, &tls.Config{Certificates: []tls.Certificate{serverCertificate()}, DynamicRecordSizingDisabled: true})
			r = bufio.NewReader(x.conn)
		}
		for more := true; more; _, _ = io.Copy(io.Discard, x.Body) {
			var err error
			if x.Request, err = http.ReadRequest(r); err != nil {
				return
			}
			more = play(&x)
		}
	})
	return s
}

// answer writes a response whose X-Path is the path of the request.
func (x *scriptedRequest) answer(status, rest string) {
	_, _ = fmt.Fprintf(x.conn, "%s\r\nX-Path: %s\r\n%s", status, x.URL.Path, rest)
}

// held is a connection that collects what is written between hold and flush, and
// then writes it at once.
type held struct {
	net.Conn
	holds bool
	bytes.Buffer
}

func (h *held) Read(b []byte) (int, error) { return h.Conn.Read(b) }

func (h *held) Write(b []byte) (int, error) {
	if h.holds {
		return h.Buffer.Write(b)
	}
	return h.Conn.Write(b)
}

func (h *held) hold() { h.holds = true }

func (h *held) flush() {
	h.holds = false
	_ = h.SetWriteDeadline(time.Time{}) // CloseWrite leaves a deadline behind
	_, _ = h.Conn.Write(h.Bytes())
	h.Reset()
}

// behind returns the setting of a rig in front of a server of startScripted.
func behind(secure bool) setting {
	return setting{upstream: func(u *Upstream) {
		if secure {
			u.TLS = &tls.Config{RootCAs: roots(), ServerName: chat}
		}
	}}
}

// free returns the number of idle connections.
func (r *rig) free() int {
	r.carrier.idle.mu.Lock()
	defer r.carrier.idle.mu.Unlock()
	return r.carrier.idle.n
}

const stolen = "HTTP/1.1 200 OK\r\nX-Path: /stolen\r\nContent-Length: 0\r\n\r\n"

// A connection is reused if the end of the response is certain and nothing
// follows it. Otherwise it is closed.
func TestWhichConnectionsAreReused(t *testing.T) {
	const ok, chunks = "HTTP/1.1 200 OK", "5\r\nhello\r\n0\r\n"
	long := "Content-Length: 9000\r\n\r\n" + strings.Repeat("x", 9000)
	for _, tt := range []struct {
		name, method, status, rest string
		reused                     bool
	}{
		{"a length", "GET", ok, "Content-Length: 5\r\n\r\nhello", true},
		{"a length of 0", "GET", ok, "Content-Length: 0\r\n\r\n", true},
		{"long", "GET", ok, long, true},
		{"chunked", "GET", ok, "Transfer-Encoding: chunked\r\n\r\n" + chunks + "\r\n", true},
		{"chunked, no chunk", "GET", ok, "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", true},
		{"trailers", "GET", ok, "Transfer-Encoding: chunked\r\nTrailer: A\r\n\r\n" + chunks + "A: b\r\n\r\n", true},
		{"HEAD", "HEAD", ok, "Content-Length: 5\r\n\r\n", true},
		{"HEAD, chunked", "HEAD", ok, "Transfer-Encoding: chunked\r\n\r\n", true},
		{"HEAD, no length", "HEAD", ok, "\r\n", true},
		{"204", "GET", "HTTP/1.1 204 No Content", "\r\n", true},
		{"304", "GET", "HTTP/1.1 304 Not Modified", "Content-Length: 5\r\n\r\n", true},
		{"103", "GET", "HTTP/1.1 103 Early Hints\r\n\r\n" + ok, "Content-Length: 5\r\n\r\nhello", true},
		{"100", "GET", "HTTP/1.1 100 Continue\r\n\r\n" + ok, "Content-Length: 0\r\n\r\n", true},
		{"HTTP/1.0, keep-alive", "GET", "HTTP/1.0 200 OK", "Connection: keep-alive\r\nContent-Length: 5\r\n\r\nhello", true},
		{"a body", "POST", ok, "Content-Length: 5\r\n\r\nhello", true},

		{"close", "GET", ok, "Connection: close\r\nContent-Length: 5\r\n\r\nhello", false},
		{"close, no body", "GET", ok, "Connection: close\r\nContent-Length: 0\r\n\r\n", false},
		{"close after a body", "POST", ok, "Connection: close\r\nContent-Length: 0\r\n\r\n", false},
		{"HTTP/1.0", "GET", "HTTP/1.0 200 OK", "Content-Length: 5\r\n\r\nhello", false},
		{"no length", "GET", ok, "\r\nhello", false},
		{"HTTP/1.0, no length", "GET", "HTTP/1.0 200 OK", "Connection: keep-alive\r\n\r\nhello", false},
		{"more than the length", "GET", ok, "Content-Length: 4\r\n\r\nhello", false},
		{"a second response", "GET", ok, "Content-Length: 5\r\n\r\nhello" + stolen, false},
		{"a second response, long", "GET", ok, long + stolen, false},
		{"a second response, chunked", "GET", ok, "Transfer-Encoding: chunked\r\n\r\n" + chunks + "\r\n" + stolen, false},
		{"a second response to a POST", "POST", ok, "Content-Length: 5\r\n\r\nhello" + stolen, false},
		{"HEAD with a body", "HEAD", ok, "Content-Length: 57\r\n\r\n" + stolen, false},
		{"204 with a body", "GET", "HTTP/1.1 204 No Content", "Content-Length: 57\r\n\r\n" + stolen, false},
		{"304 with a chunk", "GET", "HTTP/1.1 304 Not Modified", "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", false},
	} {
		for _, secure := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, TLS %v", tt.name, secure), func(t *testing.T) {
				server := startScripted(t, secure, func(x *scriptedRequest) bool {
					_, _ = io.Copy(io.Discard, x.Body)
					x.answer(tt.status, tt.rest)
					if secure && strings.Contains(tt.name, "no length") && tt.method == "GET" {
						_ = x.conn.(*tls.Conn).CloseWrite()
					}
					return !strings.Contains(tt.name, "no length") || tt.method == "HEAD"
				})
				r := startRig(t, behind(secure), server.addr)
				client := r.client("HTTP/1.1")
				want := int64(3)
				for i := range want {
					q := newRequest(t, tt.method, fmt.Sprint("/", i), nil)
					if tt.method == "POST" {
						q = newRequest(t, tt.method, fmt.Sprint("/", i), strings.NewReader("hello"))
					}
					if got := r.do(client, q); got.Header.Get("X-Path") != q.URL.Path {
						t.Errorf("%s: got %s, %v", q.URL.Path, got.Status, got.Header)
					}
					if tt.reused { // the end of the body may still be in progress
						eventually(t, "the connection is idle", func() bool { return r.free() == 1 })
					}
				}
				open := int64(0)
				if tt.reused {
					want, open = 1, 1
				}
				if got := server.conns.Load(); got != want {
					t.Errorf("got %d connections, want %d", got, want)
				}
				if !tt.reused {
					r.Retire() // closes the last connection, which otherwise only the next request would
				}
				eventually(t, "the other connections are closed", func() bool { return server.open.Load() == open })
			})
		}
	}
}

// Bytes that a server sends after a response are never taken for the response to
// the next request, however late and few they are.
func TestUnsolicitedBytesAreNoResponse(t *testing.T) {
	says := func(s string) func(*scriptedRequest) {
		return func(x *scriptedRequest) { _, _ = io.WriteString(x.conn, s) }
	}
	alert := func(x *scriptedRequest) { _ = x.conn.(*tls.Conn).CloseWrite() }
	for _, tt := range []struct {
		name           string
		secure, atOnce bool // sent together with the response, in a TLS record of their own
		more           func(*scriptedRequest)
	}{
		{"a response", false, false, says(stolen)},
		{"a byte", false, false, says("H")},
		{"an empty line", false, false, says("\r\n")},
		{"100 Continue", false, false, says("HTTP/1.1 100 Continue\r\n\r\n")},
		{"a response, TLS", true, false, says(stolen)},
		{"a byte, TLS", true, false, says("H")},
		{"an alert", true, false, alert},
		{"a response, TLS, at once", true, true, says(stolen)},
		{"a byte, TLS, at once", true, true, says("H")},
		{"an alert, at once", true, true, alert},
	} {
		t.Run(tt.name, func(t *testing.T) {
			requested, finished := make(chan bool, 1), make(chan bool, 1)
			server := startScripted(t, tt.secure, func(x *scriptedRequest) bool {
				if tt.atOnce {
					x.at.hold()
				}
				x.answer("HTTP/1.1 200 OK", "Content-Length: 5\r\n\r\nhello")
				if !tt.atOnce && x.n == 1 {
					<-requested
				}
				if x.n == 1 {
					tt.more(x)
				}
				if tt.atOnce {
					x.at.flush()
				}
				finished <- true
				return true
			})
			r := startRig(t, behind(tt.secure), server.addr)
			client := r.client("HTTP/1.1")
			for i := range 3 {
				q := newRequest(t, "GET", fmt.Sprint("/", i), nil)
				if got := r.do(client, q); got.Header.Get("X-Path") != q.URL.Path || got.body != "hello" {
					t.Errorf("%s: got %s, %v, %q", q.URL.Path, got.Status, got.Header, got.body)
				}
				if i == 0 {
					requested <- true
				}
				within(t, "the server has sent everything", finished)
			}
			if got := server.conns.Load(); got != 2 {
				t.Errorf("got %d connections, want 2", got)
			}
		})
	}
}

// A request on a connection that turns out to be closed is sent once more to the
// same server, if it may be repeated and no byte of a response has arrived.
func TestRetryOnStaleConnection(t *testing.T) {
	for _, tt := range []struct {
		method, body, says string
		always             bool // new connections fail in the same way
		want               int
		sent               int64
	}{
		{"GET", "", "", false, 200, 2},
		{"HEAD", "", "", false, 200, 2},
		{"OPTIONS", "", "", false, 200, 2},
		{"DELETE", "", "", false, 200, 2},
		{"PUT", "", "", false, 200, 2},
		{"GET", "", "", true, 502, 2},
		{"GET", "", "HTTP/1.1 2", false, 502, 1},
		{"GET", "", "\r", false, 502, 1},
		{"PUT", "hello", "", false, 502, 1},
		{"POST", "", "", false, 502, 1},
		{"POST", "hello", "", false, 502, 1},
		{"PATCH", "hello", "", false, 502, 1},
	} {
		for _, secure := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s %q %q %v, TLS %v", tt.method, tt.body, tt.says, tt.always, secure), func(t *testing.T) {
				var sent atomic.Int64
				server := startScripted(t, secure, func(x *scriptedRequest) bool {
					_, _ = io.Copy(io.Discard, x.Body)
					if x.URL.Path == "/warm" || sent.Add(1) > 1 && !tt.always {
						x.answer("HTTP/1.1 200 OK", "Content-Length: 0\r\n\r\n")
						return true
					}
					_, _ = io.WriteString(x.conn, tt.says)
					return false
				})
				set := behind(secure)
				set.pool = func(c *balancer.Config) { c.Servers[0].MaxConns = 1 }
				r := startRig(t, set, server.addr)
				client := r.client("HTTP/1.1")
				r.do(client, newRequest(t, "GET", "/warm", nil))
				r.report()
				got := r.do(client, newRequest(t, tt.method, "/", strings.NewReader(tt.body)))
				if got.StatusCode != tt.want || sent.Load() != tt.sent {
					t.Errorf("got %s after sending the request %d times, want %d after %d", got.Status, sent.Load(), tt.want, tt.sent)
				}
				if q := r.report(); q.Tries != 1 {
					t.Errorf("got the report %+v", q)
				}
			})
		}
	}
}

// A connection whose server violates the protocol is closed, and nothing on it
// is taken for the response to the next request.
func TestBrokenResponseEndsTheConnection(t *testing.T) {
	for name, says := range map[string]string{
		"101":          "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n" + stolen,
		"status 42":    "HTTP/1.1 042 What\r\n\r\n" + stolen,
		"no status":    "hello\r\n" + stolen,
		"a bad header": "HTTP/1.1 200 OK\r\nhello\r\n\r\n" + stolen,
		"two lengths":  "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab" + stolen,
		"a bad chunk":  "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n",
		"a bad end":    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nhello\r\n\r\n",
	} {
		for _, method := range []string{"POST", "PUT"} {
			t.Run(name+" "+method, func(t *testing.T) {
				server := startScripted(t, false, func(x *scriptedRequest) bool {
					_, _ = io.Copy(io.Discard, x.Body)
					if x.n > 1 {
						x.answer("HTTP/1.1 200 OK", "Content-Length: 0\r\n\r\n")
					} else {
						_, _ = io.WriteString(x.conn, says)
					}
					return true // culvert has to close the connection
				})
				r := startRig(t, setting{}, server.addr)
				res, err := r.client("HTTP/1.1").Do(newRequest(t, method, "/", strings.NewReader("hello")))
				if err == nil {
					_, err = io.ReadAll(res.Body)
					res.Body.Close()
				}
				if err == nil && res.StatusCode != 502 {
					t.Errorf("got a complete response, %s", res.Status)
				}
				eventually(t, "the connection is closed", func() bool { return server.open.Load() == 0 })
				if got := r.get("HTTP/1.1", "/next"); got.Header.Get("X-Path") != "/next" || server.conns.Load() != 2 {
					t.Errorf("got %s, %v", got.Status, got.Header)
				}
			})
		}
	}
}
