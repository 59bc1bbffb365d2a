package terminate

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
)

// A request for a name that leads to another route is refused, however the name
// is written. A request for a name of this route is accepted.
func TestHostOfAnotherRouteIsRefused(t *testing.T) {
	server := startRecorder(t, nil)
	r := startRig(t, setting{}, server.addr)
	tests := []struct {
		name, host string
		want       int
	}{
		{"the name", chat, 200},
		{"mixed case", "Chat.EXAMPLE.com", 200},
		{"trailing dot", chat + ".", 200},
		{"port", chat + ":443", 200},
		{"another port", chat + ":8443", 200},
		{"no port after the colon", chat + ":", 200},
		{"the other name of the route", alias, 200},
		{"another route", elsewhere, 421},
		{"another route, mixed case", "ElseWhere.Example.Com", 421},
		{"another route, trailing dot", elsewhere + ".", 421},
		{"another route, port", elsewhere + ":443", 421},
		{"a subdomain", "a." + chat, 421},
		{"the parent", "example.com", 421},
		{"a wildcard", "*.example.com", 421},
		{"two trailing dots", chat + "..", 421},
		{"an address", "127.0.0.1", 421},
		{"an IPv6 address", "[::1]:443", 421},
		{"a list", chat + "," + elsewhere, 421},
		{"a user", elsewhere + "@" + chat, 400},
		{"a user instead of a port", chat + ":x@" + elsewhere, 400},
		{"a port that is not a number", chat + ":https", 400},
		{"a port with a sign", chat + ":+443", 400},
		{"a port out of range", chat + ":65536", 400},
		{"two ports", chat + ":443:443", 421},
		{"underscore", "chat_example.com", 421},
	}
	status := map[string]func(host string) string{
		"HTTP/1.1": func(host string) string {
			got := r.raw("GET / HTTP/1.1\r\nHost: "+host+"\r\n\r\n", 1)
			if len(got) == 0 {
				return ""
			}
			return strconv.Itoa(got[0].StatusCode)
		},
		"HTTP/2.0": func(host string) string {
			h := r.http2()
			h.request(1, true, ":method", "GET", ":scheme", "https", ":path", "/", ":authority", host)
			return h.status(1)
		},
	}
	for _, protocol := range protocols {
		for _, tt := range tests {
			t.Run(protocol+" "+tt.name, func(t *testing.T) {
				got := status[protocol](tt.host)
				reached := server.take()
				if got == "" && protocol == "HTTP/2.0" && tt.want == 400 {
					got = "400" // net/http resets the stream if it cannot parse the request
				}
				if got != strconv.Itoa(tt.want) || (len(reached) > 0) != (tt.want == 200) {
					t.Errorf("got status %s and %d requests at the server, want status %d", got, len(reached), tt.want)
				}
				if len(reached) > 0 && reached[0].Host != tt.host {
					t.Errorf("the server got the host %q, want %q", reached[0].Host, tt.host)
				}
			})
		}
	}
}

// In a target in absolute form the authority is the host, whatever the Host
// header says (RFC 9112 section 3.2.2).
func TestHostOfAbsoluteTarget(t *testing.T) {
	server := startRecorder(t, nil)
	r := startRig(t, setting{}, server.addr)
	tests := []struct {
		target, host string
		want         int
		at           string
	}{
		{"https://" + chat + "/a", chat, 200, "/a"},
		{"http://" + chat + ":443/a?b", elsewhere, 200, "/a?b"},
		{"https://" + chat, chat, 200, "/"},
		{"https://" + chat + "?b", chat, 200, "/?b"},
		{"https://" + elsewhere + "/a", chat, 421, ""},
		{"https://" + strings.ToUpper(elsewhere) + "./a", chat, 421, ""},
		{"https://a@" + chat + "/a", chat, 400, ""},
		{"https:///a", chat, 400, ""},
		{"https:/a", chat, 400, ""},
		{"ftp://" + chat + "/a", chat, 400, ""},
		{chat + "/a", chat, 400, ""},
		{"//" + elsewhere + "/a", chat, 200, "//" + elsewhere + "/a"}, // a path
	}
	for _, tt := range tests {
		t.Run(tt.target, func(t *testing.T) {
			got := r.raw(fmt.Sprintf("GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", tt.target, tt.host), 0)
			reached := server.take()
			if len(got) != 1 || got[0].StatusCode != tt.want || (len(reached) > 0) != (tt.want == 200) {
				t.Fatalf("got %v and %d requests at the server, want status %d", got, len(reached), tt.want)
			}
			if tt.want == 200 && (reached[0].Target != tt.at || sniffed(reached[0].Host) != chat) {
				t.Errorf("the server got %+v, want the target %s", reached[0], tt.at)
			}
		})
	}
}

// sniffed returns a host without its port.
func sniffed(host string) string {
	name, _, _ := strings.Cut(host, ":")
	return name
}

