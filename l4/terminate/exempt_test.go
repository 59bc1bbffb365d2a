package terminate

import (
	"net/url"
	"path"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// exemptPresets compiles the named presets for a base path.
func exemptPresets(t testing.TB, base string, names ...string) *Exemptions {
	t.Helper()
	var all []Exemption
	for _, name := range names {
		list, ok := Preset(name)
		if !ok {
			t.Fatalf("no preset %q", name)
		}
		all = append(all, list...)
	}
	e, err := NewExemptions(base, all)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// exemptRequests are requests that some preset exempts, and some that none may.
var exemptRequests = []string{
	"POST /api/v4/notifications/ack",
	"GET /api/v4/notifications/ack",
	"POST /api/v4/notifications/ack/",
	"POST /API/v4/notifications/ack",
	"POST /api/v4/notifications/acknowledge",
	"GET /static/a.js", "HEAD /static/a.js", "POST /static/a.js", "GET /static", "GET /Static/a.js",
	"GET /static/", "GET /x/static/a.js",
	"GET /api/v4/config/client", "HEAD /api/v4/config/client", "PUT /api/v4/config/client",
	"GET /login/desktop", "HEAD /login/desktop", "POST /login/desktop", "GET /login",
	"GET /login/sso/saml", "POST /login/sso/saml", "HEAD /login/sso/saml", "PUT /login/sso/saml",
	"GET /oauth/gitlab/complete", "GET /oauth/gitlab/login", "GET /oauth/gitlab/mobile_login",
	"GET /oauth/gitlab/signup", "POST /oauth/gitlab/login", "HEAD /oauth/gitlab/login",
	"GET /oauth/gitlab/logins", "GET /oauth/gitlab/login/", "GET /oauth/gitlab/", "GET /oauth/a/b/login",
	"GET /oauth/git-lab/login", "GET /oauth//login", "GET /oauth/authorize", "POST /oauth/access_token",
	"GET /oauth/google/login", "GET /oauth/office365/login", "GET /oauth/openid/login", "GET /oauth/Okta1/login",
	"GET /signup/gitlab/complete", "GET /login/gitlab/complete", "GET /api/v3/oauth/gitlab/complete",
	"GET /signup/google/complete", "GET /signup/office365/complete", "GET /signup/openid/complete",
	"GET /signup/gitlab/login", "POST /signup/gitlab/complete", "GET /api/v4/oauth/gitlab/complete",
	"GET /", "GET /api/v4/users/me", "GET /api/v4/system/ping", "GET /api/v4/websocket", "GET /error",
	"CONNECT /static/a.js", "TRACE /static/a.js", "OPTIONS /static/a.js", "OPTIONS *", "get /static/a.js",
}

func TestExemptPresets(t *testing.T) {
	redirect := []string{
		"GET /static/a.js", "HEAD /static/a.js", "GET /static/",
		"GET /api/v4/config/client", "HEAD /api/v4/config/client",
		"GET /login/desktop", "HEAD /login/desktop",
	}
	and := func(lists ...[]string) (all []string) {
		for _, list := range lists {
			all = append(all, list...)
		}
		return all
	}
	tests := map[string][]string{
		"always":       {"POST /api/v4/notifications/ack"},
		"sso-redirect": redirect,
		"saml":         and(redirect, []string{"GET /login/sso/saml", "POST /login/sso/saml"}),
		"openid": {
			"GET /oauth/gitlab/complete", "GET /oauth/gitlab/login", "GET /oauth/gitlab/mobile_login",
			"GET /oauth/gitlab/signup", "GET /oauth/google/login", "GET /oauth/office365/login",
			"GET /oauth/openid/login", "GET /oauth/Okta1/login",
		},
		"oauth": {
			"GET /signup/gitlab/complete", "GET /login/gitlab/complete", "GET /api/v3/oauth/gitlab/complete",
			"GET /signup/google/complete", "GET /signup/office365/complete", "GET /signup/openid/complete",
		},
		"gitlab": and(redirect, []string{
			"GET /oauth/gitlab/complete", "GET /oauth/gitlab/login", "GET /oauth/gitlab/mobile_login",
			"GET /oauth/gitlab/signup",
			"GET /signup/gitlab/complete", "GET /login/gitlab/complete", "GET /api/v3/oauth/gitlab/complete",
		}),
		"google":    and(redirect, []string{"GET /oauth/google/login", "GET /signup/google/complete"}),
		"office365": and(redirect, []string{"GET /oauth/office365/login", "GET /signup/office365/complete"}),
	}
	if got, want := len(PresetNames()), len(tests); got != want {
		t.Errorf("%d presets, %d of them tested", got, want)
	}
	for _, name := range PresetNames() {
		for _, base := range []string{"", "/mattermost", "/a/b"} {
			t.Run(name+base, func(t *testing.T) {
				e := exemptPresets(t, base, name)
				if diff := cmp.Diff(tests[name], exemptOf(e, base)); diff != "" {
					t.Errorf("exempt requests (-want +got)\n%s", diff)
				}
				if got := exemptOf(e, ""); base != "" && got != nil {
					t.Errorf("exempt without the base path: %q", got)
				}
			})
		}
	}
}

// exemptOf returns which of exemptRequests are exempt.
func exemptOf(e *Exemptions, base string) (got []string) {
	for _, request := range exemptRequests {
		method, path, _ := strings.Cut(request, " ")
		if e.Match(method, base+path) {
			got = append(got, request)
		}
	}
	return got
}

func TestExemptPresetUnknown(t *testing.T) {
	for _, name := range []string{"", "SAML", "sso", "all"} {
		if list, ok := Preset(name); ok || list != nil {
			t.Errorf("Preset(%q) = %v, %v, want none", name, list, ok)
		}
	}
}

// Non-canonical spellings of exempt paths are not exempt, however a server would
// interpret them.
func TestOnlyCanonicalSpellingsAreExempt(t *testing.T) {
	every, err := NewExemptions("", []Exemption{{Pattern: regexp.MustCompile(`(?s).*`)}})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range []*Exemptions{every, exemptPresets(t, "", PresetNames()...)} {
		for _, path := range []string{
			"", "*", "static/a.js", "//static/a.js", "/static//a.js", "/./static/a.js", "/static/./a.js",
			"/static/x/../a.js", "/static/..", "/static/../api/v4/users/me", "/static/.",
			"/static/%2e%2e/api/v4/users/me", "/static/..%2fapi/v4/users/me", "/static%2fa.js",
			"/static/%252e%252e/api", "/%73tatic/a.js", "/static/a%2ejs", `/static/..\api`, `\static\a.js`,
			"/static/a.js#", "/static/a.js?", "/static/a.js?x=y", "/static/a.js\x00", "/static/a\tb",
			"/static/\u00e4", "/static/\xc0\xae\xc0\xae/api", "/static/a b", "/static/\r\nX: y", "/static/%",
			"/api/v4/config/client/.", "/api/v4/config/client/..", "/api/v4/../v4/config/client",
			"/x/%61pi/v4/config/client/..", "http://h/static/a.js",
		} {
			for _, method := range []string{"GET", "HEAD", "POST"} {
				if e.Match(method, path) {
					t.Errorf("%s %q is exempt", method, path)
				}
			}
		}
	}
	if !every.Match("GET", "/static/a.js") {
		t.Error("a pattern that matches everything does not match")
	}
}

func TestExemptRules(t *testing.T) {
	pattern := regexp.MustCompile
	tests := []struct {
		name      string
		base      string
		exemption Exemption
		method    string // "" means GET
		path      string
		want      bool
	}{
		{name: "exact", exemption: Exemption{Exact: "/a"}, path: "/a", want: true},
		{name: "exact and more", exemption: Exemption{Exact: "/a"}, path: "/a/", want: false},
		{name: "exact top", exemption: Exemption{Exact: "/"}, path: "/", want: true},
		{name: "prefix itself", exemption: Exemption{Prefix: "/a/"}, path: "/a/", want: true},
		{name: "prefix below", exemption: Exemption{Prefix: "/a/"}, path: "/a/b", want: true},
		{name: "prefix without its slash", exemption: Exemption{Prefix: "/a/"}, path: "/a", want: false},
		{name: "prefix within a segment", exemption: Exemption{Prefix: "/a"}, path: "/ab", want: true},
		{name: "pattern", exemption: Exemption{Pattern: pattern("/a+")}, path: "/aa", want: true},
		{name: "pattern in the middle", exemption: Exemption{Pattern: pattern("/a+")}, path: "/x/a", want: false},
		{name: "pattern at the beginning", exemption: Exemption{Pattern: pattern("/a+")}, path: "/aab", want: false},
		{name: "pattern with a short alternative first", exemption: Exemption{Pattern: pattern("/a|/ab")}, path: "/ab", want: true},
		{name: "alternatives do not loosen it", exemption: Exemption{Pattern: pattern("/a|/b")}, path: "/a/b", want: false},
		{name: "pattern of lines", exemption: Exemption{Pattern: pattern("(?m)^/a$")}, path: "/a", want: true},
		{name: "anchored pattern", exemption: Exemption{Pattern: pattern("^/a$")}, path: "/a", want: true},
		{name: "no method listed, HEAD", exemption: Exemption{Exact: "/a"}, method: "HEAD", path: "/a", want: true},
		{name: "no method listed, POST", exemption: Exemption{Exact: "/a"}, method: "POST", path: "/a", want: false},
		{name: "method listed", exemption: Exemption{Methods: []string{"POST"}, Exact: "/a"}, method: "POST", path: "/a", want: true},
		{name: "method not listed", exemption: Exemption{Methods: []string{"POST"}, Exact: "/a"}, path: "/a", want: false},
		{name: "preflight if the operator says so", exemption: Exemption{Methods: []string{"OPTIONS"}, Exact: "/a"}, method: "OPTIONS", path: "/a", want: true},
		{name: "asterisk is never exempt", exemption: Exemption{Methods: []string{"OPTIONS"}, Pattern: pattern(".*")}, method: "OPTIONS", path: "*", want: false},
		{name: "base path", base: "/mm", exemption: Exemption{Exact: "/a"}, path: "/mm/a", want: true},
		{name: "base path twice", base: "/mm", exemption: Exemption{Exact: "/a"}, path: "/mm/mm/a", want: false},
		{name: "base path in other case", base: "/mm", exemption: Exemption{Exact: "/a"}, path: "/MM/a", want: false},
		{name: "beginning of the base path", base: "/mm", exemption: Exemption{Pattern: pattern(".*")}, path: "/m", want: false},
		{name: "base path alone", base: "/mm", exemption: Exemption{Pattern: pattern(".*")}, path: "/mm", want: false},
		{name: "begins like the base path", base: "/mm", exemption: Exemption{Pattern: pattern(".*")}, path: "/mmx/a", want: false},
		{name: "top below the base path", base: "/mm", exemption: Exemption{Exact: "/"}, path: "/mm/", want: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e, err := NewExemptions(tt.base, []Exemption{tt.exemption})
			if err != nil {
				t.Fatal(err)
			}
			if tt.method == "" {
				tt.method = "GET"
			}
			if got := e.Match(tt.method, tt.path); got != tt.want {
				t.Errorf("Match(%s, %q) = %v, want %v", tt.method, tt.path, got, tt.want)
			}
		})
	}
}

func TestExemptErrors(t *testing.T) {
	one := func(x Exemption) []Exemption { return []Exemption{{Exact: "/fine"}, x} }
	tests := []struct {
		name, base string
		list       []Exemption
		want       string // part of the error
	}{
		{"base path of a slash", "/", nil, `base path "/"`},
		{"base path with a slash at the end", "/mm/", nil, `base path "/mm/"`},
		{"relative base path", "mm", nil, `base path "mm"`},
		{"escaped base path", "/m%6d", nil, `base path "/m%6d"`},
		{"base path that climbs", "/..", nil, `base path "/.."`},
		{"nothing set", "", one(Exemption{}), "exemption 2: set exactly one"},
		{"two of the fields set", "", one(Exemption{Exact: "/a", Prefix: "/b"}), "exemption 2: set exactly one"},
		{"pattern and prefix", "", one(Exemption{Prefix: "/b/", Pattern: regexp.MustCompile("a")}), "exactly one"},
		{"relative path", "", one(Exemption{Exact: "a"}), "begin it with a slash"},
		{"escaped path", "", one(Exemption{Exact: "/%61"}), `"/%61" can never match`},
		{"path with query", "", one(Exemption{Exact: "/a?b"}), "can never match"},
		{"prefix that climbs", "", one(Exemption{Prefix: "/a/../"}), "can never match"},
		{"prefix of everything", "", one(Exemption{Prefix: "/"}), "exempts every request"},
		{"CONNECT", "", one(Exemption{Exact: "/a", Methods: []string{"GET", "CONNECT"}}), "CONNECT is never exempt"},
		{"TRACE", "", one(Exemption{Exact: "/a", Methods: []string{"TRACE"}}), "TRACE is never exempt"},
		{"lower case", "", one(Exemption{Exact: "/a", Methods: []string{"get"}}), `method "get"`},
		{"empty method", "", one(Exemption{Exact: "/a", Methods: []string{""}}), `method ""`},
		{"open quotation", "", one(Exemption{Pattern: regexp.MustCompile(`/a\Qb`)}), "is not valid on its own"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := NewExemptions(tt.base, tt.list)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want one with %q", err, tt.want)
			}
		})
	}
}

