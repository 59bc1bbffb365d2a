package terminate

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"culvert/l4/internal/program"

	"github.com/google/go-cmp/cmp"
)

// eachProtocol runs a test over HTTP/1.1 and HTTP/2.
func eachProtocol(t *testing.T, f func(t *testing.T, protocol string)) {
	for _, p := range protocols {
		t.Run(p, func(t *testing.T) { f(t, p) })
	}
}

// spoof returns a request with all headers that clients must not set, in all
// spellings.
func spoof(t *testing.T) *http.Request {
	q := newRequest(t, "GET", "/api/v4/users/me", nil)
	for _, name := range []string{
		"X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Forwarded-Port", "X-Real-IP", "Forwarded",
		"X-SSL-Client-Cert", "X-SSL-Client-Cert-Subject-DN", SecretHeader,
	} {
		for _, s := range spellings(name) {
			q.Header[textproto.CanonicalMIMEHeaderKey(s)] = []string{"spoofed", "again"}
		}
	}
	q.Header.Set("Cookie", "MMAUTHTOKEN=a; MMCSRF=b")
	q.Header.Set("Origin", "https://"+chat)
	q.Header.Set("Accept-Encoding", "br")
	q.Header["User-Agent"] = nil
	return q
}

// The server gets the headers that the client sent, without those that clients
// must not set, and with those that culvert sets.
func TestRequestHeaders(t *testing.T) {
	server := startRecorder(t, nil)
	r := startRig(t, setting{Config: Config{StripRequest: []string{"X-Mine-*"}}}, server.addr)
	eachProtocol(t, func(t *testing.T, protocol string) {
		q := spoof(t)
		q.Host = chat + ":8443"
		q.Header.Set("X-Mine-A", "a")
		if got := r.do(r.client(protocol), q); got.StatusCode != 200 {
			t.Fatalf("got %s", got.Status)
		}
		if wire := server.wire(); strings.Contains(wire, "spoofed") {
			t.Errorf("the server got %q", wire)
		}
		got := server.take()[0]
		want := http.Header{
			"Cookie": {"MMAUTHTOKEN=a; MMCSRF=b"}, "Origin": {"https://" + chat}, "Accept-Encoding": {"br"},
			"X-Forwarded-For": {"127.0.0.1"}, "X-Real-Ip": {"127.0.0.1"}, "X-Forwarded-Proto": {"https"},
		}
		if diff := cmp.Diff(want, got.Header); diff != "" {
			t.Errorf("headers (-want +got):\n%s", diff)
		}
		if got.Host != chat+":8443" || got.Proto != "HTTP/1.1" || got.Target != "/api/v4/users/me" {
			t.Errorf("got %+v", got)
		}
	})
}

// Connection removes the headers that it lists, but none that culvert sets.
func TestConnectionCannotRemoveHeadersOfCulvert(t *testing.T) {
	server := startRecorder(t, nil)
	r := startRig(t, setting{}, server.addr)
	r.raw("GET / HTTP/1.1\r\nHost: "+chat+"\r\nConnection: close, X-Forwarded-Proto, X-Real-IP, x-forwarded-for, X-A\r\nX-A: a\r\nX-B: b\r\nTE: trailers\r\nTrailer: X-C\r\n\r\n", 1)
	got := server.take()[0]
	want := http.Header{"X-B": {"b"}, "X-Forwarded-For": {"127.0.0.1"}, "X-Real-Ip": {"127.0.0.1"}, "X-Forwarded-Proto": {"https"}}
	if diff := cmp.Diff(want, got.Header); diff != "" {
		t.Errorf("headers (-want +got):\n%s", diff)
	}
}

