package terminate

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// preauthServer answers as a route does. Requests that Check accepts reach the
// upstream, which here only counts them.
type preauthServer struct {
	*httptest.Server
	upstream atomic.Int64
}

func startPreauth(t *testing.T, p *Preauth) *preauthServer {
	t.Helper()
	s := &preauthServer{}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch p.Check(r) {
		case Pass, Exempt:
			s.upstream.Add(1)
		case Malformed:
			http.Error(w, "bad request target", http.StatusBadRequest)
		case Refused:
			w.Header()["X-Reject-Reason"] = []string{"someone else's"}
			Refuse(w, r)
		}
	}))
	s.Config.DisableGeneralOptionsHandler = true
	return s
}

// preauthAll requires secretOne and exempts everything that presets exempt.
func preauthAll(t *testing.T, base string) *Preauth {
	secrets := mustLoadSecrets(t, "current: "+secretOne)
	return &Preauth{
		Secrets:  func() *Secrets { return secrets },
		Exempt:   exemptPresets(t, base, PresetNames()...),
		BasePath: base,
	}
}

// answer sends a request as it is and returns the response, parsed and raw. The
// server must have closed the connection after it.
func (s *preauthServer) answer(t *testing.T, request string) (resp *http.Response, wire string) {
	t.Helper()
	conn, err := net.Dial("tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	raw, err := io.ReadAll(conn)
	if err != nil {
		t.Fatal(err)
	}
	method, _, _ := strings.Cut(request, " ")
	resp, err = http.ReadResponse(bufio.NewReader(bytes.NewReader(raw)), &http.Request{Method: method})
	if err != nil {
		t.Fatalf("answer %q: %v", raw, err)
	}
	return resp, string(raw)
}

// preauthRequest returns a request with the given header lines.
func preauthRequest(line string, headers ...string) string {
	headers = append([]string{line + " HTTP/1.1", "Host: h", "Content-Length: 0"}, headers...)
	if !strings.Contains(strings.ToLower(strings.Join(headers, "\n")), "\nconnection:") {
		headers = append(headers, "Connection: close")
	}
	return strings.Join(headers, "\r\n") + "\r\n\r\n"
}

// check sends a request and fails unless the status is want, and unless the
// request has reached the upstream only if that is 200.
func (s *preauthServer) check(t *testing.T, want int, request string) {
	t.Helper()
	before := s.upstream.Load()
	resp, wire := s.answer(t, request)
	if resp.StatusCode != want {
		t.Errorf("%q: status %d, want %d", request, resp.StatusCode, want)
	}
	if got := s.upstream.Load() - before; (got == 1) != (want == http.StatusOK) {
		t.Errorf("%q: %d requests upstream", request, got)
	}
	marked := strings.Contains(strings.ToLower(wire), "reject-reason")
	if marked != (want == http.StatusForbidden) {
		t.Errorf("%q: reject header: %v, status %d", request, marked, resp.StatusCode)
	}
}

const goodSecret = SecretHeader + ": " + secretOne

func TestPreauthTargets(t *testing.T) {
	const exempt, secret, bad = 200, 403, 400
	tests := []struct {
		line string // BASE is replaced by the base path
		want int    // without a secret; with one it is 200 unless this is 400
	}{
		{"GET BASE/static/a.js", exempt},
		{"HEAD BASE/static/a.js", exempt},
		{"GET BASE/static/a.js?x=/../..&y=%", exempt},
		{"GET http://hBASE/static/a.js", exempt},
		{"GET HTTP://h:8443BASE/static/a.js?x", exempt},
		{"POST BASE/api/v4/notifications/ack", exempt},
		{"GET BASE/api/v4/config/client?format=old", exempt},
		{"GET BASE/oauth/gitlab/login", exempt},
		{"POST BASE/login/sso/saml", exempt},

		{"GET BASE/", secret},
		{"GET BASE/api/v4/users/me", secret},
		{"HEAD BASE/", secret},
		{"GET BASE/api/v4/system/ping?device_id=x", secret},
		{"POST BASE/static/a.js", secret},
		{"OPTIONS BASE/static/a.js", secret},
		{"TRACE BASE/static/a.js", secret},
		{"GET BASE/api/v4/notifications/ack", secret},
		{"GET BASE/static/../api/v4/users/me", secret},
		{"GET BASE/static/%2e%2e/api/v4/users/me", secret},
		{"GET BASE/static/%2E./api/v4/users/me", secret},
		{"GET BASE/static/..%2fapi/v4/users/me", secret},
		{"GET BASE/static%2f..%2fapi/v4/users/me", secret},
		{"GET BASE/static/%252e%252e/api", secret},
		{"GET /BASE/static/a.js", secret}, // "//static" or "//mattermost/static"
		{"GET BASE//static/a.js", secret},
		{"GET BASE/static//a.js", secret},
		{"GET BASE/static/./a.js", secret},
		{"GET BASE/./static/a.js", secret},
		{"GET BASE/static/x/../a.js", secret},
		{"GET BASE/static/..", secret},
		{`GET BASE/static/..\api`, secret},
		{"GET BASE/static/\xc3\xa4.js", secret},
		{"GET BASE/static/a%20b.js", secret},
		{"GET BASE/static", secret},
		{"GET BASE/STATIC/a.js", secret},
		{"POST BASE/api/v4/notifications/ack/", secret},
		{"POST BASE/API/v4/notifications/ack", secret},
		{"GET BASE/x/%61pi/v4/config/client/..", secret},
		{"GET BASE/%61pi/v4/config/client", secret},
		{"GET BASE/api/v4/config/client%3Fx", secret},
		{"GET BASE/api/v4/users/me?/static/a.js", secret},
		{"GET BASE/api/v4/users/me;/static/a.js", secret},
		{"GET http://hBASE/static/../api/v4/users/me", secret},
		{"GET http://h//static/a.js", secret},

		{"GET /../static/a.js", bad},
		{"GET /..BASE/static/a.js", bad},
		{"GET /%2e%2eBASE/static/a.js", bad},
		{"GET BASE/static/%2e%2e/../../..", bad},
		{"GET BASE/static/..%2f..%2f..%2f..", bad},
		{"GET BASE/static/a.js%00", bad},
		{"GET BASE/static/%zz", bad},
		{"GET BASE/static/%", bad},
		{"GET BASE/static/#/../api/v4/users", bad},
		{"GET BASE/static/a.js?#", bad},
		{"GET http://h/../static/a.js", bad},
		{"GET http:///static/a.js", bad},
		{"GET ftp://hBASE/static/a.js", bad},
		{"GET http:BASE/static/a.js", bad},
		{"OPTIONS *", bad},
		{"GET *", bad},
		{"CONNECT h:443", bad},
		{"CONNECT BASE/static/a.js", bad},
		{"CONNECT http://hBASE/static/a.js", bad},
	}
	for _, base := range []string{"", "/mattermost"} {
		s := startPreauth(t, preauthAll(t, base))
		s.Start()
		defer s.Close()
		for _, tt := range tests {
			line := strings.ReplaceAll(tt.line, "BASE", base)
			t.Run(line, func(t *testing.T) {
				s.check(t, tt.want, preauthRequest(line))
				if tt.want == exempt {
					s.check(t, exempt, preauthRequest(line, SecretHeader+": wrong"))
				}
				withSecret := tt.want
				if tt.want == secret {
					withSecret = http.StatusOK
				}
				s.check(t, withSecret, preauthRequest(line, goodSecret))
			})
		}
	}
}

func TestPreauthBasePathIsPartOfExemptions(t *testing.T) {
	p := preauthAll(t, "/mattermost")
	p.ExemptWebSocket = true
	s := startPreauth(t, p)
	s.Start()
	defer s.Close()
	for _, line := range []string{
		"GET /static/a.js", "POST /api/v4/notifications/ack", "GET /login/sso/saml",
		"GET /mattermost", "GET /mattermost/", "GET /mattermoststatic/a.js", "GET /mattermost/../static/a.js",
		"GET /mattermost/mattermost/static/a.js", "GET /Mattermost/static/a.js",
	} {
		s.check(t, http.StatusForbidden, preauthRequest(line))
	}
	handshake := []string{"Connection: Upgrade, close", "Upgrade: websocket"}
	s.check(t, http.StatusForbidden, preauthRequest("GET /api/v4/websocket", handshake...))
	s.check(t, http.StatusOK, preauthRequest("GET /mattermost/api/v4/websocket", handshake...))
}

// wrongSecrets returns values similar to a secret, all of them wrong.
func wrongSecrets(good string) []string {
	wrong := []string{
		"", "x", "null", "true", "*", strings.ToLower(good), strings.ToUpper(good),
		good + good, good + "," + good, good + ", x", "x, " + good, good + ";", "=" + good, good + "=",
		`"` + good + `"`, "'" + good + "'", "Bearer " + good, "current: " + good, "current", good + " x", "x " + good,
		url.QueryEscape(good), base64.StdEncoding.EncodeToString([]byte(good)), strings.TrimRight(good, "="),
		strings.NewReplacer("+", "-", "/", "_").Replace(good), strings.ReplaceAll(good, "+", " "),
		good + strings.Repeat("x", maxSecretBytes), strings.Repeat(good, 200), good + "\xff", good + "\u00a0",
		secretTwo, good[1:] + good[:1],
	}
	for i := range good {
		if i%2 == 1 {
			wrong = append(wrong, good[:i], good[i:])
		}
		other := good[i] + 1
		if c := good[i] ^ 0x20; 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z' {
			other = c
		}
		wrong = append(wrong, good[:i]+string(other)+good[i+1:])
	}
	return wrong
}

