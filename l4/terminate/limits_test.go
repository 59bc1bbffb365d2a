package terminate

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"fmt"
	"hash"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"culvert/balancer"
	"culvert/l4/terminate/standin"
)

// brief is a limit that a test waits for. The other limits are long.
const brief = 300 * time.Millisecond

// ends waits until the server closes a connection, and returns what came.
func ends(t *testing.T, conn io.Reader) string {
	t.Helper()
	b, err := io.ReadAll(conn)
	if e, ok := err.(net.Error); ok && e.Timeout() {
		t.Errorf("still open after %q", b)
	}
	return string(b)
}

// Clients that take their time with headers are closed, in the first request
// and in the next, and so are those that ask for nothing.
func TestSlowHeaders(t *testing.T) {
	t.Parallel() // it mostly waits
	server := startRecorder(t, nil)
	whole := "GET /a HTTP/1.1\r\nHost: " + chat + "\r\n\r\n"
	for _, tt := range []struct {
		name, sent string
		limits     Limits
	}{
		{"nothing", "", Limits{HeaderTimeout: brief}},
		{"half of the first", whole[:20], Limits{HeaderTimeout: brief}},
		{"half of the second", whole + whole[:20], Limits{HeaderTimeout: brief}},
		{"no second", whole, Limits{IdleTimeout: brief}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := startRig(t, setting{Config: Config{Limits: tt.limits}}, server.addr)
			conn := r.dial(r.tls("http/1.1"))
			_, _ = io.WriteString(conn, tt.sent)
			got := ends(t, conn)
			if n := len(server.take()); n != strings.Count(tt.sent, whole) || strings.Count(got, " 200 OK") != n {
				t.Errorf("%d requests reached the server, got %q", n, got)
			}
		})
	}
	t.Run("HTTP/2", func(t *testing.T) {
		r := startRig(t, setting{Config: Config{Limits: Limits{IdleTimeout: brief}}}, server.addr)
		h := r.http2()
		_ = h.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block(":method", "GET")}) // and no CONTINUATION
		ends(t, h.conn)
	})
}