// Paths and queries reach the server unchanged, byte for byte.
func TestTargetsAreUntouched(t *testing.T) {
	server := startRecorder(t, nil)
	r := startRig(t, setting{}, server.addr)
	targets := []string{
		"/", "/?", "/a?", "/a?b=c;d=e", "/a?%", "/a?%zz&b=%2", "/a?b=c&b=d&;&", "/a?b=%00", "/a?http://x/y?z", "/a??",
		"/a%2fb", "/a%2Fb", "/%61", "/a%20b", "/%e2%82%ac", "/%E2%82%AC", "/a%25b", "/a%3fb", "/a%3Bb", "/a+b",
		"/a;b=c", "/a,b", "/a:b", "/a@b", "/a=b", "/a&b", "/a$b", "/a!b", "/a*b", "/a'b", "/(a)", "/[a]", "/~a", "/-._~",
		"/{a}", "/a|b", "/a^b", "/a`b", "/a\"b", "/<a>", "/a\\b", "/a\xff", "/é",
		"//a", "//a//b", "/a//", "/a/./b", "/a/../b", "/a/..", "/.", "/a/%2e%2e/b",
		"/static/%2e%2e/a",
	}
	send := map[string]func(target string) string{
		"HTTP/1.1": func(target string) string {
			return fmt.Sprint(len(r.raw("GET "+target+" HTTP/1.1\r\nHost: "+chat+"\r\nConnection: close\r\n\r\n", 1)))
		},
		"HTTP/2.0": func(target string) string {
			h := r.http2()
			h.request(1, true, ":method", "GET", ":scheme", "https", ":path", target, ":authority", chat)
			return h.status(1)
		},
	}
	eachProtocol(t, func(t *testing.T, protocol string) {
		for _, target := range targets {
			status := send[protocol](target)
			got := server.take()
			if len(got) != 1 || got[0].Target != target {
				t.Errorf("%q: got %s, and %+v at the server", target, status, got)
			}
		}
	})
}

// The client gets the headers of the server's response, without those that only
// culvert may send, and with HSTS.
func TestResponseHeaders(t *testing.T) {
	server := startRecorder(t, func(w http.ResponseWriter, _ *http.Request) {
		h := w.Header()
		h["X-Reject-Reason"] = []string{"pre-auth"}
		h["x-reject-reason"] = []string{"pre-auth"}
		h["X_Reject_Reason"] = []string{"pre-auth"}
		h["X-Version-Id"] = []string{"10.0.0"}
		h["Set-Cookie"] = []string{"a=b; Secure", "c=d; HttpOnly"}
		h["Strict-Transport-Security"] = []string{"max-age=1"}
		h["X-Debug-A"] = []string{"a"}
		h["Connection"] = []string{"X-Hop"}
		h["X-Hop"] = []string{"a"}
		h["Keep-Alive"] = []string{"timeout=5"}
		h["Content-Type"] = nil
		w.WriteHeader(299)
		_, _ = io.WriteString(w, "<html>")
	})
	r := startRig(t, setting{Config: Config{HSTS: time.Hour, StripResponse: []string{"X-Debug-*"}}}, server.addr)
	eachProtocol(t, func(t *testing.T, protocol string) {
		client := r.client(protocol)
		for range 3 {
			got := r.do(client, newRequest(t, "GET", "/", nil))
			got.Header.Del("Date")
			want := http.Header{
				"X-Version-Id": {"10.0.0"}, "Set-Cookie": {"a=b; Secure", "c=d; HttpOnly"},
				"Strict-Transport-Security": {"max-age=3600"}, "Content-Length": {"6"},
			}
			if diff := cmp.Diff(want, got.Header); diff != "" || got.StatusCode != 299 || got.body != "<html>" {
				t.Fatalf("status %d, body %q, headers (-want +got):\n%s", got.StatusCode, got.body, diff)
			}
		}
	})
}

// A response without a Content-Type does not get a guessed one.
func TestContentTypeIsNotGuessed(t *testing.T) {
	s := &Server{limits: Limits{}.withDefaults()}
	h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		x := s.newExchange(w, q)
		defer x.done()
		x.WriteHeader(200)
		_, _ = io.WriteString(x, "<html>")
	}))
	defer h.Close()
	res, err := http.Get(h.URL)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if got, ok := res.Header["Content-Type"]; ok {
		t.Errorf("got %q", got)
	}
}

// Header names of HTTP/1.1 responses are in canonical case, on which some apps
// rely.
func TestResponseHeaderCase(t *testing.T) {
	server := startRecorder(t, func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X-Version-Id", "1") })
	r := startRig(t, setting{}, server.addr)
	conn := r.dial(r.tls("http/1.1"))
	_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: "+chat+"\r\nConnection: close\r\n\r\n")
	b, err := io.ReadAll(conn)
	if err != nil || !strings.Contains(string(b), "\r\nX-Version-Id: 1\r\n") || strings.Contains(string(b), "Server:") {
		t.Errorf("got %q, %v", b, err)
	}
}

// Informational responses are passed on, with cleaned headers.
func TestEarlyHints(t *testing.T) {
	server := startRecorder(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Link", "</a.css>; rel=preload")
		w.Header().Set("X-Reject-Reason", "pre-auth")
		w.WriteHeader(http.StatusEarlyHints)
		w.Header().Del("Link")
		_, _ = io.WriteString(w, "hello")
	})
	r := startRig(t, setting{}, server.addr)
	eachProtocol(t, func(t *testing.T, protocol string) {
		hints := make(chan http.Header, 9)
		trace := &httptrace.ClientTrace{Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
			if code == http.StatusEarlyHints {
				hints <- http.Header(h)
			}
			return nil
		}}
		q := newRequest(t, "GET", "/", nil)
		got := r.do(r.client(protocol), q.WithContext(httptrace.WithClientTrace(q.Context(), trace)))
		if got.StatusCode != 200 || got.body != "hello" || got.Header.Get("Link") != "" {
			t.Errorf("got %s, %q, %v", got.Status, got.body, got.Header)
		}
		select {
		case h := <-hints:
			if diff := cmp.Diff(http.Header{"Link": {"</a.css>; rel=preload"}}, h); diff != "" {
				t.Errorf("hints (-want +got):\n%s", diff)
			}
		default:
			t.Error("no hints")
		}
		if q := r.report(); q.Status != 200 || q.BytesOut != 5 {
			t.Errorf("got the report %+v", q)
		}
	})
}

