package terminate

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// When a client leaves, at whatever point, the connection to its server is
// closed and the next request uses another one.
func TestClientLeavesAtAnyPoint(t *testing.T) {
	const chunk = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"
	for _, tt := range []struct {
		name, method, says string
		begins             bool // the client leaves after the beginning of a response
	}{
		{"before an answer", "GET", "", false},
		{"after a hint", "GET", "HTTP/1.1 103 Early Hints\r\n\r\n", false},
		{"in the headers", "GET", "HTTP/1.1 200 OK\r\nContent-Le", false},
		{"in the response", "GET", chunk, true},
		{"in the body", "POST", "", false},
		{"in the body, after a hint", "POST", "HTTP/1.1 103 Early Hints\r\n\r\n", false},
		{"in both", "POST", chunk, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			arrived := make(chan bool, 1)
			server := startScripted(t, false, func(x *scriptedRequest) bool {
				if x.URL.Path == "/next" {
					x.answer("HTTP/1.1 200 OK", "Content-Length: 0\r\n\r\n")
					return true
				}
				_, _ = io.WriteString(x.conn, tt.says)
				arrived <- true
				return true
			})
			r := startRig(t, setting{}, server.addr)
			eachProtocol(t, func(t *testing.T, protocol string) {
				client := r.client(protocol)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				in, out := io.Pipe()
				go func() { _, _ = io.WriteString(out, "hello") }()
				var b io.Reader
				if tt.method == "POST" {
					b = in
				}
				q := newRequest(t, tt.method, "/", b).WithContext(ctx)
				over := make(chan error, 1)
				begun := make(chan bool, 1)
				go func() {
					res, err := client.Do(q)
					if err == nil {
						begun <- true
						_, err = io.Copy(io.Discard, res.Body)
						res.Body.Close()
					}
					over <- err
				}()
				within(t, "the request has reached the server", arrived)
				if tt.begins {
					within(t, "the response begins", begun)
				}
				cancel()
				_ = out.CloseWithError(context.Canceled) // net/http waits for the end of its body
				if err := within(t, "the request fails at the client", over); err == nil {
					t.Error("got a complete response")
				}
				eventually(t, "the connection is closed", func() bool { return server.open.Load() == 0 })
				eventually(t, "the server has no active request", func() bool { return r.pool.Servers()[0].Active() == 0 })
				if got := r.report(); (got.Status == 200) != tt.begins || got.Tries != 1 {
					t.Errorf("got the report %+v", got)
				}
				if got := r.do(client, newRequest(t, "GET", "/next", nil)); got.Header.Get("X-Path") != "/next" {
					t.Errorf("got %s, %v", got.Status, got.Header)
				}
				r.report()
				r.carrier.idle.close()
				r.carrier.idle.over = false
			})
		})
	}
}

// Of many concurrent requests, with and without bodies, each gets its own
// response or none, whatever others do to the connections, and no resources
// leak.
func TestConcurrentRequestsAreNotMixedUp(t *testing.T) {
	server := startScripted(t, false, func(x *scriptedRequest) bool {
		b, err := io.ReadAll(io.LimitReader(x.Body, int64(len(x.URL.Path))*1000)) // leaves some of the bodies unread
		if err != nil {
			return false
		}
		text := fmt.Sprint(x.Method, x.URL.Path, len(b))
		x.answer("HTTP/1.1 200 OK", fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(text), text))
		return x.n%3 > 0 // false closes the connection without announcing it
	})
	r := startRig(t, setting{}, server.addr)
	goroutines, files := runtime.NumGoroutine(), openFiles(t)
	eachProtocol(t, func(t *testing.T, protocol string) {
		client := r.client(protocol)
		var all sync.WaitGroup
		for i := range 8 {
			all.Go(func() {
				for n := range 40 {
					r.oneOfMany(client, i, n)
				}
			})
		}
		all.Wait()
		client.CloseIdleConnections()
	})
	r.Retire()
	eventually(t, "the connections are closed", func() bool { return server.open.Load() == 0 })
	eventually(t, "the files are closed", func() bool { return openFiles(t) <= files })
	eventually(t, "the goroutines are gone", func() bool { return runtime.NumGoroutine() <= goroutines })
}

// oneOfMany makes a request, which may be cancelled in progress.
func (r *rig) oneOfMany(client *http.Client, i, n int) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	path, size := fmt.Sprintf("/%d/%d", i, n), (n%5)*2000
	q := newRequest(r.t, "GET", path, nil)
	want := "GET" + path + "0"
	if size > 0 {
		q = newRequest(r.t, "PUT", path, strings.NewReader(strings.Repeat("x", size)))
		want = fmt.Sprint("PUT", path, min(size, len(path)*1000))
	}
	if n%7 == 0 {
		time.AfterFunc(time.Duration(i)*time.Millisecond, cancel) // at an arbitrary point
	}
	res, err := client.Do(q.WithContext(ctx))
	if err != nil {
		if ctx.Err() == nil {
			r.t.Errorf("%s: %v", path, err)
		}
		return
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode == 200 && string(b) != want {
		r.t.Errorf("got %q, want %q", b, want)
	}
}

func openFiles(t testing.TB) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}
