package terminate

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
)

// played is a connection whose server is played by a test.
type played struct {
	*serverConn
	t      testing.TB
	server *net.TCPConn
	reader *bufio.Reader
	freed  atomic.Int64
}

func newPlayed(t testing.TB) *played {
	c, server := pair(t)
	p := &played{serverConn: c, t: t, server: server, reader: bufio.NewReader(server)}
	c.free = func() { p.freed.Add(1) }
	t.Cleanup(c.abort)
	return p
}

// says makes the server read the headers of a request and answer.
func (p *played) says(response string) {
	if _, err := readHead(p.reader); err == nil {
		_, _ = io.WriteString(p.server, response)
	}
}

// post returns a request with a body of n bytes; -1 means chunked.
func post(ctx context.Context, b io.Reader, n int64) *http.Request {
	q := httptest.NewRequestWithContext(ctx, "POST", "http://"+chat+"/", nil)
	limits := Limits{}.withDefaults()
	x := &exchange{server: &Server{limits: limits}, control: http.NewResponseController(httptest.NewRecorder())}
	q.Body, q.ContentLength = &body{Reader: b, x: x}, n
	return q
}

// waiting is a body whose bytes are sent by the test. It ends when next is
// closed, and fails when its request is cancelled. asked gets a value when Read
// is called.
type waiting struct {
	ctx   context.Context
	asked chan bool
	next  chan string
}

func newWaiting(ctx context.Context) *waiting {
	return &waiting{ctx, make(chan bool, 64), make(chan string)}
}

func (w *waiting) Read(b []byte) (int, error) {
	w.asked <- true
	select {
	case s, ok := <-w.next:
		if !ok {
			return 0, io.EOF
		}
		return copy(b, s), nil
	case <-w.ctx.Done():
		return 0, w.ctx.Err()
	}
}

const short = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"

// A connection is not free while the body of a request is still being sent, even
// if the response is complete. If that takes too long, it is closed.
func TestConnectionIsNotFreeWhileTheBodyIsSent(t *testing.T) {
	p, b := newPlayed(t), newWaiting(t.Context())
	go p.says(short)
	if _, err := p.roundTrip(post(t.Context(), b, -1)); err != nil {
		t.Fatal(err)
	}
	within(t, "the body is read", b.asked)
	p.settle(true)
	if _, err := io.ReadAll(p.reader); timedOut(err) {
		t.Error("the connection is still open")
	}
	close(b.next) // the rest of it, too late
	eventually(t, "both halves have ended", func() bool { return p.halves.Load() == 0 })
	if n := p.freed.Load(); n != 0 {
		t.Errorf("the connection was freed %d times", n)
	}
}

// A connection is freed exactly once, when both halves of an exchange have ended,
// in either order.
func TestConnectionIsFreedOnce(t *testing.T) {
	t.Run("the response is last", func(t *testing.T) {
		p := newPlayed(t)
		go func() {
			for range 5 {
				p.says(short)
				_, _ = readHead(p.reader) // the last chunk
			}
		}()
		for i := range int64(5) {
			if _, err := p.roundTrip(post(t.Context(), strings.NewReader(""), -1)); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the body is sent", func() bool { return p.halves.Load() == 1 })
			if n := p.freed.Load(); n != i {
				t.Errorf("the connection was freed %d times after %d exchanges", n, i)
			}
			if p.settle(true); p.freed.Load() != i+1 {
				t.Errorf("the connection was freed %d times after %d exchanges", p.freed.Load(), i+1)
			}
		}
	})
	t.Run("the client's request ends in between", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		p, b := newPlayed(t), newWaiting(t.Context())
		go p.says(short)
		if _, err := p.roundTrip(post(ctx, b, -1)); err != nil {
			t.Fatal(err)
		}
		within(t, "the body is read", b.asked)
		p.settle(true)
		cancel() // as net/http does once the client has the response
		if isClosed(p.server, quietTime) {
			t.Error("the connection was closed while the body was still being sent")
		}
		close(b.next)
		eventually(t, "both halves have ended", func() bool { return p.halves.Load() == 0 })
	})
	t.Run("the body is last", func(t *testing.T) {
		inTime := func() bool { // depends on the scheduler too, hence the repetition
			p, b := newPlayed(t), newWaiting(t.Context())
			go p.says(short)
			if _, err := p.roundTrip(post(t.Context(), b, -1)); err != nil {
				t.Fatal(err)
			}
			within(t, "the body is read", b.asked)
			p.settle(true)
			close(b.next)
			eventually(t, "both halves have ended", func() bool { return p.halves.Load() == 0 })
			return p.freed.Load() == 1 && !isClosed(p.server, 2*bodyGrace) // longer than the timer
		}
		eventually(t, "the connection is freed", inTime)
	})
}

// Cancelling a request after it has ended does not affect the connection, which
// may already be used for another one.
func TestCancelAfterTheEndDoesNotAffectTheConnection(t *testing.T) {
	p := newPlayed(t)
	for i := range int64(50) {
		ctx, cancel := context.WithCancel(t.Context())
		go p.says(short)
		q := httptest.NewRequestWithContext(ctx, "GET", "http://"+chat+"/", nil)
		if _, err := p.roundTrip(q); err != nil {
			t.Fatalf("request %d: %v", i, err)
		}
		p.settle(true)
		cancel()
	}
	if isClosed(p.server, quietTime) || p.freed.Load() != 50 {
		t.Errorf("the connection is closed, or was freed %d times", p.freed.Load())
	}
}

// Cancelling a request before it has ended closes the connection.
func TestCancelBeforeTheEndClosesTheConnection(t *testing.T) {
	for name, says := range map[string]string{
		"no response": "", "half of the headers": "HTTP/1.1 200 OK\r\nConte", "a hint": "HTTP/1.1 103 Early Hints\r\n\r\n",
		"no body": "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "half of it": "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe",
		"all of it": short,
	} {
		for _, method := range []string{"GET", "POST"} {
			p := newPlayed(t)
			ctx, cancel := context.WithCancel(t.Context())
			q := httptest.NewRequestWithContext(ctx, method, "http://"+chat+"/", nil)
			if method == "POST" {
				q = post(ctx, newWaiting(ctx), -1)
			}
			go func() {
				p.says(says)
				if !strings.Contains(says, "Length") {
					cancel()
				}
			}()
			res, err := p.roundTrip(q)
			if err == nil {
				cancel()
				_, err = io.ReadAll(res.Body)
				p.settle(err == nil)
			} else if !errors.Is(err, context.Canceled) {
				t.Errorf("%s, %s: got %v", method, name, err)
			}
			if !isClosed(p.server, testTimeout) || p.freed.Load() != 0 {
				t.Errorf("%s, %s: the connection is usable after the request was cancelled", method, name)
			}
			cancel()
		}
	}
}
