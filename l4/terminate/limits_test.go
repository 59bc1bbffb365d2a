package terminate

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"culvert/balancer"
)

// shortTimeout is a limit that a test waits for. The other limits are long.
const shortTimeout = 300 * time.Millisecond

// ends waits until the server closes a connection, and returns what it sent.
func ends(t *testing.T, conn io.Reader) string {
	t.Helper()
	b, err := io.ReadAll(conn)
	if e, ok := err.(net.Error); ok && e.Timeout() {
		t.Errorf("still open after %q", b)
	}
	return string(b)
}

// The connection is closed if a client is slow to send the headers of its first
// or next request, or sends nothing at all.
func TestSlowHeadersEndTheConnection(t *testing.T) {
	t.Parallel() // mostly waiting
	server := startRecorder(t, nil)
	whole := "GET /a HTTP/1.1\r\nHost: " + chat + "\r\n\r\n"
	for _, tt := range []struct {
		name, sent string
		limits     Limits
	}{
		{"nothing", "", Limits{HeaderTimeout: shortTimeout}},
		{"half of the first", whole[:20], Limits{HeaderTimeout: shortTimeout}},
		{"half of the second", whole + whole[:20], Limits{HeaderTimeout: shortTimeout}},
		{"no second", whole, Limits{IdleTimeout: shortTimeout}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := startRig(t, setting{Config: Config{Limits: tt.limits}}, server.addr)
			conn := r.dial(r.tls("http/1.1"))
			_, _ = io.WriteString(conn, tt.sent)
			got := ends(t, conn)
			if n := len(server.take()); n != strings.Count(tt.sent, whole) || strings.Count(got, " 200 OK") != n {
				t.Errorf("%d requests reached the server, the client got %q", n, got)
			}
		})
	}
	t.Run("HTTP/2", func(t *testing.T) {
		r := startRig(t, setting{Config: Config{Limits: Limits{IdleTimeout: shortTimeout}}}, server.addr)
		h := r.http2()
		_ = h.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block(":method", "GET")}) // without the CONTINUATION that should follow
		ends(t, h.conn)
	})
}

// A client that stops in the middle of a body gets status 408 and is closed,
// whether a server waits for the body or not.
func TestStalledBodiesGetStatus408(t *testing.T) {
	server := startRecorder(t, nil)
	r := startRig(t, setting{Config: Config{Limits: Limits{BodyTimeout: shortTimeout}}}, server.addr)
	for _, tt := range []struct{ name, host, body, want, refused string }{
		{"length", chat, "Content-Length: 10\r\n\r\nhello", "408", "slow_body"},
		{"chunked", chat, "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", "408", "slow_body"},
		{"no byte of the body", chat, "Content-Length: 10\r\n\r\n", "408", "slow_body"},
		{"Expect", chat, "Expect: 100-continue\r\nContent-Length: 10\r\n\r\n", "408", "slow_body"},
		{"refused", elsewhere, "Content-Length: 10\r\n\r\nhello", "421", "misdirected"},
		{"refused, chunked", elsewhere, "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", "421", "misdirected"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			conn := r.dial(r.tls("http/1.1"))
			_, _ = io.WriteString(conn, "POST / HTTP/1.1\r\nHost: "+tt.host+"\r\n"+tt.body)
			if got := ends(t, conn); !strings.Contains(got, "HTTP/1.1 "+tt.want) {
				t.Errorf("got %q, want %s", got, tt.want)
			}
			if q := r.report(); q.Refused != tt.refused {
				t.Errorf("got the report %+v", q)
			}
		})
	}
	t.Run("HTTP/2", func(t *testing.T) {
		h := r.http2()
		h.request(1, false, ":method", "POST", ":scheme", "https", ":path", "/", ":authority", chat)
		_ = h.WriteData(1, false, []byte("hello"))
		if got := h.status(1); got != "408" {
			t.Errorf("got status %q, want 408", got)
		}
	})
	for _, q := range server.take() {
		if !q.Cut {
			t.Errorf("the server got %+v", q)
		}
	}
}

