package terminate

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"
)

// A client that sends its whole body before it reads gets its response, although
// the body is not used.
func TestLingeringCloseAfterUnreadBody(t *testing.T) {
	const size = 32 << 20 // more than all buffers hold
	refuses := startScript(t, func(c net.Conn, r *bufio.Reader) {
		if _, err := readHead(r); err == nil {
			_, _ = io.WriteString(c, "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno")
			_, _ = io.Copy(io.Discard, r)
		}
	})
	r := startRig(t, setting{Config: Config{Limits: Limits{MaxBody: size / 2}}}, refuses)
	large := startRig(t, setting{}, refuses)
	for _, tt := range []struct {
		name string
		rig  *rig
		head string
		want int
	}{
		{"too large", r, "Host: " + chat + "\r\nContent-Length: " + strconv.Itoa(size), 413},
		{"refused by the server, chunked", large, "Host: " + chat + "\r\nTransfer-Encoding: chunked", 403},
		{"another route", r, "Host: " + elsewhere + "\r\nContent-Length: " + strconv.Itoa(size), 421},
		{"refused by the server", large, "Host: " + chat + "\r\nContent-Length: " + strconv.Itoa(size), 403},
		{"unexpected", large, "Host: " + chat + "\r\nExpect: 100-continue\r\nContent-Length: " + strconv.Itoa(size), 403},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel() // mostly waiting
			conn := tt.rig.dial(tt.rig.tls("http/1.1"))
			if _, err := io.WriteString(conn, "POST / HTTP/1.1\r\n"+tt.head+"\r\n\r\n"); err != nil {
				t.Fatal(err)
			}
			body := strings.Repeat("x", size)
			if strings.Contains(tt.head, "chunked") {
				body = strconv.FormatInt(size, 16) + "\r\n" + body + "\r\n0\r\n\r\n"
			}
			if _, err := io.WriteString(conn, body); err != nil {
				t.Fatalf("send the body: %v", err)
			}
			res, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil || res.StatusCode != tt.want {
				t.Fatalf("got %v, %v, want %d", res, err, tt.want)
			}
		})
	}
}

// A client that was answered and sends nothing more gets a FIN at once, and its
// connection is closed soon after.
func TestLingeringCloseEnds(t *testing.T) {
	t.Parallel() // mostly waiting
	r := startRig(t, setting{}, startRecorder(t, nil).addr)
	conn := r.dial(r.tls("http/1.1"))
	_, _ = io.WriteString(conn, "POST / HTTP/1.1\r\nHost: "+elsewhere+"\r\nContent-Length: 1000000\r\n\r\n")
	start := time.Now()
	if got := ends(t, conn); !strings.Contains(got, "421") {
		t.Errorf("got %q", got)
	}
	if took := time.Since(start); took > lingerIdle {
		t.Errorf("the end of the connection came after %v", took)
	}
	eventually(t, "the connection is closed", func() bool { return r.connected() == 0 })
}
