package terminate

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"culvert/balancer"
)

// The request to the server is cancelled when the client leaves.
func TestAbortCancelsTheRequest(t *testing.T) {
	eachProtocol(t, func(t *testing.T, protocol string) {
		for _, body := range []string{"", "hello"} {
			arrived, cancelled := make(chan bool, 1), make(chan bool, 1)
			server := startRecorder(t, func(_ http.ResponseWriter, q *http.Request) {
				arrived <- true
				<-q.Context().Done()
				cancelled <- true
			})
			r := startRig(t, setting{}, server.addr)
			ctx, cancel := context.WithCancel(context.Background())
			q := newRequest(t, "POST", "/", strings.NewReader(body)).WithContext(ctx)
			done := make(chan error, 1)
			client := r.client(protocol)
			go func() {
				_, err := client.Do(q)
				done <- err
			}()
			<-arrived
			cancel()
			if err := <-done; err == nil {
				t.Error("the request was not cancelled")
			}
			within(t, "the server's request ends", cancelled)
			if q := r.report(); q.Refused != "client_gone" || q.Status != 0 || q.Server == "" {
				t.Errorf("got the report %+v", q)
			}
		}
	})
}

func within[T any](t testing.TB, what string, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(testTimeout):
		t.Errorf("not in %v: %s", testTimeout, what)
	}
	return v
}

// A client that leaves while it sends a body does not count as a failure of the
// server, and the server does not get a complete request.
func TestAbortInTheBody(t *testing.T) {
	server := startRecorder(t, nil)
	r := startRig(t, setting{}, server.addr)
	for _, head := range []string{"Content-Length: 10\r\n\r\nhello", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", "Transfer-Encoding: chunked\r\n\r\n9\r\nhel"} {
		conn := r.dial(r.tls("http/1.1"))
		_, _ = io.WriteString(conn, "POST / HTTP/1.1\r\nHost: "+chat+"\r\n"+head)
		eventually(t, "the server gets the beginning of the request", func() bool { return strings.Contains(server.wire(), "\r\n\r\n") })
		conn.Close()
		if q := r.report(); q.Refused != "client_gone" || q.Status != 0 {
			t.Errorf("got the report %+v", q)
		}
		eventually(t, "the request at the server fails", func() bool {
			server.mu.Lock()
			defer server.mu.Unlock()
			return len(server.all) == 1
		})
		if got := server.take(); !got[0].Cut {
			t.Errorf("the server got %+v", got)
		}
	}
}

// A body of exactly the limit is accepted, one of one byte more is not.
func TestBodyLimit(t *testing.T) {
	const limit = 64 << 10
	server := startRecorder(t, nil)
	r := startRig(t, setting{Config: Config{Limits: Limits{MaxBody: limit}}}, server.addr)
	eachProtocol(t, func(t *testing.T, protocol string) {
		for _, chunked := range []bool{false, true} {
			for _, n := range []int{limit - 1, limit, limit + 1, 10 * limit} {
				var body io.Reader = bytes.NewReader(make([]byte, n))
				if chunked {
					body = io.MultiReader(body)
				}
				res, err := r.client(protocol).Do(newRequest(t, "POST", "/", body))
				if err != nil && n > 2*limit {
					r.report()
					server.take()
					continue // the connection was closed while the client was still sending
				}
				if err != nil {
					t.Fatal(err)
				}
				res.Body.Close()
				want := 200
				if n > limit {
					want = 413
				}
				whole := slices.ContainsFunc(server.take(), func(q seen) bool { return !q.Cut })
				if res.StatusCode != want || whole != (want == 200) {
					t.Errorf("chunked %v, %d bytes: got %s, complete at the server: %v", chunked, n, res.Status, whole)
				}
				if q := r.report(); q.Status != want || (q.Refused == "body") != (want == 413) {
					t.Errorf("got the report %+v", q)
				}
			}
		}
	})
}