// A client that sends single bytes of its body, each in time, is closed when the
// total waiting time exceeds what the minimum rate allows. One above the minimum
// rate is not.
func TestBodiesBelowTheMinimumRate(t *testing.T) {
	t.Parallel() // mostly waiting
	server := startRecorder(t, nil)
	for name, tt := range map[string]struct {
		rate int64
		want string
	}{"too slow": {1000, "408"}, "quick enough": {1, "200"}} {
		r := startRig(t, setting{Config: Config{Limits: Limits{BodyTimeout: shortTimeout, MinBodyRate: tt.rate}}}, server.addr)
		conn := r.dial(r.tls("http/1.1"))
		_, _ = io.WriteString(conn, "POST / HTTP/1.1\r\nHost: "+chat+"\r\nConnection: close\r\nContent-Length: 20\r\n\r\n")
		for range 20 {
			if _, err := io.WriteString(conn, "x"); err != nil {
				break
			}
			time.Sleep(shortTimeout / 10) // the pace of the client
		}
		if got := ends(t, conn); !strings.Contains(got, "HTTP/1.1 "+tt.want) {
			t.Errorf("%s: got %q, want %s", name, got, tt.want)
		}
	}
}

// The client's limits do not apply while a server is slow.
func TestServersMayBeSlow(t *testing.T) {
	t.Parallel() // mostly waiting
	const limit, pause = time.Second, 1500 * time.Millisecond
	body := make([]byte, 8<<20) // more than all buffers hold
	server := startScript(t, func(c net.Conn, b *bufio.Reader) {
		q, err := http.ReadRequest(b)
		if err != nil {
			return
		}
		time.Sleep(pause) // longer than the limit, before the body is read
		n, err := io.Copy(io.Discard, q.Body)
		if err != nil {
			return
		}
		time.Sleep(pause) // before the response starts
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n")
		for range 2 {
			text := fmt.Sprint(n)
			_, _ = fmt.Fprintf(c, "%x\r\n%s\r\n", len(text), text)
			time.Sleep(pause) // in the middle of the response
		}
		_, _ = io.WriteString(c, "0\r\n\r\n")
	})
	r := startRig(t, setting{Config: Config{Limits: Limits{BodyTimeout: limit}}}, server)
	var requests sync.WaitGroup
	for _, protocol := range protocols {
		for _, n := range []int{1, len(body)} {
			for _, known := range []bool{true, false} {
				var b io.Reader = bytes.NewReader(body[:n])
				if !known {
					b = io.MultiReader(b)
				}
				q, client := newRequest(t, "POST", "/", b), r.client(protocol)
				requests.Go(func() {
					res, err := client.Do(q)
					if err != nil {
						t.Errorf("%s, %d bytes, known %v: %v", protocol, n, known, err)
						return
					}
					defer res.Body.Close()
					got, err := io.ReadAll(res.Body)
					if want := strings.Repeat(fmt.Sprint(n), 2); res.StatusCode != 200 || string(got) != want || err != nil {
						t.Errorf("%s, %d bytes, known %v: got %s, %q, %v", protocol, n, known, res.Status, got, err)
					}
				})
			}
		}
	}
	requests.Wait()
}

// A persistent connection can be used after the limits of an earlier request
// have passed.
func TestLimitsRestartForEachRequest(t *testing.T) {
	t.Parallel() // mostly waiting
	server := startRecorder(t, nil)
	r := startRig(t, setting{Config: Config{Limits: Limits{BodyTimeout: shortTimeout}}}, server.addr)
	eachProtocol(t, func(t *testing.T, protocol string) {
		client := r.client(protocol)
		for _, method := range []string{"POST", "GET", "HEAD", "POST"} {
			q := newRequest(t, method, "/", strings.NewReader("hello"))
			if method == "GET" || method == "HEAD" {
				q = newRequest(t, method, "/", nil)
			}
			if got := r.do(client, q); got.StatusCode != 200 {
				t.Errorf("%s: got %s", method, got.Status)
			}
			time.Sleep(2 * shortTimeout) // longer than the limits
		}
	})
}