// A client that stops in the middle of a body is told so and closed, whether
// the server or nobody waits for it.
func TestSlowBodies(t *testing.T) {
	server := startRecorder(t, nil)
	r := startRig(t, setting{Config: Config{Limits: Limits{BodyTimeout: brief}}}, server.addr)
	for _, tt := range []struct{ name, host, body, want, refused string }{
		{"length", chat, "Content-Length: 10\r\n\r\nhello", "408", "slow_body"},
		{"chunked", chat, "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", "408", "slow_body"},
		{"nothing of it", chat, "Content-Length: 10\r\n\r\n", "408", "slow_body"},
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

// What the server takes its time with is not the client's fault: limits of the
// client's do not hold while nobody waits for it.
func TestServersMayBeSlow(t *testing.T) {
	t.Parallel() // it mostly waits
	const limit, pause = time.Second, 1500 * time.Millisecond
	body := make([]byte, 8<<20) // more than buffers take
	server := startScript(t, func(c net.Conn, b *bufio.Reader) {
		q, err := http.ReadRequest(b)
		if err != nil {
			return
		}
		time.Sleep(pause) // for the limit to pass before the body is read
		n, err := io.Copy(io.Discard, q.Body)
		if err != nil {
			return
		}
		time.Sleep(pause) // before the response begins
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n")
		for range 2 {
			text := fmt.Sprint(n)
			_, _ = fmt.Fprintf(c, "%x\r\n%s\r\n", len(text), text)
			time.Sleep(pause) // in the middle of it
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

// A kept-alive connection is of use after the limits have passed.
func TestLimitsStartAnew(t *testing.T) {
	t.Parallel() // it mostly waits
	server := startRecorder(t, nil)
	r := startRig(t, setting{Config: Config{Limits: Limits{BodyTimeout: brief}}}, server.addr)
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
			time.Sleep(2 * brief) // for the limits to pass
		}
	})
}

// endless is a server whose response never ends. ended is told when it cannot
// send any more.
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

// A client that takes no more of a response loses it, and the server has its
// place back.
func TestClientThatDoesNotRead(t *testing.T) {
	server, ended := endless(t)
	r := startRig(t, setting{Config: Config{Limits: Limits{BodyTimeout: brief}}}, server)
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
		for { // until the stream is reset; the window is not opened
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
	eventually(t, "the places are free", func() bool { return r.pool.Servers()[0].Active() == 0 })
}

// A client that asks and asks, and reads nothing, is not waited for for ever.
func TestClientThatOnlyAsks(t *testing.T) {
	t.Parallel() // it mostly waits
	server := startRecorder(t, nil)
	r := startRig(t, setting{Config: Config{Limits: Limits{BodyTimeout: brief}}}, server.addr)
	for _, host := range []string{chat, elsewhere} {
		conn := r.dial(r.tls("http/1.1"))
		_ = netConn(conn).SetReadBuffer(1) // as little as there can be
		requests := strings.Repeat("GET /"+strings.Repeat("a", 1000)+" HTTP/1.1\r\nHost: "+host+"\r\n\r\n", 100)
		go func() { // which may end when the test does: not all resets reach a client without a window
			for err := error(nil); err == nil; {
				_, err = io.WriteString(conn, requests)
			}
		}()
	}
	eventually(t, "it is closed", func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return len(r.conns) == 0 && len(r.reports) > 0
	})
}

// A request head of more than the limit is refused.
func TestHugeHeads(t *testing.T) {
	server := startRecorder(t, nil)
	r := startRig(t, setting{}, server.addr)
	host := "Host: " + chat + "\r\n"
	for name, head := range map[string]string{
		"one header":     "GET / HTTP/1.1\r\n" + host + "X: " + strings.Repeat("a", 1<<20) + "\r\n",
		"a name":         "GET / HTTP/1.1\r\n" + host + strings.Repeat("a", 1<<20) + ": a\r\n",
		"10000 headers":  "GET / HTTP/1.1\r\n" + host + strings.Repeat("X-Aaaaaaa: b\r\n", 10_000),
		"100000 cookies": "GET / HTTP/1.1\r\n" + host + strings.Repeat("Cookie: a=b\r\n", 100_000),
		"a target":       "GET /" + strings.Repeat("a", 1<<20) + " HTTP/1.1\r\n" + host,
		"a query":        "GET /?" + strings.Repeat("a", 1<<20) + " HTTP/1.1\r\n" + host,
		"a method":       strings.Repeat("A", 1<<20) + " / HTTP/1.1\r\n" + host,
	} {
		t.Run(name, func(t *testing.T) {
			got := r.raw(head+"\r\n", 1)
			if len(got) != 1 || got[0].StatusCode != 431 || len(server.take()) > 0 {
				t.Errorf("got %v, want 431", got)
			}
		})
	}
	t.Run("a trailer", func(t *testing.T) {
		got := r.raw("POST / HTTP/1.1\r\n"+host+"Transfer-Encoding: chunked\r\n\r\n0\r\nX: "+strings.Repeat("a", 1<<20)+"\r\n\r\n", 1)
		if len(got) > 0 && got[0].StatusCode < 400 {
			t.Errorf("got %v", got)
		}
	})
	t.Run("just below", func(t *testing.T) {
		got := r.raw("GET / HTTP/1.1\r\n"+host+"X: "+strings.Repeat("a", DefaultMaxHeader-1000)+"\r\n\r\n", 1)
		if len(got) != 1 || got[0].StatusCode != 200 {
			t.Errorf("got %v, want 200", got)
		}
	})
	t.Run("HTTP/2", func(t *testing.T) {
		q := newRequest(t, "GET", "/", nil)
		q.Header.Set("X", strings.Repeat("a", 4<<20))
		server.take()
		res, err := r.client("HTTP/2.0").Do(q)
		if err == nil {
			res.Body.Close()
		}
		if err == nil && res.StatusCode != 431 || len(server.take()) > 0 {
			t.Errorf("got %v, %v", res, err)
		}
	})
}

// peak watches memory until it is asked.
func peak() (most func() uint64) {
	var top atomic.Uint64
	stop := make(chan bool)
	var watching sync.WaitGroup
	watching.Go(func() {
		tick := time.NewTicker(10 * time.Millisecond) // how often it is measured
		defer tick.Stop()
		for {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			top.Store(max(top.Load(), m.HeapAlloc+m.StackInuse))
			select {
			case <-stop:
				return
			case <-tick.C:
			}
		}
	})
	return func() uint64 {
		close(stop)
		watching.Wait()
		return top.Load()
	}
}

// hashed hashes what is read.
type hashed struct {
	io.Reader
	sum hash.Hash
}

func (h hashed) Read(b []byte) (int, error) {
	n, err := h.Reader.Read(b)
	h.sum.Write(b[:n])
	return n, err
}

// Large bodies are streamed: neither memory nor files keep them.
func TestLargeBodiesAreStreamed(t *testing.T) {
	const size = 104 << 20
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	up := make(chan [sha256.Size]byte, 1)
	server := startScript(t, func(c net.Conn, b *bufio.Reader) {
		for {
			q, err := http.ReadRequest(b)
			if err != nil {
				return
			}
			h := sha256.New()
			_, _ = io.Copy(h, q.Body)
			if q.Method == "POST" {
				up <- [sha256.Size]byte(h.Sum(nil))
				_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
				continue
			}
			_, _ = fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", size)
			_, _ = io.Copy(c, standin.FileBody("a", size))
		}
	})
	r := startRig(t, setting{}, server)
	eachProtocol(t, func(t *testing.T, protocol string) {
		before := inUse()
		most := peak()
		sent := hashed{standin.FileBody("a", size), sha256.New()}
		q := newRequest(t, "POST", "/", sent)
		q.ContentLength = size
		client := r.client(protocol)
		client.Timeout = 4 * patience
		if got := r.do(client, q); got.StatusCode != 200 {
			t.Fatalf("got %s", got.Status)
		}
		want := [sha256.Size]byte(sent.sum.Sum(nil))
		if got := <-up; got != want {
			t.Error("other bytes went up")
		}
		res, err := client.Do(newRequest(t, "GET", "/", nil))
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		h := sha256.New()
		if n, err := io.Copy(h, res.Body); n != size || err != nil || [sha256.Size]byte(h.Sum(nil)) != want {
			t.Errorf("%d bytes came down, %v; or other ones", n, err)
		}
		// Both ends of everything are in this process, and so is garbage.
		if got := most(); got > before+32<<20 {
			t.Errorf("memory went from %d to %d bytes", before, got)
		}
		if files, err := os.ReadDir(temp); err != nil || len(files) > 0 {
			t.Errorf("got files %v, %v", files, err)
		}
		if q := r.report(); q.BytesIn != size {
			t.Errorf("got the report %+v", q)
		}
		if q := r.report(); q.BytesOut != size {
			t.Errorf("got the report %+v", q)
		}
	})
}

// Floods of frames end with the connection, or are survived; others are
// served, and memory is as it was.
func TestHTTP2Floods(t *testing.T) {
	frames := uint32(10_000)
	if raced() {
		frames = 2000
	}
	server := startRecorder(t, nil)
	r := startRig(t, setting{}, server.addr)
	if got := r.get("HTTP/2.0", "/"); got.StatusCode != 200 {
		t.Fatalf("got %s", got.Status)
	}
	request := []string{":method", "GET", ":scheme", "https", ":path", "/", ":authority", chat}
	for name, frame := range map[string]func(h *http2Client, i uint32) error{
		"rapid reset": func(h *http2Client, i uint32) error {
			err := h.WriteHeaders(http2.HeadersFrameParam{StreamID: 2*i + 1, BlockFragment: block(request...), EndHeaders: true, EndStream: true})
			if err != nil {
				return err
			}
			return h.WriteRSTStream(2*i+1, http2.ErrCodeCancel)
		},
		"CONTINUATION": func(h *http2Client, i uint32) error {
			if i == 0 {
				return h.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block(request...)})
			}
			return h.WriteContinuation(1, false, block("x-a", strings.Repeat("b", 1000)))
		},
		"empty CONTINUATION": func(h *http2Client, i uint32) error {
			if i == 0 {
				return h.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block(request...)})
			}
			return h.WriteContinuation(1, false, nil)
		},
		"SETTINGS":     func(h *http2Client, _ uint32) error { return h.WriteSettings() },
		"PING":         func(h *http2Client, _ uint32) error { return h.WritePing(false, [8]byte{}) },
		"empty DATA":   func(h *http2Client, i uint32) error { return upload(h, i, nil) },
		"PRIORITY":     func(h *http2Client, i uint32) error { return h.WritePriority(2*i+1, http2.PriorityParam{Weight: 1}) },
		"window by 1":  func(h *http2Client, _ uint32) error { return h.WriteWindowUpdate(0, 1) },
		"HPACK bombs":  bomb,
		"many streams": func(h *http2Client, i uint32) error { return upload(h, 0, &i) },
	} {
		t.Run(name, func(t *testing.T) {
			before := inUse()
			h := r.http2()
			go func() { _, _ = io.Copy(io.Discard, h.conn) }() // ends with the connection
			sent := 0
			for i := range frames {
				if frame(h, i) != nil {
					break
				}
				sent++
			}
			if got := r.get("HTTP/2.0", "/"); got.StatusCode != 200 {
				t.Errorf("another client got %s", got.Status)
			}
			if got := inUse(); got > before+24<<20 {
				t.Errorf("after %d frames memory went from %d to %d bytes", sent, before, got)
			}
			h.conn.Close()
			eventually(t, "the places are free", func() bool { return r.pool.Servers()[0].Active() == 0 })
		})
	}
}

