package health

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"
)

// dialTo connects to a test server.
func dialTo(addr string) Dial {
	return func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "tcp", addr)
	}
}

func answering(status int, body string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Seen", r.Method+" "+r.Host+r.RequestURI)
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	})
}

func TestHTTP(t *testing.T) {
	for _, tt := range []struct {
		name   string
		status int
		body   string
		req    Request
		err    string // part of it; "": passes
	}{
		{"200", 200, "", Request{}, ""},
		{"204", 204, "", Request{}, ""},
		{"500", 500, "", Request{}, "status 500"},
		{"a redirect is an answer", 302, "", Request{}, "status 302"},
		{"and may be expected", 302, "", Request{Status: []StatusRange{{200, 399}}}, ""},
		{"not the one expected", 200, "", Request{Status: []StatusRange{{204, 204}, {301, 302}}}, "status 200"},
		{"text", 200, "all good", Request{Match: Contains("good")}, ""},
		{"no text", 200, "all bad", Request{Match: Contains("good")}, `no "good"`},
		{"pattern", 200, "ready 7", Request{Match: Matches(regexp.MustCompile(`ready \d`))}, ""},
		{"no pattern", 200, "ready", Request{Match: Matches(regexp.MustCompile(`ready \d`))}, "does not match"},
		{"body longer than is read", 200, strings.Repeat("x", 2*maxBody) + "good", Request{Match: Contains("good")}, `no "good"`},
		{"mattermost", 200, `{"status":"OK","AndroidLatestVersion":""}`, *Mattermost(false), ""},
		{"mattermost, unhealthy with 200", 200, `{"status":"UNHEALTHY"}`, *Mattermost(false), `status is "UNHEALTHY"`},
		{"mattermost, unhealthy with 500", 500, `{"status":"UNHEALTHY"}`, *Mattermost(false), "status 500"},
		{"mattermost, something else", 200, `<html>`, *Mattermost(false), "not a JSON object"},
		{"mattermost deep", 200, `{"status":"OK","database_status":"OK","filestore_status":"OK"}`, *Mattermost(true), ""},
		{"mattermost without its database", 200, `{"status":"OK","database_status":"UNHEALTHY","filestore_status":"OK"}`, *Mattermost(true), `database_status is "UNHEALTHY"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := httptest.NewServer(answering(tt.status, tt.body))
			defer s.Close()
			c := Check{Kind: HTTP, Request: &tt.req}
			wantErr(t, c.Run(t.Context(), dialTo(s.Listener.Addr().String())).Err, tt.err)
		})
	}
}

func wantErr(t *testing.T, err error, part string) {
	t.Helper()
	if part == "" && err != nil || part != "" && (err == nil || !strings.Contains(err.Error(), part)) {
		t.Errorf("got %v, want %q", err, part)
	}
}

func TestRequestAsksAsConfigured(t *testing.T) {
	var seen string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen = r.Method + " " + r.Host + r.RequestURI
		_, _ = io.WriteString(w, `{"status": "OK", "database_status": "OK", "filestore_status": "OK"}`)
	}))
	defer s.Close()
	dial := dialTo(s.Listener.Addr().String())
	for _, tt := range []struct {
		check Check
		want  string
	}{
		{Check{Kind: HTTP, Request: &Request{}}, "GET localhost/"},
		{Check{Kind: HTTP, Request: &Request{Method: "HEAD", Path: "/x?y=1", Host: "h.example.com:8065"}}, "HEAD h.example.com:8065/x?y=1"},
		{Check{Kind: HTTP, ServerName: "chat.example.com", Request: Mattermost(true)}, "GET chat.example.com/api/v4/system/ping?get_server_status=true"},
	} {
		if r := tt.check.Run(t.Context(), dial); r.Err != nil || seen != tt.want {
			t.Errorf("asked %q (%v), want %q", seen, r.Err, tt.want)
		}
	}
}

func TestTLS(t *testing.T) {
	var sni string
	s := httptest.NewUnstartedServer(answering(200, "ok"))
	s.TLS = &tls.Config{GetConfigForClient: func(h *tls.ClientHelloInfo) (*tls.Config, error) { sni = h.ServerName; return nil, nil }}
	s.StartTLS()
	defer s.Close()
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	for _, tt := range []struct {
		name    string
		check   Check
		err     string
		problem string
	}{
		{"not verified", Check{Kind: TLS}, "", ""},
		{"the name is only noted", Check{Kind: TLS, ServerName: "chat.example.org"}, "", "not chat.example.org"},
		{"verified", Check{Kind: TLS, ServerName: "example.com", Roots: roots}, "", ""},
		{"verified, another name", Check{Kind: TLS, ServerName: "chat.example.org", Roots: roots}, "certificate: ", "not chat.example.org"},
		{"verified, unknown authority", Check{Kind: TLS, ServerName: "example.com", Roots: x509.NewCertPool()}, "unknown authority", "unknown authority"},
		{"https", Check{Kind: HTTPS, ServerName: "example.com", Roots: roots, Request: &Request{Match: Contains("ok")}}, "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := tt.check.Run(t.Context(), dialTo(s.Listener.Addr().String()))
			wantErr(t, r.Err, tt.err)
			if r.Certificate == nil || !r.Certificate.NotAfter.Equal(s.Certificate().NotAfter) {
				t.Fatalf("certificate %+v", r.Certificate)
			}
			wantErr(t, r.Certificate.Problem, tt.problem)
			if sni != tt.check.ServerName {
				t.Errorf("SNI %q, want %q", sni, tt.check.ServerName)
			}
		})
	}
}

// A server that accepts and says nothing passes a tcp check, and no other.
func TestSilentServer(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	for _, tt := range []struct {
		kind Kind
		req  *Request
		well bool
	}{{TCP, nil, true}, {TLS, nil, false}, {HTTP, &Request{}, false}, {HTTPS, &Request{}, false}} {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		c := Check{Kind: tt.kind, Request: tt.req}
		r := c.Run(ctx, dialTo(ln.Addr().String()))
		cancel()
		if (r.Err == nil) != tt.well || r.Took > 5*time.Second {
			t.Errorf("%s: %v after %v", tt.kind, r.Err, r.Took)
		}
	}
}

// What a server sends without end is not read without end.
func TestEndlessHeader(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		_, _ = c.Write([]byte("HTTP/1.1 200 OK\r\n"))
		for err == nil {
			_, err = c.Write([]byte("X-Junk: " + strings.Repeat("x", 1000) + "\r\n"))
		}
	}()
	c := Check{Kind: HTTP, Request: &Request{}}
	if r := c.Run(t.Context(), dialTo(ln.Addr().String())); r.Err == nil {
		t.Error("it passed")
	}
}