func TestPreauthWrongSecrets(t *testing.T) {
	s := startPreauth(t, preauthAll(t, ""))
	s.Start()
	defer s.Close()
	wrong := wrongSecrets(secretOne)
	if len(wrong) < 100 {
		t.Fatalf("only %d variants", len(wrong))
	}
	for _, value := range wrong {
		s.check(t, http.StatusForbidden, preauthRequest("GET /api/v4/users/me", SecretHeader+": "+value))
	}
	s.check(t, http.StatusForbidden, preauthRequest("GET /api/v4/users/me"))
	s.check(t, http.StatusOK, preauthRequest("GET /api/v4/users/me", goodSecret))
}

func TestPreauthHeaderLines(t *testing.T) {
	p := preauthAll(t, "")
	var used []string
	p.Used = func(label string) { used = append(used, label) }
	s := startPreauth(t, p)
	s.Start()
	defer s.Close()
	tests := []struct {
		name  string
		lines []string
		ok    bool
	}{
		{"one", []string{goodSecret}, true},
		{"lower case", []string{strings.ToLower(SecretHeader) + ": " + secretOne}, true},
		{"upper case", []string{strings.ToUpper(SecretHeader) + ": " + secretOne}, true},
		{"mixed case", []string{"x-mATTERMOST-pReAuTh-sEcReT: " + secretOne}, true},
		{"blanks around the value", []string{SecretHeader + ":\t " + secretOne + " \t"}, true},
		{"no blank", []string{SecretHeader + ":" + secretOne}, true},
		{"good beside an underscore", []string{goodSecret, "X_Mattermost_Preauth_Secret: wrong"}, true},

		{"none", nil, false},
		{"good and bad", []string{goodSecret, SecretHeader + ": wrong"}, false},
		{"bad and good", []string{SecretHeader + ": wrong", goodSecret}, false},
		{"good and good", []string{goodSecret, goodSecret}, false},
		{"good and empty", []string{goodSecret, SecretHeader + ":"}, false},
		{"good and good in other case", []string{goodSecret, strings.ToLower(goodSecret[:len(SecretHeader)]) + ": " + secretOne}, false},
		{"list of good and bad", []string{goodSecret + ",wrong"}, false},
		{"list of good and good", []string{goodSecret + ", " + secretOne}, false},
		{"underscores", []string{"X_Mattermost_Preauth_Secret: " + secretOne}, false},
		{"one underscore", []string{"X-Mattermost-Preauth_Secret: " + secretOne}, false},
		{"other header", []string{"Authorization: " + secretOne}, false},
		{"longer name", []string{SecretHeader + "s: " + secretOne}, false},
		{"cookie", []string{"Cookie: " + SecretHeader + "=" + secretOne}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			used = nil
			want, label := http.StatusForbidden, "[]"
			if tt.ok {
				want, label = http.StatusOK, "[current]"
			}
			s.check(t, want, preauthRequest("GET /api/v4/users/me", tt.lines...))
			if got := fmt.Sprint(used); got != label {
				t.Errorf("used %s, want %s", got, label)
			}
		})
	}
	if got := http.CanonicalHeaderKey(SecretHeader); got != SecretHeader {
		t.Errorf("the header map has %s, not %s", got, SecretHeader)
	}
}

