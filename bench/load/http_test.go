package load

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"
)

const secret = "0123456789abcdef0123456789abcdef"

// answers handles requests like a server behind a proxy, and checks that they
// have all their headers.
func answers(w http.ResponseWriter, r *http.Request) {
	size, err := strconv.Atoi(strings.TrimPrefix(r.URL.Path, "/"))
	n, _ := io.Copy(io.Discard, r.Body)
	switch {
	case r.Header.Get(SecretHeader) != secret || r.Host != "apps.example.com" || r.Header.Get("Authorization") == "" || r.Header.Get("User-Agent") == "":
		w.WriteHeader(http.StatusForbidden)
	case err != nil || n != max(0, r.ContentLength) || (n > 0) != (r.Method == http.MethodPost):
		w.WriteHeader(http.StatusBadRequest)
	default:
		w.Header().Set("Content-Length", strconv.Itoa(size))
		_, _ = w.Write(make([]byte, size))
	}
}

// endTLSWith is the target of a net/http server of HTTP/1.1 and HTTP/2.
func endTLSWith(t *testing.T, h http.HandlerFunc, change func(*httptest.Server)) Target {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.EnableHTTP2 = true
	s.TLS = &tls.Config{NextProtos: []string{"h2", "http/1.1"}}
	if change != nil {
		change(s)
	}
	s.StartTLS()
	t.Cleanup(s.Close)
	return Target{Addr: s.Listener.Addr().String(), ServerName: "apps.example.com"}
}

func endTLS(t *testing.T) Target { return endTLSWith(t, answers, nil) }

// work runs a load for a moment.
func work(t *testing.T, l Load) Outcome {
	t.Helper()
	defer l.Close()
	within, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	out, err := l.Run(within)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestRequestsCountTheirBytes(t *testing.T) {
	for _, o := range []RequestOptions{
		{Secret: secret, Response: 3000, Conns: 2},
		{Secret: secret, Response: 3000, Conns: 2, Streams: 2},
		{Secret: secret, Response: 2, Body: 2998, Conns: 2},
	} {
		l, err := NewRequests(t.Context(), endTLS(t), o)
		if out := work(t, must(t)(l, err)); out.Bytes != 3000*out.Count || out.Count == 0 {
			t.Errorf("%+v: got %d bytes of %d requests", o, out.Bytes, out.Count)
		}
	}
}

func TestRefusalIsNoWork(t *testing.T) {
	target := endTLS(t)
	if _, err := NewRequests(t.Context(), target, RequestOptions{Secret: "wrong", Response: 10, Conns: 1}); err == nil || !strings.Contains(err.Error(), "403") {
		t.Errorf("HTTP/1.1: got %v, want the status", err)
	}
	l, err := NewRequests(t.Context(), target, RequestOptions{Secret: "wrong", Response: 10, Conns: 1, Streams: 2})
	for _, l := range []Load{must(t)(l, err), NewVisits(target, RequestOptions{Secret: "wrong", Conns: 1})} {
		if out := work(t, l); out.Count > 0 || out.Errors == 0 || out.FirstError == nil {
			t.Errorf("got %d done, %d errors, the first %v", out.Count, out.Errors, out.FirstError)
		}
	}
}

func TestShortResponseIsNoWork(t *testing.T) {
	target := endTLSWith(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, 9)) }, nil)
	l, err := NewRequests(t.Context(), target, RequestOptions{Response: 10, Conns: 1, Streams: 2})
	if out := work(t, must(t)(l, err)); out.Count > 0 || out.Errors == 0 {
		t.Errorf("got %d done, %d errors", out.Count, out.Errors)
	}
}

func TestFullHandshakeIsNoResumption(t *testing.T) {
	target := endTLSWith(t, answers, func(s *httptest.Server) { s.TLS.SessionTicketsDisabled = true })
	v := NewVisits(target, RequestOptions{Secret: secret, Response: 10, Conns: 1, Resume: true}).(*visits)
	for _, want := range []error{nil, errFull} {
		if err := v.visit(t.Context(), &v.workers[0]); !errors.Is(err, want) {
			t.Errorf("got %v, want %v", err, want)
		}
	}
}

func TestProtocolThatIsNotThere(t *testing.T) {
	target := endTLSWith(t, answers, func(s *httptest.Server) { s.EnableHTTP2, s.TLS.NextProtos = false, nil })
	if _, err := NewRequests(t.Context(), target, RequestOptions{Secret: secret, Conns: 1, Streams: 1}); err == nil {
		t.Error("HTTP/2 was spoken to a server that has none")
	}
}

// The window of the connection is exhausted and then widened.
func TestMuchOverOneConnection(t *testing.T) {
	l, err := NewRequests(t.Context(), endTLS(t), RequestOptions{Secret: secret, Response: 1 << 20, Conns: 1, Streams: 4})
	l = must(t)(l, err)
	defer l.Close()
	for sum := int64(0); sum < 2*connWindow; {
		within, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		out, err := l.Run(within)
		cancel()
		if err != nil || out.Errors > 0 || out.Count == 0 {
			t.Fatalf("after %d bytes %d requests, %d errors, the first %v; %v", sum, out.Count, out.Errors, out.FirstError, err)
		}
		sum += out.Bytes
	}
}

func TestStatusOfHeaderBlocks(t *testing.T) {
	tests := []struct {
		name  string
		block []byte
		want  bool
	}{
		{"200", []byte{0x88, 0x40}, true},
		{"200 after a new table size", []byte{0x20, 0x88}, true},
		{"200 after two", []byte{0x20, 0x3f, 0xe1, 0x1f, 0x88}, true},
		{"404", []byte{0x8d}, false},
		{"403, a literal", []byte{0x08, 0x03, '4', '0', '3'}, false},
		{"nothing", nil, false},
		{"a table size without an end", []byte{0x3f, 0x80}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := isOK(tt.block); got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

func TestWebSocketsAreHeld(t *testing.T) {
	p := servers(t)
	target := endTLSWith(t, func(w http.ResponseWriter, r *http.Request) { relay(t, w, r, p.HTTP[0]) }, nil)
	h, err := HoldWebSockets(t.Context(), target, 5, RequestOptions{Secret: secret})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	if lost := h.Lost(t.Context()); len(h.conns) != 5 || lost != 0 {
		t.Errorf("%d of %d are lost", lost, len(h.conns))
	}
	if _, err := HoldWebSockets(t.Context(), endTLS(t), 5, RequestOptions{Secret: secret}); err == nil {
		t.Error("a server without WebSockets gave some")
	}
}

// relay joins the client of a handshake and a server.
func relay(t *testing.T, w http.ResponseWriter, r *http.Request, server string) {
	up, err := net.Dial("tcp", server)
	if err != nil {
		t.Error(err)
		return
	}
	defer up.Close()
	if err := r.Write(up); err != nil {
		t.Error(err)
		return
	}
	down, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		t.Error(err)
		return
	}
	defer down.Close()
	go func() { _, _ = io.Copy(up, rw) }()
	_, _ = io.Copy(down, up)
}
