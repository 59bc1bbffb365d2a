package terminate

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestPreauthRefusesByDefault(t *testing.T) {
	for name, p := range map[string]*Preauth{
		"zero value":       {},
		"no secrets":       {Secrets: func() *Secrets { return nil }},
		"empty secrets":    {Secrets: func() *Secrets { return &Secrets{} }},
		"odd base path":    {BasePath: "/x/..", ExemptWebSocket: true},
		"slash as a base":  {BasePath: "/", ExemptWebSocket: true},
		"exempts nothing":  {Exempt: &Exemptions{}},
		"option, no match": {ExemptWebSocket: true},
	} {
		for _, value := range []string{"", secretOne} {
			r := httptest.NewRequest(http.MethodGet, p.BasePath+"/static/a.js", nil)
			r.Header.Set(SecretHeader, value)
			if got := p.Check(r); got != Refused {
				t.Errorf("%s, secret %q: %v, want %v", name, value, got, Refused)
			}
		}
	}
	for _, target := range []string{"/x/../api/v4/websocket", "//api/v4/websocket"} {
		r := httptest.NewRequest(http.MethodGet, target, nil)
		r.RequestURI = target
		r.Header = http.Header{"Upgrade": {"websocket"}, "Connection": {"Upgrade"}}
		p := &Preauth{BasePath: strings.TrimSuffix(target, webSocketPath), ExemptWebSocket: true}
		if got := p.Check(r); got != Refused {
			t.Errorf("%s below base path %s: %v, want %v", target, p.BasePath, got, Refused)
		}
	}
	var v Verdict
	if v != Refused {
		t.Errorf("the zero Verdict is %v, want %v", v, Refused)
	}
}

func TestPreauthVerdicts(t *testing.T) {
	p := preauthAll(t, "")
	for _, tt := range []struct {
		target, secret string
		want           Verdict
		text           string
	}{
		{"/", secretOne, Pass, "pass"},
		{"/static/a.js", secretOne, Pass, "pass"},
		{"/static/a.js", secretTwo, Exempt, "exempt"},
		{"/", secretTwo, Refused, "refused"},
		{"/..", secretOne, Malformed, "malformed"},
	} {
		r := &http.Request{Method: http.MethodGet, RequestURI: tt.target, Header: http.Header{SecretHeader: {tt.secret}}}
		if got := p.Check(r); got != tt.want || got.String() != tt.text {
			t.Errorf("%s: %v, want %s", tt.target, got, tt.text)
		}
	}
}

// Apps compare the complete value, older ones know only the name in lower case,
// and the desktop app ignores the status.
func TestPreauthRefusal(t *testing.T) {
	s := startPreauth(t, preauthAll(t, ""))
	s.Start()
	defer s.Close()
	for _, method := range []string{"GET", "HEAD", "POST", "PUT", "DELETE"} {
		t.Run(method, func(t *testing.T) {
			resp, wire := s.answer(t, preauthRequest(method+" /"))
			if !strings.HasPrefix(wire, "HTTP/1.1 403 ") {
				t.Errorf("status line of %q", wire)
			}
			if got := strings.Count(wire, "\r\nx-reject-reason: pre-auth\r\n"); got != 1 {
				t.Errorf("%d lines x-reject-reason: pre-auth in %q", got, wire)
			}
			if got := strings.Count(strings.ToLower(wire), "reject"); got != 1 {
				t.Errorf("%d reject headers in %q", got, wire)
			}
			if got := resp.Header["Cache-Control"]; len(got) != 1 || got[0] != "no-store" {
				t.Errorf("Cache-Control %q", got)
			}
			if strings.Contains(strings.ToLower(wire), "www-authenticate") {
				t.Errorf("a refusal that asks for authentication: %q", wire)
			}
			_, body, _ := strings.Cut(wire, "\r\n\r\n")
			want := "Forbidden: Invalid pre-authentication secret"
			if method == "HEAD" {
				want = ""
			}
			if body != want {
				t.Errorf("body %q, want %q", body, want)
			}
		})
	}
}

// net/http drops the body of a response to HEAD, but Refuse does not rely on it.
func TestPreauthRefusalOfHeadWritesNothing(t *testing.T) {
	w := httptest.NewRecorder()
	Refuse(w, httptest.NewRequest(http.MethodHead, "/", nil))
	if w.Code != http.StatusForbidden || w.Body.Len() != 0 {
		t.Errorf("status %d, body %q, want 403 and none", w.Code, w.Body)
	}
}

func TestPreauthOverHTTP2(t *testing.T) {
	s := startPreauth(t, preauthAll(t, ""))
	s.EnableHTTP2 = true
	s.StartTLS()
	defer s.Close()
	for _, tt := range []struct {
		name   string
		values []string
		want   int
	}{
		{"none", nil, 403},
		{"good", []string{secretOne}, 200},
		{"bad", []string{secretTwo}, 403},
		{"empty", []string{""}, 403},
		{"good and bad", []string{secretOne, "wrong"}, 403},
		{"bad and good", []string{"wrong", secretOne}, 403},
		{"good and good", []string{secretOne, secretOne}, 403},
		{"list", []string{secretOne + ",wrong"}, 403},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, err := http.NewRequest(http.MethodGet, s.URL+"/api/v4/users/me", nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Header[SecretHeader] = tt.values
			resp, err := s.Client().Do(r)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if resp.ProtoMajor != 2 || resp.StatusCode != tt.want {
				t.Errorf("%s %d, want HTTP/2.0 %d", resp.Proto, resp.StatusCode, tt.want)
			}
			reject := resp.Header.Values(RejectHeader)
			if tt.want == 403 && (len(reject) != 1 || reject[0] != "pre-auth") || tt.want == 200 && reject != nil {
				t.Errorf("reject header %q with status %d", reject, tt.want)
			}
		})
	}
}
