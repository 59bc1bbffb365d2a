package terminate

import (
	"bufio"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"culvert/balancer"
)

// A body that waits to be asked for is not sent before it is, or before the
// server has had a second, and not at all when the server answers.
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
					_ = c.SetReadDeadline(time.Now().Add(5 * moment))
					if _, err := r.ReadByte(); !timedOut(err) {
						t.Errorf("the body is sent, or nothing more: %v", err)
					}
					_ = c.SetReadDeadline(time.Now().Add(patience))
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

// A body of which nothing was asked for goes to the next server whole, when
// the first one dies; one that was asked for does not go anywhere else.
func TestExpectedBodyGoesElsewhere(t *testing.T) {
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
					t.Errorf("%q: the other server got %d requests, or another body", says, len(got))
				}
			}
		}
	}
}

// A server that answers while the client still sends is heard, and loses the
// connection, whether it would keep it or not.
func TestAnsweredWhileSending(t *testing.T) {
	server := startTurns(t, false, func(x *turn) bool {
		x.answer("HTTP/1.1 413 Content Too Large", "Content-Length: 5\r\n\r\nlarge")
		return true // and goes on to read
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
			eventually(t, "the server has its place back", func() bool { return r.pool.Servers()[0].Active() == 0 })
			eventually(t, "the connection is closed", func() bool { return server.open.Load() == 0 })
			res.Body.Close()
			w.Close()
		}
	})
}

// A body that waits to be asked for is left alone when its connection has
// failed, and when the server has answered.
func TestExpectedBodyIsLeftAlone(t *testing.T) {
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
			eventually(t, "nobody waits any more", func() bool { return p.halves.Load() == 1 })
			p.settle(true)
		}
		eventually(t, "both halves are over", func() bool { return p.halves.Load() == 0 })
		if len(b.asked) > 0 || q.Body.(*body).touched.Load() || p.freed.Load() > 0 {
			t.Errorf("%q: the body was asked for, or the connection is free", says)
		}
	}
}

// A body that is asked for comes before the server has had its second.
func TestExpectedBodyComesWhenAskedFor(t *testing.T) {
	eventually(t, "it comes in time", func() bool { // which the scheduler decides too
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

// A hint that comes while a body is asked for at last does not get in its way.
func TestHintWhileTheBodyIsAskedFor(t *testing.T) {
	server := startScript(t, func(c net.Conn, r *bufio.Reader) {
		_, _ = readHead(r)
		_, _ = io.WriteString(c, "HTTP/1.1 103 Early Hints\r\n\r\n") // and no 100
		_, _ = io.ReadFull(r, make([]byte, 5))
		_, _ = io.WriteString(c, short)
	})
	r := startRig(t, setting{}, server)
	got := r.raw("POST / HTTP/1.1\r\nHost: "+chat+"\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello", 1)
	if len(got) != 1 || got[0].StatusCode != 200 {
		t.Errorf("got %v", got)
	}
}
