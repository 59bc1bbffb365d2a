package terminate

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	"culvert/l4/internal/program"
)

// inner is the text of a request that must never be treated as a request.
const inner = "GET /inner HTTP/1.1\r\nHost: " + chat + "\r\n\r\n"

// A framing is a POST whose end is ambiguous to some servers. "GET /after"
// follows it on the same connection.
type framing struct {
	name    string
	headers string
	body    string
	// want is the body that the server gets if it gets one; "refused" means that
	// it must not get one.
	want string
}

const refused = "refused"

func framings() []framing {
	chunk := func(s string) string { return fmt.Sprintf("%x\r\n%s\r\n", len(s), s) }
	all := []framing{
		{"Content-Length", "Content-Length: 5\r\n", "hello", "hello"},
		{"chunked", "Transfer-Encoding: chunked\r\n", chunk("hello") + "0\r\n\r\n", "hello"},
		{"chunked with trailers", "Transfer-Encoding: chunked\r\nTrailer: X-Forwarded-For\r\n", chunk("hello") + "0\r\nX-Forwarded-For: 192.0.2.1\r\n\r\n", "hello"},
		{"chunked with trailers unannounced", "Transfer-Encoding: chunked\r\n", chunk("hello") + "0\r\nContent-Length: 10\r\nHost: a\r\n\r\n", "hello"},
		{"a short extension", "Transfer-Encoding: chunked\r\n", "5;a=b\r\nhello\r\n0\r\n\r\n", "hello"},
		{"zeros before the size", "Transfer-Encoding: chunked\r\n", "0005\r\nhello\r\n0\r\n\r\n", "hello"},

		{"CL.TE", "Content-Length: " + strconv.Itoa(len("0\r\n\r\n"+inner)) + "\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n", ""},
		{"TE.CL", "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n", chunk(inner) + "0\r\n\r\n", inner},
		{"TE.CL, the length first", "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", chunk(inner) + "0\r\n\r\n", inner},

		{"TE.TE", "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", chunk(inner) + "0\r\n\r\n", refused},
		{"TE.TE, chunked last", "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n", chunk(inner) + "0\r\n\r\n", refused},
		{"TE.TE, twice chunked", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", chunk(inner) + "0\r\n\r\n", refused},
		{"a list", "Transfer-Encoding: gzip, chunked\r\n", chunk(inner) + "0\r\n\r\n", refused},
		{"a list whose last encoding is not chunked", "Transfer-Encoding: chunked, identity\r\nContent-Length: 4\r\n", chunk(inner) + "0\r\n\r\n", refused},
		{"xchunked", "Transfer-Encoding: xchunked\r\nContent-Length: 4\r\n", chunk(inner) + "0\r\n\r\n", refused},
		{"quoted", "Transfer-Encoding: \"chunked\"\r\nContent-Length: 4\r\n", chunk(inner) + "0\r\n\r\n", refused},
		{"with a vertical tab", "Transfer-Encoding: \x0bchunked\r\nContent-Length: 4\r\n", chunk(inner) + "0\r\n\r\n", refused},
		{"with a blank before the colon", "Transfer-Encoding : chunked\r\nContent-Length: 4\r\n", chunk(inner) + "0\r\n\r\n", refused},
		{"with a blank before the name", " Transfer-Encoding: chunked\r\nContent-Length: 4\r\n", chunk(inner) + "0\r\n\r\n", refused},
		{"after a bare CR", "X: a\rTransfer-Encoding: chunked\r\nContent-Length: 4\r\n", chunk(inner) + "0\r\n\r\n", refused},
		{"empty", "Transfer-Encoding:\r\nContent-Length: 4\r\n", "abcd", refused},

		{"two lengths", "Content-Length: 5\r\nContent-Length: 6\r\n", "hello", refused},
		{"two lengths in a list", "Content-Length: 5, 6\r\n", "hello", refused},
		{"the same length twice", "Content-Length: 5\r\nContent-Length: 5\r\n", "hello", "hello"},
		{"a length with +", "Content-Length: +5\r\n", "hello", refused},
		{"a length with -", "Content-Length: -5\r\n", "hello", refused},
		{"a length with a blank inside", "Content-Length: 5 0\r\n", "hello", refused},
		{"a length with blanks around", "Content-Length: \t 5 \t\r\n", "hello", "hello"},
		{"a length with a blank before the colon", "Content-Length : 5\r\n", "hello", refused},
		{"a length with _", "Content-Length: 1_0\r\n", "hello", refused},
		{"a hexadecimal length", "Content-Length: 0x5\r\n", "hello", refused},
		{"an octal length", "Content-Length: 010\r\n", "helloworld"[:10], "helloworld"},
		{"a fraction", "Content-Length: 5.0\r\n", "hello", refused},
		{"a length beyond 64 bits", "Content-Length: 18446744073709551621\r\n", "hello", refused},
		{"no length", "Content-Length:\r\n", "", refused},
		{"a length over many lines", "Content-Length:\r\n 5\r\n", "hello", "hello"},

		{"a size with +", "Transfer-Encoding: chunked\r\n", "+5\r\nhello\r\n0\r\n\r\n", refused},
		{"a size with 0x", "Transfer-Encoding: chunked\r\n", "0x5\r\nhello\r\n0\r\n\r\n", refused},
		{"a size with a blank before", "Transfer-Encoding: chunked\r\n", " 5\r\nhello\r\n0\r\n\r\n", refused},
		{"no size", "Transfer-Encoding: chunked\r\n", "\r\nhello\r\n0\r\n\r\n", refused},
		{"a size beyond 64 bits", "Transfer-Encoding: chunked\r\n", "fffffffffffffffff\r\nhello\r\n0\r\n\r\n", refused},
		{"a chunk without its end", "Transfer-Encoding: chunked\r\n", "5\r\nhello0\r\n\r\n", refused},
		{"a chunk longer than its size", "Transfer-Encoding: chunked\r\n", "5\r\nhelloworld\r\n0\r\n\r\n", refused},
		{"a large extension", "Transfer-Encoding: chunked\r\n", "5;a=" + strings.Repeat("b", 1<<20) + "\r\nhello\r\n0\r\n\r\n", refused},
		{"an extension of many", "Transfer-Encoding: chunked\r\n", strings.Repeat("1;"+strings.Repeat("a", 1000)+"\r\nx\r\n", 1000) + "0\r\n\r\n", refused},
		{"an extension with a bare LF", "Transfer-Encoding: chunked\r\n", "5;a\nhello\r\n0\r\n\r\n" + inner, refused},
		{"an extension with a bare CR", "Transfer-Encoding: chunked\r\n", "5;a\rhello\r\n0\r\n\r\n", refused},
		{"a bare LF after the chunk", "Transfer-Encoding: chunked\r\n", "5\r\nhello\n0\r\n\r\n", refused},
		{"a bare CR after the chunk", "Transfer-Encoding: chunked\r\n", "5\r\nhello\r0\r\n\r\n", refused},
	}
	return all
}

// chains are the possible paths from culvert to a recorder.
func chains(t *testing.T) map[string]func(server string) string {
	return map[string]func(string) string{
		"net/http": func(s string) string { return s },
		"nginx":    func(s string) string { return startNginx(t, s) },
		"haproxy":  func(s string) string { return startHaproxy(t, s) },
	}
}

// Whatever the framing, servers get the intended requests or none, in a form that
// is unambiguous. Nothing else becomes a request, and no client gets the response
// of another.
func TestSmuggling(t *testing.T) {
	for name, chain := range chains(t) {
		t.Run(name, func(t *testing.T) {
			server := startRecorder(t, nil)
			r := startRig(t, setting{}, func() string {
				if name != "net/http" {
					program.Need(t, name)
				}
				return chain(server.addr)
			}())
			for _, f := range framings() {
				t.Run(f.name, func(t *testing.T) { f.check(t, r, server) })
			}
		})
	}
}

func (f *framing) check(t *testing.T, r *rig, server *recorder) {
	head := "POST /outer HTTP/1.1\r\nHost: " + chat + "\r\n" + f.headers + "\r\n"
	after := "GET /after HTTP/1.1\r\nHost: " + chat + "\r\nConnection: close\r\n\r\n"
	answers := r.raw(head+f.body+after, 0)
	if len(answers) == 0 {
		t.Fatal("no response")
	}
	f.checkSeen(t, server.take())
	if first := answers[0]; f.want == refused {
		if first.StatusCode < 400 || len(answers) > 1 || !first.Close {
			t.Errorf("got %s and %d responses, close %v; want one refusal and the connection closed", first.Status, len(answers), first.Close)
		}
	} else if first.StatusCode != 200 || first.body != "POST /outer" {
		t.Errorf("got %s, %q", first.Status, first.body)
	}
	if len(answers) > 1 && answers[1].StatusCode == 200 && answers[1].body != "GET /after" {
		t.Errorf("the second response is %q", answers[1].body)
	}
	if f.want != refused && len(answers) != 2 {
		t.Errorf("got %d responses, want 2", len(answers))
	}
	f.checkSeen(t, r.checkSync(t, server))
}

// checkSeen checks what a server got. A chain may pass on the beginning of a
// request whose end turns out to be malformed, and may do so late.
func (f *framing) checkSeen(t *testing.T, all []seen) {
	t.Helper()
	whole := 0
	for _, q := range all {
		switch {
		case q.Target != "/outer" && q.Target != "/after":
			t.Errorf("the server got %+v", q)
		case q.Length >= 0 && len(q.Encoding) > 0:
			t.Errorf("the server got a length of %d and the encoding %v", q.Length, q.Encoding)
		case q.Target == "/outer" && !q.Cut && (f.want == refused || q.Body != f.want):
			t.Errorf("the server got the body %q, want %q", q.Body, f.want)
		case q.Target == "/outer" && !q.Cut:
			whole++
		}
	}
	if whole > 1 {
		t.Errorf("the server got %+v", all)
	}
}

// checkSync fails if responses do not match requests on the connections to
// servers. It returns what else the server got since it was last asked.
func (r *rig) checkSync(t *testing.T, server *recorder) (late []seen) {
	t.Helper()
	for i := range 3 {
		path := "/sync" + strconv.Itoa(i)
		if got := r.get("HTTP/1.1", path); got.StatusCode != 200 || got.body != "GET "+path {
			t.Errorf("asked for %s, got %s, %q", path, got.Status, got.body)
		}
	}
	all := server.take()
	late = slices.DeleteFunc(slices.Clone(all), func(q seen) bool { return strings.HasPrefix(q.Target, "/sync") })
	if len(all)-len(late) != 3 {
		t.Errorf("the server got %+v, want 3 for /sync", all)
	}
	return late
}

// Ambiguous headers do not smuggle requests.
func TestSmugglingInHeaders(t *testing.T) {
	server := startRecorder(t, nil)
	r := startRig(t, setting{}, server.addr)
	host := "Host: " + chat + "\r\n"
	for _, tt := range []struct {
		name, request string
		max           int // maximum number of requests that the server gets
	}{
		{"a bare LF after the request line", "GET /a HTTP/1.1\n" + host + "\r\n", 1},
		{"bare LFs", "GET /a HTTP/1.1\nHost: " + chat + "\n\n", 1},
		{"a bare LF in a value", "GET /a HTTP/1.1\r\n" + host + "X: a\nContent-Length: 5\r\n\r\nhello", 1},
		{"a bare CR in a value", "GET /a HTTP/1.1\r\n" + host + "X: a\rContent-Length: 5\r\n\r\n", 0},
		{"NUL in a value", "GET /a HTTP/1.1\r\n" + host + "X: a\x00b\r\n\r\n", 0},
		{"a blank before the first header", "GET /a HTTP/1.1\r\n " + host + host + "\r\n", 0},
		{"a header without a colon", "GET /a HTTP/1.1\r\n" + host + "nothing\r\n\r\n", 0},
		{"a header without a name", "GET /a HTTP/1.1\r\n" + host + ": a\r\n\r\n", 0},
		{"HTTP/0.9", "GET /a\r\n\r\n", 0},
		{"HTTP/1.2", "GET /a HTTP/1.2\r\n" + host + "\r\n", 1},
		{"HTTP/01.1", "GET /a HTTP/01.1\r\n" + host + "\r\n", 0},
		{"lower-case version", "GET /a http/1.1\r\n" + host + "\r\n", 0},
		{"two blanks", "GET  /a HTTP/1.1\r\n" + host + "\r\n", 0},
		{"a tab", "GET\t/a HTTP/1.1\r\n" + host + "\r\n", 0},
		{"a blank in the target", "GET /a /b HTTP/1.1\r\n" + host + "\r\n", 0},
		{"a method with a colon", "GET: /a HTTP/1.1\r\n" + host + "\r\n", 0},
		{"a body of GET", "GET /a HTTP/1.1\r\n" + host + "Content-Length: " + strconv.Itoa(len(inner)) + "\r\n\r\n" + inner, 1},
		{"encoding over HTTP/1.0", "POST /a HTTP/1.0\r\n" + host + "Transfer-Encoding: chunked\r\nConnection: keep-alive\r\n\r\n0\r\n\r\n", 1},
		{"encoding and length over HTTP/1.0", "POST /a HTTP/1.0\r\n" + host + "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", 1},
		{"a length and an upgrade", "GET /a HTTP/1.1\r\n" + host + "Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: " + strconv.Itoa(len(inner)) + "\r\n\r\n" + inner, 1},
		{"a folded header", "GET /a HTTP/1.1\r\n" + host + "X: a\r\n Content-Length: 5\r\n\r\n", 1},
		{"Expect and a body at once", "POST /a HTTP/1.1\r\n" + host + "Expect: 100-continue\r\nContent-Length: " + strconv.Itoa(len(inner)) + "\r\n\r\n" + inner, 1},
		{"an unknown expectation", "POST /a HTTP/1.1\r\n" + host + "Expect: more\r\nContent-Length: 5\r\n\r\nhello", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			answers := r.raw(tt.request+"GET /after HTTP/1.1\r\n"+host+"Connection: close\r\n\r\n", 0)
			got := slices.DeleteFunc(server.take(), func(q seen) bool { return q.Target == "/after" })
			if len(got) != tt.max {
				t.Errorf("the server got %+v, want %d requests", got, tt.max)
			}
			if slices.ContainsFunc(got, func(q seen) bool {
				return q.Target != "/a" || q.Header.Get("Upgrade") != "" || len(q.Encoding) > 0 && q.Length >= 0
			}) {
				t.Errorf("the server got %+v", got)
			}
			if tt.max == 0 && (len(answers) == 0 || answers[0].StatusCode < 400) {
				t.Errorf("got %v, want a refusal", answers)
			}
			if late := r.checkSync(t, server); len(late) > 0 {
				t.Errorf("the server got %+v later", late)
			}
		})
	}
}