// Requests with two Host headers, without one, and with a malformed one are
// refused.
func TestMissingOrRepeatedHostIsRefused(t *testing.T) {
	server := startRecorder(t, nil)
	r := startRig(t, setting{}, server.addr)
	for name, head := range map[string]string{
		"two":                   "GET / HTTP/1.1\r\nHost: " + chat + "\r\nHost: " + chat + "\r\n",
		"two that differ":       "GET / HTTP/1.1\r\nHost: " + chat + "\r\nHost: " + elsewhere + "\r\n",
		"none":                  "GET / HTTP/1.1\r\n",
		"none in HTTP/1.0":      "GET / HTTP/1.0\r\n",
		"empty":                 "GET / HTTP/1.1\r\nHost:\r\n",
		"blanks":                "GET / HTTP/1.1\r\nHost:  \t \r\n",
		"a path":                "GET / HTTP/1.1\r\nHost: " + chat + "/x\r\n",
		"a blank":               "GET / HTTP/1.1\r\nHost: " + chat + " " + elsewhere + "\r\n",
		"a tab":                 "GET / HTTP/1.1\r\nHost: " + chat + "\t" + elsewhere + "\r\n",
		"a control byte":        "GET / HTTP/1.1\r\nHost: " + chat + "\x01\r\n",
		"NUL":                   "GET / HTTP/1.1\r\nHost: " + chat + "\x00\r\n",
		"bytes above ASCII":     "GET / HTTP/1.1\r\nHost: ch\xc3\xa4t.example.com\r\n",
		"a blank before":        "GET / HTTP/1.1\r\n Host: " + chat + "\r\n",
		"a blank before the :":  "GET / HTTP/1.1\r\nHost : " + chat + "\r\n",
		"only in the body":      "GET / HTTP/1.1\r\nContent-Length: 26\r\n\r\nHost: " + chat + "\r\n",
		"the version is HTTP/2": "GET / HTTP/2.0\r\nHost: " + chat + "\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			got := r.raw(head+"Connection: close\r\n\r\n", 1)
			if len(got) != 1 || got[0].StatusCode != 400 && got[0].StatusCode != 421 && got[0].StatusCode != 505 {
				t.Errorf("got %v, want status 400", got)
			}
			if reached := server.take(); len(reached) > 0 {
				t.Errorf("the server got %+v", reached)
			}
		})
	}
}

// Methods that a proxy would have to handle itself are refused. Upgrades other
// than WebSocket are removed from requests or refused.
func TestMethodsAndUpgradesRefused(t *testing.T) {
	server := startRecorder(t, nil)
	r := startRig(t, setting{}, server.addr)
	host := "Host: " + chat + "\r\n"
	tests := []struct {
		name, request string
		want          int
		reaches       bool
	}{
		{"CONNECT", "CONNECT " + chat + ":443 HTTP/1.1\r\n" + host, 405, false},
		{"CONNECT elsewhere", "CONNECT " + elsewhere + ":443 HTTP/1.1\r\n" + host, 421, false},
		{"CONNECT a path", "CONNECT /a HTTP/1.1\r\n" + host, 405, false},
		{"TRACE", "TRACE / HTTP/1.1\r\n" + host, 405, false},
		{"OPTIONS *", "OPTIONS * HTTP/1.1\r\n" + host, 400, false},
		{"GET *", "GET * HTTP/1.1\r\n" + host, 400, false},
		{"OPTIONS of a path", "OPTIONS /a HTTP/1.1\r\n" + host, 200, true},
		{"h2c upgrade", "GET / HTTP/1.1\r\n" + host + "Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n", 200, true},
		{"h2c upgrade of a POST", "POST / HTTP/1.1\r\n" + host + "Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\nContent-Length: 0\r\n", 200, true},
		{"h2c and websocket", "GET / HTTP/1.1\r\n" + host + "Upgrade: websocket, h2c\r\nConnection: Upgrade\r\n", 200, true},
		{"two Upgrade lines", "GET / HTTP/1.1\r\n" + host + "Upgrade: websocket\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n", 200, true},
		{"upgrade to TLS", "OPTIONS /a HTTP/1.1\r\n" + host + "Upgrade: TLS/1.0\r\nConnection: Upgrade\r\n", 200, true},
		{"websocket by POST", "POST / HTTP/1.1\r\n" + host + "Upgrade: websocket\r\nConnection: Upgrade\r\nContent-Length: 0\r\n", 200, true},
		{"websocket over HTTP/1.0", "GET / HTTP/1.0\r\n" + host + "Upgrade: websocket\r\nConnection: Upgrade\r\n", 200, true},
		{"prior knowledge", "PRI * HTTP/2.0\r\n\r\nSM\r\n", 400, false},
		{"prior knowledge with a host", "PRI * HTTP/2.0\r\n" + host + "\r\nSM\r\n", 400, false},
		{"a target with a fragment", "GET /a#b HTTP/1.1\r\n" + host, 400, false},
		{"a bad escape", "GET /%zz HTTP/1.1\r\n" + host, 400, false},
		{"an escaped NUL", "GET /a%00b HTTP/1.1\r\n" + host, 400, false},
		{"above the top", "GET /../a HTTP/1.1\r\n" + host, 400, false},
		{"above the top, escaped", "GET /%2e%2e/a HTTP/1.1\r\n" + host, 400, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := r.raw(tt.request+"\r\n", 1)
			reached := server.take()
			if len(got) != 1 || got[0].StatusCode != tt.want || (len(reached) == 1) != tt.reaches || len(reached) > 1 {
				t.Fatalf("got %v and %d requests at the server; want status %d, %v", got, len(reached), tt.want, tt.reaches)
			}
			if allow := got[0].Header.Get("Allow"); tt.want == 405 && allow != allowed {
				t.Errorf("got Allow: %q", allow)
			}
			for _, q := range reached {
				if q.Header.Get("Upgrade") != "" || q.Header.Get("Connection") != "" || q.Header.Get("HTTP2-Settings") != "" {
					t.Errorf("the server got %v", q.Header)
				}
			}
		})
	}
}

