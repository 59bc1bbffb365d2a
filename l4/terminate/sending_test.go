package terminate

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"culvert/balancer"
)

// With Expect: 100-continue, the body is sent after the server's 100 Continue or
// after a second, and not at all if the server answers.
func TestExpectedBodyIsHeldBack(t *testing.T) {
	const bodyless = "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"
	for _, tt := range []struct{ name, says, want string }{
		{"asked for", "HTTP/1.1 100 Continue\r\n\r\n", "200"},
		{"asked for after a hint", "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n", "200"},
		{"not asked for", "", "200"},
		{"declined", bodyless, "403"},
		{"declined after a hint", "HTTP/1.1 103 Early Hints\r\n\r\n" + bodyless, "403"},
	} {
		for _, framed := range []string{"Content-Length: 5\r\n\r\nhello", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"} {
			t.Run(tt.name+" "+framed[:8], func(t *testing.T) {
				got := make(chan string, 1)
				server := startScript(t, func(c net.Conn, r *bufio.Reader) {
					if _, err := readHead(r); err != nil {
						return
					}
					_ = c.SetReadDeadline(time.Now().Add(5 * quietTime))
					if _, err := r.ReadByte(); !timedOut(err) {
						t.Errorf("the body was sent too early, or the connection ended: %v", err)
					}
					_ = c.SetReadDeadline(time.Now().Add(testTimeout))
					_, _ = io.WriteString(c, tt.says)
					b := make([]byte, len(framed)-strings.Index(framed, "\r\n\r\n")-4)
					n, _ := io.ReadFull(r, b)
					got <- string(b[:n])
					_, _ = io.WriteString(c, short)
				})
				r := startRig(t, setting{}, server)
				answers := r.raw("POST / HTTP/1.1\r\nHost: "+chat+"\r\nExpect: 100-continue\r\n"+framed, 1)
				if len(answers) != 1 || !strings.HasPrefix(answers[0].Status, tt.want) {
					t.Errorf("got %v, want %s", answers, tt.want)
				}
				_, want, _ := strings.Cut(framed, "\r\n\r\n")
				if tt.want == "403" {
					want = ""
				}
				if b := within(t, "the server has the body", got); b != want {
					t.Errorf("the server got %q, want %q", b, want)
				}
			})
		}
	}
}

// A body that was not read yet is sent completely to the next server if the
// first one fails. Once a part of it was read, it is not sent to another server.
func TestUntouchedBodyGoesToTheNextServer(t *testing.T) {
	text := strings.Repeat("hello", 100_000)
	for says, want := range map[string]int{"": 200, "HTTP/1.1 103 Early Hints\r\n\r\n": 200, "HTTP/1.1 100 Continue\r\n\r\n": 502} {
		for _, n := range []int64{int64(len(text)), -1} {
			dies := startScript(t, func(c net.Conn, r *bufio.Reader) {
				_, _ = readHead(r)
				_, _ = io.WriteString(c, says)
				if strings.Contains(says, "100") {
					_, _ = r.ReadByte()
				}
			})
			other := startRecorder(t, nil)
			r := startRig(t, setting{pool: func(c *balancer.Config) { c.Servers[1].Backup = true }}, dies, other.addr)
			for range 5 {
				q := newRequest(t, "PUT", "/", strings.NewReader(text))
				q.ContentLength = n
				q.Header.Set("Expect", "100-continue")
				if got := r.do(r.client("HTTP/1.1"), q); got.StatusCode != want {
					t.Errorf("%q: got %s, want %d", says, got.Status, want)
				}
				got := other.take()
				if len(got) > 1 || (len(got) == 1) != (want == 200) || len(got) == 1 && (got[0].Body != text || got[0].Cut) {
					t.Errorf("%q: the other server got %d requests, or a different body", says, len(got))
				}
			}
		}
	}
}