// A secret in the trailer of a chunked body does not count.
func TestPreauthSecretInTrailer(t *testing.T) {
	s := startPreauth(t, preauthAll(t, ""))
	s.Start()
	defer s.Close()
	s.check(t, http.StatusForbidden, "POST /api/v4/posts HTTP/1.1\r\nHost: h\r\nConnection: close\r\n"+
		"Transfer-Encoding: chunked\r\nTrailer: "+SecretHeader+"\r\n\r\n0\r\n"+goodSecret+"\r\n\r\n")
}

func TestPreauthWebSocket(t *testing.T) {
	const upgrade, connection = "Upgrade: websocket", "Connection: close, Upgrade"
	tests := []struct {
		name, line string
		headers    []string
		want       bool // exempt, if the option is set
	}{
		{"handshake", "GET /api/v4/websocket", []string{upgrade, connection}, true},
		{"with a query", "GET /api/v4/websocket?connection_id=x&sequence_number=1", []string{upgrade, connection}, true},
		{"other case", "GET /api/v4/websocket", []string{"uPGRADE: WebSocket", "connection: CLOSE,UPGRADE"}, true},
		{"Connection in two lines", "GET /api/v4/websocket", []string{upgrade, "Connection: close", "Connection: upgrade"}, true},
		{"wrong secret", "GET /api/v4/websocket", []string{upgrade, connection, SecretHeader + ": wrong"}, true},

		{"no Upgrade", "GET /api/v4/websocket", []string{connection}, false},
		{"no Connection", "GET /api/v4/websocket", []string{upgrade}, false},
		{"Connection names another", "GET /api/v4/websocket", []string{upgrade, "Connection: close, upgrades"}, false},
		{"empty Upgrade", "GET /api/v4/websocket", []string{"Upgrade:", connection}, false},
		{"h2c", "GET /api/v4/websocket", []string{"Upgrade: h2c", connection}, false},
		{"h2c and websocket", "GET /api/v4/websocket", []string{"Upgrade: h2c, websocket", connection}, false},
		{"websocket and h2c", "GET /api/v4/websocket", []string{"Upgrade: websocket, h2c", connection}, false},
		{"Upgrade in two lines", "GET /api/v4/websocket", []string{upgrade, "Upgrade: h2c", connection}, false},
		{"websocket twice", "GET /api/v4/websocket", []string{upgrade, upgrade, connection}, false},
		{"websocket with version", "GET /api/v4/websocket", []string{"Upgrade: websocket/13", connection}, false},
		{"POST", "POST /api/v4/websocket", []string{upgrade, connection}, false},
		{"HEAD", "HEAD /api/v4/websocket", []string{upgrade, connection}, false},
		{"OPTIONS", "OPTIONS /api/v4/websocket", []string{upgrade, connection}, false},
		{"other path", "GET /api/v4/users/me", []string{upgrade, connection}, false},
		{"old path", "GET /api/v4/users/websocket", []string{upgrade, connection}, false},
		{"slash at the end", "GET /api/v4/websocket/", []string{upgrade, connection}, false},
		{"below it", "GET /api/v4/websocket/x", []string{upgrade, connection}, false},
		{"other case of the path", "GET /api/v4/WebSocket", []string{upgrade, connection}, false},
		{"escape", "GET /api/v4/websocke%74", []string{upgrade, connection}, false},
		{"out of it", "GET /api/v4/websocket/../users/me", []string{upgrade, connection}, false},
		{"into it", "GET /x/../api/v4/websocket", []string{upgrade, connection}, false},
		{"doubled slash", "GET //api/v4/websocket", []string{upgrade, connection}, false},
	}
	for _, on := range []bool{false, true} {
		p := preauthAll(t, "")
		p.ExemptWebSocket = on
		s := startPreauth(t, p)
		s.Start()
		defer s.Close()
		for _, tt := range tests {
			t.Run(fmt.Sprintf("%s, option %v", tt.name, on), func(t *testing.T) {
				want := http.StatusForbidden
				if on && tt.want {
					want = http.StatusOK
				}
				s.check(t, want, preauthRequest(tt.line, tt.headers...))
			})
		}
		s.check(t, http.StatusOK, preauthRequest("GET /api/v4/websocket", upgrade, connection, goodSecret))
		s.check(t, http.StatusForbidden, strings.Replace(
			preauthRequest("GET /api/v4/websocket", upgrade, connection), "HTTP/1.1", "HTTP/1.0", 1))
	}
}