// endless starts a server whose response never ends. ended receives a value when
// the server cannot send any more.
func endless(t *testing.T) (addr string, ended <-chan bool) {
	over := make(chan bool, 8)
	return startScript(t, func(c net.Conn, r *bufio.Reader) {
		_, _ = readHead(r)
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\n")
		b := make([]byte, 64<<10)
		for {
			if _, err := c.Write(b); err != nil {
				over <- true
				return
			}
		}
	}), over
}

// The response to a client that stops reading is aborted, and the server is
// released.
func TestClientThatDoesNotRead(t *testing.T) {
	server, ended := endless(t)
	r := startRig(t, setting{Config: Config{Limits: Limits{BodyTimeout: shortTimeout}}}, server)
	t.Run("HTTP/1.1", func(t *testing.T) {
		conn := r.dial(r.tls("http/1.1"))
		_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: "+chat+"\r\n\r\n")
		within(t, "the response ends", ended)
	})
	t.Run("HTTP/2, no window", func(t *testing.T) {
		h := r.http2()
		h.request(1, true, ":method", "GET", ":scheme", "https", ":path", "/", ":authority", chat)
		if got := h.status(1); got != "200" {
			t.Errorf("got status %q", got)
		}
		for { // until the stream is reset; WINDOW_UPDATE is not sent
			f, err := h.ReadFrame()
			if err != nil {
				t.Fatal(err)
			}
			if _, ok := f.(*http2.RSTStreamFrame); ok {
				break
			}
		}
		within(t, "the response ends", ended)
	})
	t.Run("HTTP/2, nothing read", func(t *testing.T) {
		h := r.http2()
		_ = h.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 30})
		_ = h.WriteWindowUpdate(0, 1<<30)
		h.request(1, true, ":method", "GET", ":scheme", "https", ":path", "/", ":authority", chat)
		within(t, "the response ends", ended)
	})
	eventually(t, "the server has no active request", func() bool { return r.pool.Servers()[0].Active() == 0 })
}

// A client that sends request after request and reads nothing is closed.
func TestClientThatOnlySends(t *testing.T) {
	t.Parallel() // mostly waiting
	server := startRecorder(t, nil)
	r := startRig(t, setting{Config: Config{Limits: Limits{BodyTimeout: shortTimeout}}}, server.addr)
	for _, host := range []string{chat, elsewhere} {
		conn := r.dial(r.tls("http/1.1"))
		_ = netConn(conn).SetReadBuffer(1) // the smallest possible
		requests := strings.Repeat("GET /"+strings.Repeat("a", 1000)+" HTTP/1.1\r\nHost: "+host+"\r\n\r\n", 100)
		go func() { // may end with the test: not all resets reach a client with a closed window
			for err := error(nil); err == nil; {
				_, err = io.WriteString(conn, requests)
			}
		}()
	}
	eventually(t, "the connection is closed", func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return len(r.conns) == 0 && len(r.reports) > 0
	})
}

// A server at its limit gets no more requests.
func TestServersAtTheirLimit(t *testing.T) {
	arrived, finish := make(chan bool, 1), make(chan bool)
	server := startRecorder(t, func(http.ResponseWriter, *http.Request) {
		arrived <- true
		<-finish
	})
	r := startRig(t, setting{pool: func(c *balancer.Config) { c.Servers[0].MaxConns = 1 }}, server.addr)
	done := make(chan int, 1)
	client := r.client("HTTP/1.1")
	go func() {
		res, err := client.Get("https://" + chat + "/")
		if err != nil {
			done <- 0
			return
		}
		res.Body.Close()
		done <- res.StatusCode
	}()
	within(t, "the first request has reached the server", arrived)
	if got := r.get("HTTP/1.1", "/"); got.StatusCode != 503 {
		t.Errorf("got %s, want 503", got.Status)
	}
	close(finish)
	if got := within(t, "the first request is answered", done); got != 200 {
		t.Errorf("the first request got status %d", got)
	}
}