// If a server answers while the client is still sending, the response is passed
// on and the connection to the server is closed, even if the server keeps it
// open.
func TestAnsweredWhileSending(t *testing.T) {
	server := startScripted(t, false, func(x *scriptedRequest) bool {
		x.answer("HTTP/1.1 413 Content Too Large", "Content-Length: 5\r\n\r\nlarge")
		return true // keep reading
	})
	r := startRig(t, setting{}, server.addr)
	eachProtocol(t, func(t *testing.T, protocol string) {
		for range 3 {
			b, w := io.Pipe()
			go func() { _, _ = io.WriteString(w, "hello") }() // and no end
			res, err := r.client(protocol).Do(newRequest(t, "POST", "/", b))
			if err != nil {
				t.Fatal(err)
			}
			text, err := io.ReadAll(res.Body)
			if string(text) != "large" || err != nil || res.StatusCode != 413 {
				t.Errorf("got %s, %q, %v", res.Status, text, err)
			}
			eventually(t, "the server has no active request", func() bool { return r.pool.Servers()[0].Active() == 0 })
			eventually(t, "the connection is closed", func() bool { return server.open.Load() == 0 })
			res.Body.Close()
			w.Close()
		}
	})
}

// A body that waits for a 100 Continue is not read after its connection has
// failed or the server has answered.
func TestExpectedBodyIsNotReadAfterTheAnswer(t *testing.T) {
	for _, says := range []string{"", "HTTP/1.1 403 Forbidden\r\nContent-Length: 5\r\n\r\n"} {
		p, b := newPlayed(t), newWaiting(t.Context())
		q := post(t.Context(), b, 5)
		q.Header.Set("Expect", "100-continue")
		go func() {
			p.says(says)
			p.server.Close()
		}()
		_, err := p.roundTrip(q)
		if (err == nil) != (says != "") {
			t.Errorf("%q: got %v", says, err)
		}
		if err == nil {
			eventually(t, "the goroutine of the body has ended", func() bool { return p.halves.Load() == 1 })
			p.settle(true)
		}
		eventually(t, "both halves have ended", func() bool { return p.halves.Load() == 0 })
		if len(b.asked) > 0 || q.Body.(*body).touched.Load() || p.freed.Load() > 0 {
			t.Errorf("%q: the body was read, or the connection was freed", says)
		}
	}
}

// After a 100 Continue the body is sent at once, not after a second.
func TestExpectedBodyIsSentAtOnceAfterContinue(t *testing.T) {
	eventually(t, "the body is sent in time", func() bool { // depends on the scheduler too, hence the repetition
		p := newPlayed(t)
		q := post(t.Context(), strings.NewReader("hello"), 5)
		q.Header.Set("Expect", "100-continue")
		came := make(chan time.Duration, 1)
		go func() {
			start := time.Now()
			p.says("HTTP/1.1 100 Continue\r\n\r\n")
			_, _ = io.ReadFull(p.reader, make([]byte, 5))
			came <- time.Since(start)
			_, _ = io.WriteString(p.server, short)
		}()
		if _, err := p.roundTrip(q); err != nil {
			t.Fatal(err)
		}
		p.settle(true)
		return <-came < continueTimeout/2
	})
}

// An informational response does not collide with the 100 Continue that net/http
// sends when the body is read at last.
func TestHintWhileTheBodyIsAskedFor(t *testing.T) {
	server := startScript(t, func(c net.Conn, r *bufio.Reader) {
		_, _ = readHead(r)
		_, _ = io.WriteString(c, "HTTP/1.1 103 Early Hints\r\n\r\n") // without a 100 Continue
		_, _ = io.ReadFull(r, make([]byte, 5))
		_, _ = io.WriteString(c, short)
	})
	r := startRig(t, setting{}, server)
	got := r.raw("POST / HTTP/1.1\r\nHost: "+chat+"\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello", 1)
	if len(got) != 1 || got[0].StatusCode != 200 {
		t.Errorf("got %v", got)
	}
}

// closedReader is a client's body that net/http closes once it was read: a Read
// behind its end fails.
type closedReader struct{ left io.Reader }

func (r *closedReader) Read(b []byte) (n int, err error) {
	if r.left == nil {
		return 0, http.ErrBodyReadAfterClose
	}
	if n, err = r.left.Read(b); n > 0 {
		err, r.left = io.EOF, nil // as net/http does with a known length
	}
	return n, err
}

// Behind the end of a body there is only the end, also once the client's request
// is over: otherwise the connection to the server would not be reused.
func TestBodyEndsOnce(t *testing.T) {
	q := post(t.Context(), &closedReader{strings.NewReader("hello")}, 5)
	s := newSending(q.Body.(*body), false)
	if got, err := io.ReadAll(s); string(got) != "hello" || err != nil {
		t.Fatalf("got %q, %v", got, err)
	}
	if n, err := s.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Errorf("behind the end: got %d, %v, want 0, %v", n, err, io.EOF)
	}
}
