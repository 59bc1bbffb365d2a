package terminate

import (
	"bufio"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// Everything that precedes the body of a response has one common limit.
func TestResponseHeadersAreBounded(t *testing.T) {
	header := func(n int) string { return "A: " + strings.Repeat("a", n-5) + "\r\n" }
	hint := func(n int) string { return "HTTP/1.1 103 Early Hints\r\n" + header(n-28) + "\r\n" }
	const begin, end, most = "HTTP/1.1 200 OK\r\n", "Content-Length: 5\r\n\r\nhello", maxResponseHeader
	for _, tt := range []struct {
		name, response string
		want           int
	}{
		{"just enough", begin + header(most-len(begin+end)) + end, 200},
		{"much and a hint", hint(most/2) + begin + header(most/2-len(begin+end)) + end, 200},
		{"too much", begin + header(most) + end, 502},
		{"too many", begin + strings.Repeat(header(64), most/64) + end, 502},
		{"too much with a hint", hint(most/2) + begin + header(most/2) + end, 502},
		{"hints", strings.Repeat(hint(1024), most/1024) + begin + end, 502},
		{"a status", "HTTP/1.1 200 " + strings.Repeat("a", most) + "\r\n\r\n", 502},
	} {
		r := startRig(t, setting{}, answering(t, tt.response))
		for _, request := range []string{"GET / HTTP/1.1\r\n", "POST / HTTP/1.1\r\nContent-Length: 0\r\n"} {
			got := r.raw(request+"Host: "+chat+"\r\nConnection: close\r\n\r\n", 1)
			if len(got) != 1 || got[0].StatusCode != tt.want || tt.want == 200 && got[0].body != "hello" {
				t.Errorf("%s: got %d answers, want %d", tt.name, len(got), tt.want)
			}
		}
	}
}

// The limit applies to each response separately: earlier responses on the
// connection neither lower nor raise it.
func TestEachResponseIsBounded(t *testing.T) {
	server := startScripted(t, false, func(x *scriptedRequest) bool {
		header := strings.Repeat("A: "+strings.Repeat("a", 1019)+"\r\n", len(x.URL.Path)) // 1 KiB for each byte
		x.answer("HTTP/1.1 200 OK", header+"Content-Length: 0\r\n\r\n")
		return true
	})
	r := startRig(t, setting{}, server.addr)
	conn := r.dial(r.tls("http/1.1"))
	for _, n := range []int{1, 200, 256, 1, 255, 256} {
		want := 200
		if n == 256 {
			want = 502
		}
		for range 2 {
			_, _ = io.WriteString(conn, "GET /"+strings.Repeat("a", n-1)+" HTTP/1.1\r\nHost: "+chat+"\r\n\r\n")
			if got := readAnswers(t, conn, 1); len(got) != 1 || got[0].StatusCode != want {
				t.Errorf("%d KiB: got %v, want %d", n, got, want)
			}
		}
	}
}

// A response must start within the timeout after the server has the request.
// Informational responses do not count as its start.
func TestResponseTimeout(t *testing.T) {
	drip := func(c net.Conn, s string) {
		for err := error(nil); err == nil; time.Sleep(time.Millisecond) { // pace of the informational responses
			_, err = io.WriteString(c, s)
		}
	}
	for name, script := range map[string]func(c net.Conn, r *bufio.Reader){
		"silent":        func(net.Conn, *bufio.Reader) {},
		"reads nothing": nil,
		"a drip": func(c net.Conn, r *bufio.Reader) {
			_, _ = readHead(r)
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nA: ")
			drip(c, "a")
		},
		"hints": func(c net.Conn, r *bufio.Reader) { _, _ = readHead(r); drip(c, "HTTP/1.1 103 Early Hints\r\n\r\n") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // mostly waiting
			answered, ended := make(chan bool, 1), make(chan bool, 1)
			server := startScript(t, func(c net.Conn, r *bufio.Reader) {
				if script == nil {
					<-answered
				} else {
					script(c, r)
				}
				_, _ = io.Copy(io.Discard, r)
				ended <- true
			})
			r := startRig(t, setting{Config: Config{Limits: Limits{ResponseTimeout: shortTimeout}}}, server)
			for _, b := range []string{"", "hello", strings.Repeat("x", 16<<20)} {
				got := r.do(r.client("HTTP/2.0"), newRequest(t, "PUT", "/", strings.NewReader(b)))
				if got.StatusCode != 504 {
					t.Errorf("%d bytes: got %s, want 504", len(b), got.Status)
				}
				if script == nil {
					answered <- true
				}
				within(t, "the connection is closed", ended)
			}
		})
	}
}

// A short ResponseTimeout starts anew for each request and for each write.
func TestShortResponseTimeout(t *testing.T) {
	server := startScripted(t, false, func(x *scriptedRequest) bool {
		_, _ = io.Copy(io.Discard, x.Body)
		x.answer("HTTP/1.1 200 OK", "Content-Length: 5\r\n\r\nhello")
		return true
	})
	r := startRig(t, setting{Config: Config{Limits: Limits{ResponseTimeout: shortTimeout}}}, server.addr)
	client := r.client("HTTP/1.1")
	for range 3 {
		if got := r.do(client, newRequest(t, "GET", "/", nil)); got.StatusCode != 200 {
			t.Errorf("got %s", got.Status)
		}
		time.Sleep(2 * shortTimeout) // longer than the limit
	}
	in, out := io.Pipe()
	go func() {
		for range 3 {
			_, _ = io.WriteString(out, "hello")
			time.Sleep(2 * shortTimeout) // the pace of the client
		}
		out.Close()
	}()
	if got := r.do(client, newRequest(t, "POST", "/", in)); got.StatusCode != 200 {
		t.Errorf("a slow client: got %s", got.Status)
	}
}

// A server that stops in the middle of a line times out, and the request is not
// sent to another server.
func TestTimeoutInTheMiddleOfALine(t *testing.T) {
	for _, says := range []string{"HTTP", "HTTP/1.1 2", "HTTP/1.1 200 OK\r\nContent-Le"} {
		var n atomic.Int64
		stops := func() string {
			return startScript(t, func(c net.Conn, r *bufio.Reader) {
				n.Add(1)
				_, _ = io.WriteString(c, says)
				_, _ = io.Copy(io.Discard, r)
			})
		}
		r := startRig(t, setting{Config: Config{Limits: Limits{ResponseTimeout: shortTimeout}}}, stops(), stops())
		if got := r.get("HTTP/1.1", "/"); got.StatusCode != 504 || n.Load() != 1 {
			t.Errorf("%q: got %s after %d servers, want 504 after one", says, got.Status, n.Load())
		}
	}
}