// An answer that a server sends before it has the whole body is passed on at
// once; the client waits for it before it sends the rest.
func TestAnswerBeforeEndOfBodyIsPassedOnAtOnce(t *testing.T) {
	const answer = "HTTP/1.1 413 Request Entity Too Large\r\nContent-Length: 5\r\nConnection: close\r\n\r\nlarge"
	reads := startScript(t, func(c net.Conn, r *bufio.Reader) {
		if _, err := readHead(r); err == nil {
			_, _ = io.WriteString(c, answer)
			_, _ = io.Copy(io.Discard, r)
		}
	})
	closes := startScript(t, func(c net.Conn, r *bufio.Reader) {
		if _, err := readHead(r); err == nil {
			_, _ = io.WriteString(c, answer)
		}
	})
	for _, server := range []string{reads, closes} {
		r := startRig(t, setting{}, server)
		for name, head := range map[string]string{
			"length":  "Content-Length: 100000000\r\n\r\nhello",
			"chunked": "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
			"Expect":  "Expect: 100-continue\r\nContent-Length: 100000000\r\n\r\n",
		} {
			t.Run(name, func(t *testing.T) {
				got := r.raw("POST / HTTP/1.1\r\nHost: "+chat+"\r\n"+head, 1)
				if len(got) != 1 || got[0].StatusCode != 413 || got[0].body != "large" || !got[0].Close {
					t.Errorf("got %+v", got)
				}
			})
		}
		t.Run("HTTP/2", func(t *testing.T) {
			h := r.http2()
			h.request(1, false, ":method", "POST", ":scheme", "https", ":path", "/", ":authority", chat)
			if err := h.WriteData(1, false, []byte("hello")); err != nil {
				t.Fatal(err)
			}
			if got := h.status(1); got != "413" {
				t.Errorf("got status %q", got)
			}
		})
	}
}

// The server decides about Expect: 100-continue, and the body is sent after it
// has agreed.
func TestExpectContinueIsPassedOn(t *testing.T) {
	accepts := startRecorder(t, nil)
	refuses := startScript(t, func(c net.Conn, r *bufio.Reader) {
		if _, err := readHead(r); err == nil {
			_, _ = io.WriteString(c, "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
			_, _ = io.Copy(io.Discard, r)
		}
	})
	for server, want := range map[string]int{accepts.addr: 200, refuses: 403} {
		r := startRig(t, setting{}, server)
		eachProtocol(t, func(t *testing.T, protocol string) {
			q := newRequest(t, "POST", "/", strings.NewReader("hello"))
			q.Header.Set("Expect", "100-continue")
			got := r.do(r.client(protocol), q)
			// Over HTTP/2, net/http does not pass the expectation on.
			n := r.report().BytesIn
			if got.StatusCode != want || (n > 0) != (want == 200) && protocol == "HTTP/1.1" {
				t.Errorf("got %s, and the client was asked for %d bytes of the body; want %d", got.Status, n, want)
			}
		})
	}
}

// slow is a connection whose second Write is delayed.
type slow struct {
	net.Conn
	n int
}

func (s *slow) Write(b []byte) (int, error) {
	if s.n++; s.n == 2 {
		time.Sleep(shortTimeout)
	}
	return s.Conn.Write(b)
}

// A body that exceeds the limit does not affect a response in progress.
func TestBodyTooLargeAfterTheResponse(t *testing.T) {
	server := startScript(t, func(c net.Conn, r *bufio.Reader) {
		_, _ = readHead(r)
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
		time.Sleep(2 * shortTimeout)
		_, _ = io.WriteString(c, "0\r\n\r\n")
		_, _ = io.Copy(io.Discard, r)
	})
	r := startRig(t, setting{
		Config: Config{Limits: Limits{MaxBody: 6 << 10}},
		upstream: func(u *Upstream) {
			u.Dial = func(ctx context.Context, s *balancer.Server, c Client) (net.Conn, error) {
				conn, err := dialServer(ctx, s, c)
				return &slow{Conn: conn}, err
			}
		},
	}, server)
	body := strings.Repeat("1000\r\n"+strings.Repeat("x", 4096)+"\r\n", 3) + "0\r\n\r\n"
	conn := r.dial(r.tls("http/1.1"))
	_, _ = io.WriteString(conn, "POST / HTTP/1.1\r\nHost: "+chat+"\r\nTransfer-Encoding: chunked\r\n\r\n"+body)
	_, _ = io.Copy(io.Discard, conn) // this test is for the race detector
}