func TestExemptionsAreCopied(t *testing.T) {
	list := []Exemption{{Methods: []string{"POST"}, Exact: "/a"}}
	e, err := NewExemptions("", list)
	if err != nil {
		t.Fatal(err)
	}
	list[0].Methods[0], list[0].Exact = "GET", "/b"
	if !e.Match("POST", "/a") || e.Match("GET", "/a") || e.Match("GET", "/b") {
		t.Error("changing the list changed the exemptions compiled from it")
	}
}

func TestNothingIsExemptByDefault(t *testing.T) {
	for _, e := range []*Exemptions{nil, {}} {
		if e.Match("GET", "/") || e.Match("GET", "/static/a.js") {
			t.Errorf("%+v exempts something", e)
		}
	}
}

// FuzzExempt checks that a path that is exempt is canonical, is not changed by
// cleaning or decoding, and is below the base path.
func FuzzExempt(f *testing.F) {
	for _, request := range exemptRequests {
		method, path, _ := strings.Cut(request, " ")
		f.Add(method, path)
		f.Add(method, "/mattermost"+path)
		f.Add(method, "/mattermost/.."+path)
		f.Add(method, path+"%2f..%2fx")
	}
	lists := map[string]*Exemptions{}
	for _, base := range []string{"", "/mattermost"} {
		lists[base] = exemptPresets(f, base, PresetNames()...)
		every, err := NewExemptions(base, []Exemption{{Pattern: regexp.MustCompile(`(?s).*`)}})
		if err != nil {
			f.Fatal(err)
		}
		lists[base].list = append(lists[base].list, every.list...)
	}
	f.Fuzz(func(t *testing.T, method, raw string) {
		for base, e := range lists {
			if !e.Match(method, raw) {
				continue
			}
			if !canonical(raw) {
				t.Fatalf("%s %q is exempt and not canonical", method, raw)
			}
			if clean := path.Clean(raw); clean != raw && clean+"/" != raw {
				t.Fatalf("%s %q is exempt but path.Clean changes it to %q", method, raw, clean)
			}
			if u, err := url.ParseRequestURI(raw); err != nil || u.Path != raw || u.RawQuery != "" {
				t.Fatalf("%s %q is exempt and parsed as %+v, error %v", method, raw, u, err)
			}
			if !strings.HasPrefix(raw, base+"/") {
				t.Fatalf("%s %q is exempt and not below %q", method, raw, base)
			}
			if method != "GET" && method != "HEAD" && method != "POST" {
				t.Fatalf("%q is exempt with method %q, which none lists", raw, method)
			}
		}
	})
}
