package terminate

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"testing"
	"time"
)

func TestRedirect(t *testing.T) {
	for _, tt := range []struct {
		name, request string
		port, want    int
		location      string
	}{
		{"plain", "GET / HTTP/1.1\r\nHost: chat", 0, 301, "https://chat/"},
		{"port 443", "GET / HTTP/1.1\r\nHost: chat", 443, 301, "https://chat/"},
		{"another port", "GET / HTTP/1.1\r\nHost: chat", 8443, 301, "https://chat:8443/"},
		{"the client's port is removed", "GET / HTTP/1.1\r\nHost: chat:80", 0, 301, "https://chat/"},
		{"the client's port is replaced", "GET / HTTP/1.1\r\nHost: chat:8080", 8443, 301, "https://chat:8443/"},
		{"path and query as they are", "GET /a%2fb/%7e;c?d=%zz&e;f HTTP/1.1\r\nHost: chat", 0, 301, "https://chat/a%2fb/%7e;c?d=%zz&e;f"},
		{"no query", "GET /a? HTTP/1.1\r\nHost: chat", 0, 301, "https://chat/a"},
		{"two slashes", "GET //evil.example/ HTTP/1.1\r\nHost: chat", 0, 301, "https://chat//evil.example/"},
		{"HEAD", "HEAD /a HTTP/1.1\r\nHost: chat", 0, 301, "https://chat/a"},
		{"POST stays one", "POST /a HTTP/1.1\r\nHost: chat\r\nContent-Length: 0", 0, 308, "https://chat/a"},
		{"PUT stays one", "PUT /a HTTP/1.1\r\nHost: chat\r\nContent-Length: 0", 8443, 308, "https://chat:8443/a"},
		{"IPv4", "GET / HTTP/1.1\r\nHost: 192.0.2.1", 8443, 301, "https://192.0.2.1:8443/"},
		{"IPv6", "GET / HTTP/1.1\r\nHost: [2001:db8::1]", 0, 301, "https://[2001:db8::1]/"},
		{"IPv6 with a port", "GET / HTTP/1.1\r\nHost: [2001:db8::1]:80", 0, 301, "https://[2001:db8::1]/"},
		{"IPv6 to a port", "GET / HTTP/1.1\r\nHost: [2001:db8::1]", 8443, 301, "https://[2001:db8::1]:8443/"},
		{"IPv6 from port to port", "GET / HTTP/1.1\r\nHost: [2001:db8::1]:80", 8443, 301, "https://[2001:db8::1]:8443/"},
		{"absolute target", "GET http://other/a?b HTTP/1.1\r\nHost: chat", 0, 301, "https://other/a?b"},
		{"absolute target without a path", "GET http://other HTTP/1.1\r\nHost: chat", 0, 301, "https://other/"},
		{"no host", "GET / HTTP/1.0", 0, 400, ""},
		{"a port alone", "GET / HTTP/1.1\r\nHost: :80", 0, 400, ""},
		{"a port that is not a number", "GET / HTTP/1.1\r\nHost: chat:x", 0, 400, ""},
		{"two hosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: b", 0, 400, ""},
		{"CONNECT", "CONNECT chat:443 HTTP/1.1\r\nHost: chat", 0, 400, ""},
		{"OPTIONS *", "OPTIONS * HTTP/1.1\r\nHost: chat", 0, 400, ""},
		{"climbs", "GET /../a HTTP/1.1\r\nHost: chat", 0, 400, ""},
		{"NUL", "GET /%00 HTTP/1.1\r\nHost: chat", 0, 400, ""},
		{"fragment", "GET /#a HTTP/1.1\r\nHost: chat", 0, 400, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			res := redirected(t, NewRedirector(tt.port), tt.request+"\r\nConnection: close\r\n\r\n")
			if res.StatusCode != tt.want || res.Header.Get("Location") != tt.location {
				t.Errorf("got %s, %q; want %d, %q", res.Status, res.Header.Get("Location"), tt.want, tt.location)
			}
			if tt.want != 400 && res.Header.Get("Cache-Control") != "no-store" {
				t.Errorf("got %v", res.Header)
			}
		})
	}
}

// redirected sends a request to r over TCP, and then calls Retire.
func redirected(t *testing.T, r *Redirector, request string) *http.Response {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	defer r.Retire()
	client, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	_ = client.SetDeadline(time.Now().Add(testTimeout))
	server, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	go r.Serve(server)
	if _, err := io.WriteString(client, request); err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(client), nil)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

// Connections that arrive after Retire are closed.
func TestRetiredRedirectorClosesConnections(t *testing.T) {
	r := NewRedirector(0)
	r.Retire()
	within(t, "the redirector is retired", r.front.done)
	ours, theirs := net.Pipe()
	defer ours.Close()
	go r.Serve(theirs)
	_ = ours.SetDeadline(time.Now().Add(testTimeout))
	if _, err := ours.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("got %v, want EOF", err)
	}
}