// CONNECT and extended CONNECT (RFC 8441) over HTTP/2 do not reach a server.
func TestConnectOverHTTP2IsRefused(t *testing.T) {
	server := startRecorder(t, nil)
	r := startRig(t, setting{}, server.addr)
	for _, tt := range []struct {
		name   string
		fields []string
		want   string // status, or "" if the stream is reset
	}{
		{"CONNECT", []string{":method", "CONNECT", ":authority", chat + ":443"}, "405"},
		{"CONNECT elsewhere", []string{":method", "CONNECT", ":authority", elsewhere + ":443"}, "421"},
		{"extended CONNECT", []string{":method", "CONNECT", ":protocol", "websocket", ":scheme", "https", ":path", "/api/v4/websocket", ":authority", chat}, ""},
		{"two authorities", []string{":method", "GET", ":scheme", "https", ":path", "/", ":authority", chat, ":authority", elsewhere}, ""},
		{"Host elsewhere", []string{":method", "GET", ":scheme", "https", ":path", "/", ":authority", elsewhere, "host", chat}, "421"},
		{"Host alone, elsewhere", []string{":method", "GET", ":scheme", "https", ":path", "/", "host", elsewhere}, "421"},
		{"no authority", []string{":method", "GET", ":scheme", "https", ":path", "/"}, "400"},
		{"OPTIONS *", []string{":method", "OPTIONS", ":scheme", "https", ":path", "*", ":authority", chat}, "400"},
		{"TRACE", []string{":method", "TRACE", ":scheme", "https", ":path", "/", ":authority", chat}, "405"},
		{"an absolute path", []string{":method", "GET", ":scheme", "https", ":path", "https://" + elsewhere + "/", ":authority", chat}, ""},
		{"Connection", []string{":method", "GET", ":scheme", "https", ":path", "/", ":authority", chat, "connection", "upgrade"}, ""},
		{"Transfer-Encoding", []string{":method", "GET", ":scheme", "https", ":path", "/", ":authority", chat, "transfer-encoding", "chunked"}, ""},
		{"Upgrade", []string{":method", "GET", ":scheme", "https", ":path", "/", ":authority", chat, "upgrade", "websocket"}, ""},
		{"a line feed in a value", []string{":method", "GET", ":scheme", "https", ":path", "/", ":authority", chat, "a", "b\r\nc: d"}, ""},
		{"a line feed in a path", []string{":method", "GET", ":scheme", "https", ":path", "/\r\nHost: a", ":authority", chat}, ""},
		{"a line feed in the method", []string{":method", "GET / HTTP/1.1\r\nHost: a", ":scheme", "https", ":path", "/", ":authority", chat}, ""},
		{"capitals", []string{":method", "GET", ":scheme", "https", ":path", "/", ":authority", chat, "X-A", "b"}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := r.http2()
			h.request(1, true, tt.fields...)
			status := h.status(1)
			if reached := server.take(); len(reached) > 0 {
				t.Errorf("the server got %+v", reached)
			}
			if status != tt.want && !(tt.want == "" && strings.HasPrefix(status, "4")) {
				t.Errorf("got status %q, want %q", status, tt.want)
			}
		})
	}
}

// Responses of culvert's own are not cacheable, reveal nothing about servers,
// and have no body for HEAD.
func TestRefusalsLookAlike(t *testing.T) {
	r := startRig(t, setting{}, closedAddr(t))
	for _, protocol := range protocols {
		for _, method := range []string{"GET", "HEAD", "POST", "TRACE"} {
			q := newRequest(t, method, "/", nil)
			q.Host = elsewhere
			got := r.do(r.client(protocol), q)
			if got.StatusCode != 421 || got.Header.Get("Cache-Control") != "no-store" || got.Header.Get("Server") != "" {
				t.Errorf("%s %s: got %s, %v", protocol, method, got.Status, got.Header)
			}
			if want := (method != "HEAD"); (got.body == http.StatusText(421)+"\n") != want {
				t.Errorf("%s %s: got the body %q", protocol, method, got.body)
			}
			if q := r.report(); q.Refused != "misdirected" || q.Status != 421 || q.Tries != 0 || q.Server != "" {
				t.Errorf("%s %s: got %+v", protocol, method, q)
			}
		}
	}
}
