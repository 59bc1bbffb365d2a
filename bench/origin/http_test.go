package origin

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

func web(t *testing.T) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", startProcess(t, 1).HTTP[0])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	return c
}

// The servers are read by net/http, which is stricter than what they serve.
func TestRequestsOnOneConnection(t *testing.T) {
	c := web(t)
	r := bufio.NewReader(c)
	tests := []struct {
		name, request string
		size          int64
	}{
		{"small", "GET /10 HTTP/1.1\r\nHost: a\r\n\r\n", 10},
		{"the same again", "GET /10 HTTP/1.1\r\nHost: a\r\n\r\n", 10},
		{"large", "GET /1048576 HTTP/1.1\r\nHost: a\r\n\r\n", 1 << 20},
		{"with a body", "POST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n" + strings.Repeat("x", 100_000), 2},
		{"empty", "GET /0 HTTP/1.1\r\nHost: a\r\n\r\n", 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := io.WriteString(c, tt.request); err != nil {
				t.Fatal(err)
			}
			res, err := http.ReadResponse(r, nil)
			if err != nil {
				t.Fatal(err)
			}
			n, err := io.Copy(io.Discard, res.Body)
			if err != nil || res.StatusCode != http.StatusOK || n != tt.size || res.ContentLength != tt.size {
				t.Errorf("got status %d and %d bytes of %d, %v", res.StatusCode, n, res.ContentLength, err)
			}
		})
	}
}

func TestWhatIsNoRequestEndsTheConnection(t *testing.T) {
	for _, request := range []string{
		"GET /many HTTP/1.1\r\n\r\n", "GET /-1 HTTP/1.1\r\n\r\n", "GET /99999999999 HTTP/1.1\r\n\r\n", "GET\r\n\r\n",
		"POST /2 HTTP/1.1\r\nContent-Length: x\r\n\r\n",
	} {
		c := web(t)
		if _, err := io.WriteString(c, request); err != nil {
			t.Fatal(err)
		}
		if b, _ := io.ReadAll(c); len(b) > 0 {
			t.Errorf("%q: got %q, want the end", request, b)
		}
	}
}

func TestWebSocketReturnsWhatComes(t *testing.T) {
	c := web(t)
	r := bufio.NewReader(c)
	handshake := "GET /api/v4/websocket HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
	if _, err := io.WriteString(c, handshake+"early"); err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := res.Header.Get("Sec-WebSocket-Accept"); res.StatusCode != http.StatusSwitchingProtocols || got != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" { // RFC 6455, section 1.3
		t.Errorf("got status %d, accept %q", res.StatusCode, got)
	}
	if _, err := io.WriteString(c, " late"); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, len("early late"))
	if _, err := io.ReadFull(r, b); err != nil || string(b) != "early late" {
		t.Errorf("got %q, %v", b, err)
	}
}