// Header names that lenient servers take for the length or the encoding are not
// passed on, or only with their own meaning.
func TestSmugglingOverHTTP2(t *testing.T) {
	server := startRecorder(t, nil)
	r := startRig(t, setting{}, server.addr)
	for _, tt := range []struct {
		name   string
		fields []string
		data   string
		want   string // body that the server gets, or "refused"
	}{
		{"length", []string{"content-length", "5"}, "hello", "hello"},
		{"no length", nil, inner, inner},
		{"length too small", []string{"content-length", "0"}, inner, ""},
		{"length too large", []string{"content-length", "500"}, inner, inner},
		{"two lengths", []string{"content-length", "5", "content-length", "0"}, "hello", refused},
		{"no number", []string{"content-length", "5x"}, "hello", refused},
		{"encoding", []string{"transfer-encoding", "chunked"}, "0\r\n\r\n" + inner, refused},
		{"underscores", []string{"transfer_encoding", "chunked", "content_length", "0"}, inner, inner},
		{"a line feed in a name", []string{"a: b\r\ntransfer-encoding", "chunked"}, "0\r\n\r\n" + inner, refused},
		{"a blank in a name", []string{"transfer-encoding ", "chunked"}, "0\r\n\r\n" + inner, refused},
		{"a colon in a name", []string{"transfer-encoding:", "chunked"}, "0\r\n\r\n" + inner, refused},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := r.http2()
			h.request(1, false, append([]string{":method", "POST", ":scheme", "https", ":path", "/outer", ":authority", chat}, tt.fields...)...)
			if err := h.WriteData(1, true, []byte(tt.data)); err != nil {
				t.Fatal(err)
			}
			status := h.status(1)
			for _, q := range server.take() {
				if q.Target != "/outer" || !q.Cut && status == "200" && q.Body != tt.want {
					t.Errorf("the server got %+v", q)
				}
			}
			if tt.want == refused && status == "200" {
				t.Errorf("got status 200")
			}
			h.conn.Close()
			for _, q := range r.checkSync(t, server) {
				if q.Target != "/outer" {
					t.Errorf("the server got %+v", q)
				}
			}
		})
	}
}

// A response that a server cuts short is not passed on as complete.
func TestResponsesCutShort(t *testing.T) {
	tests := []struct{ name, response string }{
		{"by length", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello"},
		{"in a chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nhello"},
		{"between chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"},
		{"a bad chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n"},
	}
	for _, tt := range tests {
		r := startRig(t, setting{}, answering(t, tt.response))
		for _, protocol := range protocols {
			t.Run(tt.name+" "+protocol, func(t *testing.T) {
				res, err := r.client(protocol).Do(newRequest(t, "GET", "/", nil))
				if err != nil {
					return
				}
				defer res.Body.Close()
				if b, err := io.ReadAll(res.Body); err == nil {
					t.Errorf("got %s and the complete body %q", res.Status, b)
				}
			})
		}
	}
}

// answering starts a server that answers the first request of each connection
// with response and closes it.
func answering(t testing.TB, response string) (addr string) {
	t.Helper()
	return startRecorder(t, func(w http.ResponseWriter, _ *http.Request) {
		c, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		defer c.Close()
		_, _ = io.WriteString(c, response)
	}).addr
}