// upload begins a POST on a stream of its own, or goes on with the first.
func upload(h *http2Client, i uint32, stream *uint32) error {
	id := uint32(1)
	if stream != nil {
		id = 2**stream + 1
	}
	if i == 0 {
		return h.WriteHeaders(http2.HeadersFrameParam{StreamID: id, EndHeaders: true,
			BlockFragment: block(":method", "POST", ":scheme", "https", ":path", "/", ":authority", chat)})
	}
	return h.WriteData(id, false, nil)
}

// bomb sends a header of 4000 bytes, and in the next request a thousand times
// the one byte that stands for it.
func bomb(h *http2Client, i uint32) error {
	fields := block(":method", "GET", ":scheme", "https", ":path", "/", ":authority", chat)
	entry := append([]byte{0x40, 3, 'x', '-', 'a', 0x7f, 0xa1, 0x1e}, bytes.Repeat([]byte("b"), 4000)...) // RFC 7541 section 6.2.1
	if i > 0 {
		entry = bytes.Repeat([]byte{0x80 | 62}, 1000) // the first of the dynamic table
	}
	return h.WriteHeaders(http2.HeadersFrameParam{StreamID: 2*i + 1, BlockFragment: append(fields, entry...), EndHeaders: true, EndStream: true})
}

// A server that is full is not asked.
func TestServersFull(t *testing.T) {
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
	within(t, "the first is there", arrived)
	if got := r.get("HTTP/1.1", "/"); got.StatusCode != 503 {
		t.Errorf("got %s, want 503", got.Status)
	}
	close(finish)
	if got := within(t, "the first is answered", done); got != 200 {
		t.Errorf("the first got %d", got)
	}
}