// Trailers of responses, announced or not, are passed on, and strip rules apply
// to them. Trailers of requests are removed, because they are not checked.
func TestTrailers(t *testing.T) {
	server := startRecorder(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Trailer", "X-Announced, X-Reject-Reason, X-Secret-A")
		_, _ = io.WriteString(w, "hello")
		w.(http.Flusher).Flush()
		w.Header().Set("X-Announced", "a")
		w.Header().Set("X-Reject-Reason", "pre-auth")
		w.Header().Set("X-Secret-A", "a")
		w.Header().Set(http.TrailerPrefix+"X-Other", "b")
		w.Header().Set(http.TrailerPrefix+"X-Secret-B", "b")
	})
	r := startRig(t, setting{Config: Config{StripResponse: []string{"X-Secret-*"}}}, server.addr)
	eachProtocol(t, func(t *testing.T, protocol string) {
		q := newRequest(t, "POST", "/", io.MultiReader(strings.NewReader("body")))
		q.Trailer = http.Header{"X-Forwarded-For": {"192.0.2.1"}}
		got := r.do(r.client(protocol), q)
		if diff := cmp.Diff(http.Header{"X-Announced": {"a"}, "X-Other": {"b"}}, got.Trailer); diff != "" || got.body != "hello" {
			t.Errorf("body %q, trailers (-want +got):\n%s", got.body, diff)
		}
		if wire := server.wire(); strings.Contains(wire, "192.0.2.1") || strings.Contains(wire, "Trailer") {
			t.Errorf("the server got %q", wire)
		}
		server.take()
	})
}

// Bodies are neither compressed nor decompressed.
func TestCompressedBodiesAreUntouched(t *testing.T) {
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	_, _ = z.Write(bytes.Repeat([]byte("hello "), 10_000))
	_ = z.Close()
	server := startRecorder(t, func(w http.ResponseWriter, q *http.Request) {
		if q.Header.Get("Accept-Encoding") == "gzip" {
			w.Header().Set("Content-Encoding", "gzip")
		}
		w.Header().Set("Content-Type", "text/plain")
		_, _ = w.Write(packed.Bytes())
	})
	r := startRig(t, setting{}, server.addr)
	eachProtocol(t, func(t *testing.T, protocol string) {
		for _, accept := range []string{"", "gzip"} {
			q := newRequest(t, "GET", "/", nil)
			if accept != "" {
				q.Header.Set("Accept-Encoding", accept)
			}
			got := r.do(r.client(protocol), q)
			if got.body != packed.String() || got.Header.Get("Content-Encoding") != accept {
				t.Errorf("%q: got %d bytes, %v", accept, len(got.body), got.Header)
			}
			if got := server.take()[0].Header.Get("Accept-Encoding"); got != accept {
				t.Errorf("the server got Accept-Encoding %q, want %q", got, accept)
			}
		}
	})
}

// With many concurrent requests over few connections, each gets its own
// response.
func TestConcurrentRequestsGetTheirOwnResponses(t *testing.T) {
	one, two := startRecorder(t, nil), startRecorder(t, nil)
	r := startRig(t, setting{}, one.addr, two.addr)
	eachProtocol(t, func(t *testing.T, protocol string) {
		client := r.client(protocol)
		var wg sync.WaitGroup
		for i := range 20 {
			wg.Go(func() {
				for n := range 20 {
					path := fmt.Sprintf("/%d/%d", i, n)
					res, err := client.Get("https://" + chat + path)
					if err != nil {
						t.Error(err)
						return
					}
					b, err := io.ReadAll(res.Body)
					res.Body.Close()
					if string(b) != "GET "+path || err != nil {
						t.Errorf("%s: got %q, %v", path, b, err)
					}
				}
			})
		}
		wg.Wait()
	})
}