// Attempts to get past the first request of a connection: without a secret each
// of them is refused, or is not parsed as a request at all.
func TestPreauthProtocolTricks(t *testing.T) {
	p := preauthAll(t, "")
	p.ExemptWebSocket = true
	s := startPreauth(t, p)
	s.Start()
	defer s.Close()
	settings := "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA"
	s.check(t, http.StatusForbidden, preauthRequest("GET /api/v4/users/me",
		"Connection: close, Upgrade, HTTP2-Settings", "Upgrade: h2c", settings))
	s.check(t, http.StatusForbidden, preauthRequest("GET /api/v4/users/me", "X-Original-URL: /static/a.js",
		"X-Rewrite-URL: /static/a.js", "X-Forwarded-Prefix: /static", "X-HTTP-Method-Override: GET"))
	s.check(t, http.StatusForbidden, preauthRequest("GET /api/v4/users/me", "Connection: close, "+SecretHeader))
	s.check(t, http.StatusBadRequest, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
	extended := &http.Request{
		Method: http.MethodConnect, Proto: "HTTP/2.0", ProtoMajor: 2, RequestURI: "/api/v4/websocket",
		Header: http.Header{":protocol": {"websocket"}, SecretHeader: {secretOne}},
	}
	if got := p.Check(extended); got != Malformed {
		t.Errorf("extended CONNECT: %v, want %v", got, Malformed)
	}
	// HTTP/2 has no Upgrade, RFC 9113 section 8.6.
	handshake := &http.Request{
		Method: http.MethodGet, Proto: "HTTP/2.0", ProtoMajor: 2, RequestURI: "/api/v4/websocket",
		Header: http.Header{"Upgrade": {"websocket"}, "Connection": {"Upgrade"}},
	}
	if got := p.Check(handshake); got != Refused {
		t.Errorf("handshake in HTTP/2: %v, want %v", got, Refused)
	}
}

func TestPreauthSecretsRotate(t *testing.T) {
	var now atomic.Pointer[Secrets]
	p := preauthAll(t, "")
	p.Secrets = now.Load
	s := startPreauth(t, p)
	s.Start()
	defer s.Close()
	for _, step := range []struct {
		name, file string
		one, two   int
	}{
		{"first alone", "a: " + secretOne, 200, 403},
		{"both", "b: " + secretTwo + "\na: " + secretOne, 200, 200},
		{"second alone", "b: " + secretTwo, 403, 200},
		{"first expired", "b: " + secretTwo + "\na until 2001-01-01: " + secretOne, 403, 200},
	} {
		now.Store(mustLoadSecrets(t, step.file))
		t.Run(step.name, func(t *testing.T) {
			s.check(t, step.one, preauthRequest("GET /", SecretHeader+": "+secretOne))
			s.check(t, step.two, preauthRequest("GET /", SecretHeader+": "+secretTwo))
		})
	}
}
