package admin

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"
)

func TestRequestsAboveTheLimitAreRefused(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	h := limitRequests(2, func(http.ResponseWriter, *http.Request) {
		entered <- struct{}{}
		<-leave
	})
	serve := func() int {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
		return w.Code
	}
	codes := make(chan int)
	for range 2 {
		go func() { codes <- serve() }()
		<-entered
	}
	if got := serve(); got != http.StatusServiceUnavailable {
		t.Errorf("the third request: status %d, want 503", got)
	}
	close(leave)
	for range 2 {
		if got := <-codes; got != http.StatusOK {
			t.Errorf("status %d, want 200", got)
		}
	}
	go func() { <-entered }()
	if got := serve(); got != http.StatusOK {
		t.Errorf("after the others: status %d, want 200", got)
	}
}

// The limit applies to both listeners: HTTP over TCP and the control socket.
func TestConnectionsAboveTheLimitWait(t *testing.T) {
	s := listen(t)
	s.Serve(source(t))
	t.Cleanup(func() { _ = s.Close(context.Background()) })
	path, _ := startControl(t, &fakeOperator{})
	for _, tt := range []struct {
		name string
		addr net.Addr
	}{
		{"TCP", s.Addr()},
		{"control socket", &net.UnixAddr{Name: path, Net: "unix"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			first := ask(t, tt.addr)
			first.answered(t)
			for range maxConnections - 1 {
				ask(t, tt.addr).answered(t)
			}
			last := ask(t, tt.addr)
			last.waits(t)
			first.Close()
			last.answered(t)
		})
	}
}

// asker is a connection that has sent a request and stays open.
type asker struct{ net.Conn }

func ask(t *testing.T, a net.Addr) asker {
	t.Helper()
	conn, err := net.Dial(a.Network(), a.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if _, err := io.WriteString(conn, "GET "+pathStatus+" HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	return asker{conn}
}

// answered reads the first line of an answer, with any status.
func (a asker) answered(t *testing.T) {
	t.Helper()
	_ = a.SetReadDeadline(time.Now().Add(10 * time.Second))
	line, err := bufio.NewReader(a).ReadString('\n')
	if err != nil || !strings.HasPrefix(line, "HTTP/1.1 ") {
		t.Fatalf("got %q and %v, want an answer", line, err)
	}
}

// waits checks that no answer arrives within 50 ms, in which a server without a
// limit answers a few hundred requests.
func (a asker) waits(t *testing.T) {
	t.Helper()
	_ = a.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	if n, err := a.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("got %d bytes and %v, want no answer", n, err)
	}
}