// curl, which does not use Go's TLS and HTTP, gets the same results.
func TestCurl(t *testing.T) {
	program.Need(t, "curl")
	server := startRecorder(t, nil)
	r := startRig(t, setting{}, server.addr)
	_, port, _ := net.SplitHostPort(r.addr)
	for _, tt := range []struct{ version, name, host, want string }{
		{"--http1.1", chat, chat, "200"},
		{"--http2", chat, chat, "200"},
		{"--http1.1", chat, elsewhere, "421"},
		{"--http2", chat, elsewhere, "421"},
		{"--http2", alias, chat, "200"},
	} {
		cmd := exec.Command("curl", "-sSk", tt.version, "-o", os.DevNull, "-w", "%{http_code}", "--max-time", "20",
			"--resolve", tt.name+":"+port+":127.0.0.1", "-H", "Host: "+tt.host, "https://"+tt.name+":"+port+"/a")
		out, err := cmd.CombinedOutput()
		reached := server.take()
		if err != nil || string(out) != tt.want || (len(reached) == 1) != (tt.want == "200") {
			t.Errorf("%+v: got %q, %v, %d requests", tt, out, err, len(reached))
		}
	}
}

// Each outcome of a request has its report.
func TestReports(t *testing.T) {
	server := startRecorder(t, nil)
	secrets := mustLoadSecrets(t, "current: "+secretOne)
	r := startRig(t, setting{Config: Config{
		Preauth: &Preauth{Secrets: func() *Secrets { return secrets }},
		Limits:  Limits{MaxBody: 10},
	}}, server.addr)
	secret := "X-Mattermost-Preauth-Secret: " + secretOne + "\r\n"
	host := "Host: " + chat + "\r\n"
	for _, tt := range []struct {
		name, request string
		want          Request
	}{
		{"passed", "GET /a/%2e?secret=1 HTTP/1.1\r\n" + host + secret, Request{Host: chat, Method: "GET", Path: "/a/%2e", Protocol: "HTTP/1.1", Status: 200, Server: server.addr, Tries: 1, BytesOut: 19}},
		{"with a body", "POST /a HTTP/1.1\r\n" + host + secret + "Content-Length: 5\r\n\r\nhello", Request{Host: chat, Method: "POST", Path: "/a", Protocol: "HTTP/1.1", Status: 200, Server: server.addr, Tries: 1, BytesIn: 5, BytesOut: 7}},
		{"no secret", "GET /a HTTP/1.1\r\n" + host, Request{Host: chat, Method: "GET", Path: "/a", Protocol: "HTTP/1.1", Status: 403, Refused: "preauth", BytesOut: int64(len(refusalBody))}},
		{"misdirected", "GET /a HTTP/1.1\r\nHost: " + elsewhere + "\r\n", Request{Host: elsewhere, Method: "GET", Path: "/a", Protocol: "HTTP/1.1", Status: 421, Refused: "misdirected", BytesOut: 20}},
		{"method", "TRACE /a HTTP/1.1\r\n" + host, Request{Host: chat, Method: "TRACE", Path: "/a", Protocol: "HTTP/1.1", Status: 405, Refused: "method", BytesOut: 19}},
		{"target", "GET /%zz HTTP/1.1\r\n" + host, Request{}}, // refused by net/http
		{"target, climbs", "GET /../a HTTP/1.1\r\n" + host, Request{Host: chat, Method: "GET", Protocol: "HTTP/1.1", Status: 400, Refused: "target", BytesOut: 12}},
		{"no host", "GET /a HTTP/1.0\r\n", Request{Method: "GET", Path: "/a", Protocol: "HTTP/1.0", Status: 400, Refused: "no_host", BytesOut: 12}},
		{"body too large", "POST /a HTTP/1.1\r\n" + host + secret + "Content-Length: 11\r\n\r\nhello world", Request{Host: chat, Method: "POST", Path: "/a", Protocol: "HTTP/1.1", Status: 413, Refused: "body", BytesOut: 25}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r.raw(tt.request+"\r\n", 1)
			if tt.want.Method == "" {
				return
			}
			got := r.report()
			if got.Client == "" || got.Start.IsZero() || got.Total <= 0 {
				t.Errorf("got %+v", got)
			}
			got.Client, got.Start, got.Total = "", time.Time{}, 0
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
