package terminate

import (
	"bufio"
	"errors"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"
)

// When one side ends the WebSocket, the other side ends and the server is
// released.
func TestWebSocketEnds(t *testing.T) {
	for _, tt := range []struct {
		name string
		end  func(client, server net.Conn)
	}{
		{"client closes", func(c, _ net.Conn) { c.Close() }},
		{"client resets", func(c, _ net.Conn) { _ = netConn(c).SetLinger(0); _ = netConn(c).Close() }},
		{"client ends without close_notify", func(c, _ net.Conn) { _ = netConn(c).Close() }},
		{"server closes", func(_, s net.Conn) { s.Close() }},
		{"server resets", func(_, s net.Conn) { _ = s.(*net.TCPConn).SetLinger(0); s.Close() }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			servers, ended := make(chan net.Conn, 1), make(chan bool, 1)
			server := speaking(t, func(c net.Conn, r *bufio.Reader) {
				servers <- c
				_, _ = io.Copy(io.Discard, r)
				ended <- true
			})
			r := startRig(t, setting{}, server)
			conn, b, _ := r.open(handshake(socketPath))
			tt.end(conn, within(t, "the server has the WebSocket", servers))
			if strings.HasPrefix(tt.name, "server") {
				if _, err := b.ReadByte(); err == nil || errors.Is(err, net.ErrClosed) {
					t.Errorf("the client got %v", err)
				}
				conn.Close()
			}
			within(t, "the server's side of the WebSocket ends", ended)
			eventually(t, "the server has no active request", func() bool { return r.pool.Servers()[0].Active() == 0 })
			eventually(t, "the connection is closed", func() bool {
				r.mu.Lock()
				defer r.mu.Unlock()
				return len(r.conns) == 0
			})
		})
	}
}

func netConn(c net.Conn) *net.TCPConn {
	return c.(interface{ NetConn() net.Conn }).NetConn().(*net.TCPConn)
}

// The server is released if the client leaves before the server has answered.
func TestWebSocketAborted(t *testing.T) {
	arrived, ended := make(chan bool, 1), make(chan bool, 1)
	server := startScript(t, func(c net.Conn, r *bufio.Reader) {
		_, _ = readHead(r)
		arrived <- true
		_, _ = io.Copy(io.Discard, r)
		ended <- true
	})
	r := startRig(t, setting{}, server)
	conn := r.dial(r.tls("http/1.1"))
	_, _ = io.WriteString(conn, handshake(socketPath))
	within(t, "the server has the handshake", arrived)
	conn.Close()
	within(t, "the server's side of the connection ends", ended)
	if q := r.report(); q.Refused != "client_gone" || q.Status != 0 || q.Upgraded {
		t.Errorf("got the report %+v", q)
	}
	eventually(t, "the server has no active request", func() bool { return r.pool.Servers()[0].Active() == 0 })
}

// Waiting for the response to a handshake is bounded by ResponseTimeout.
func TestWebSocketUnanswered(t *testing.T) {
	server := startScript(t, func(_ net.Conn, r *bufio.Reader) { _, _ = io.Copy(io.Discard, r) })
	r := startRig(t, setting{Config: Config{Limits: Limits{ResponseTimeout: 50 * time.Millisecond}}}, server)
	if _, _, res := r.open(handshake(socketPath)); res.StatusCode != 504 {
		t.Errorf("got %s, want 504", res.Status)
	}
}

// The limits of requests do not apply to an open WebSocket, which may be silent
// for longer than any of them.
func TestWebSocketOutlivesTheLimits(t *testing.T) {
	r := startRig(t, setting{Config: Config{Limits: Limits{HeaderTimeout: testTimeout, BodyTimeout: shortTimeout, IdleTimeout: shortTimeout, ResponseTimeout: shortTimeout}}}, speaking(t, echo))
	conn, b, _ := r.open(handshake(socketPath))
	time.Sleep(4 * shortTimeout) // longer than the limits
	for range 3 {
		_, _ = io.WriteString(conn, "hello")
		got := make([]byte, 5)
		if _, err := io.ReadFull(b, got); err != nil || string(got) != "hello" {
			t.Fatalf("got %q, %v", got, err)
		}
	}
}

// Retire does not close WebSockets.
func TestWebSocketOutlivesRetire(t *testing.T) {
	r := startRig(t, setting{}, speaking(t, echo))
	conn, b, _ := r.open(handshake(socketPath))
	old := r.front.Load()
	r.Retire()
	within(t, "the old front is closed", old.done)
	_, _ = io.WriteString(conn, "hello")
	got := make([]byte, 5)
	if _, err := io.ReadFull(b, got); err != nil || string(got) != "hello" {
		t.Errorf("got %q, %v", got, err)
	}
}

// An idle WebSocket uses little memory.
func TestWebSocketMemory(t *testing.T) {
	const sockets = 500
	r := startRig(t, setting{}, speaking(t, echo))
	var conns []io.Closer
	open := func() {
		conn, b, _ := r.open(handshake(socketPath))
		_, _ = io.WriteString(conn, "hello")
		if _, err := io.ReadFull(b, make([]byte, 5)); err != nil {
			t.Fatal(err)
		}
		conns = append(conns, conn)
	}
	open()
	before := inUse()
	goroutines := runtime.NumGoroutine()
	for range sockets {
		open()
	}
	each := (int64(inUse()) - int64(before)) / sockets
	t.Logf("%d bytes of heap and stacks per WebSocket, including both peers; %.1f goroutines", each, float64(runtime.NumGoroutine()-goroutines)/sockets)
	if each > 2*40<<10 {
		t.Errorf("a WebSocket takes %d bytes", each)
	}
	for _, c := range conns {
		c.Close()
	}
}

// inUse returns the memory used by heap and stacks after a garbage collection.
func inUse() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc + m.StackInuse
}
