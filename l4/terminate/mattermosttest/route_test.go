package mattermosttest

import (
	"io"
	"net/http"
	"strings"
	"testing"
)

func TestPaths(t *testing.T) {
	for _, tt := range []struct {
		request  string
		status   int
		location string
	}{
		{"GET /static/a.js", 200, ""},
		{"HEAD /static/a.js", 200, ""},
		{"GET http://chat.example.com/static/a.js", 200, ""},
		{"GET /%73tatic/a.js", 200, ""},
		{"GET /static/%61.js", 200, ""},
		{"GET /static/missing.js", 404, ""},
		{"GET /static/", 404, ""},
		{"GET /static", 200, ""},
		{"GET /static/../api/v4/users/me", 301, "/api/v4/users/me"},
		{"GET /static/%2e%2e/api/v4/users/me", 301, "/api/v4/users/me"},
		{"GET /static/..%2fapi/v4/users/me", 301, "/api/v4/users/me"},
		{"GET /static%2f..%2fapi/v4/users/me", 301, "/api/v4/users/me"},
		{"GET /static/%252e%252e/api", 404, ""},
		{"GET //static/a.js", 301, "/static/a.js"},
		{"GET /static/./a.js", 301, "/static/a.js"},
		{"GET /static/x/../a.js", 301, "/static/a.js"},
		{"GET /static//a.js?v=1", 301, "/static/a.js?v=1"},
		{"GET /../static/a.js", 301, "/static/a.js"},
		{"GET /login/../", 301, "/"},
		{"GET /static/#/../api/v4/users", 301, "/static/api/v4/users"},
		{"POST /api/v4/notifications/ack", 401, ""},
		{"POST /api/v4/notifications/ack/", 404, ""},
		{"POST /API/v4/notifications/ack", 404, ""},
		{"POST /api/v4/notifications%2fack", 401, ""},
		{"GET /api/v4/notifications/ack", 404, ""},
		{"GET /api/v4/config/client", 200, ""},
		{"GET /api/v4/config/client?format=old", 200, ""},
		{"GET /api/v4/config/client?format=new", 400, ""},
		{"GET /api/v4/config/client/..", 301, "/api/v4/config"},
		{"HEAD /api/v4/config/client", 404, ""},
		{"GET /", 200, ""},
		{"HEAD /", 405, ""},
		{"GET /login", 200, ""},
		{"GET /login/desktop", 200, ""},
		{"GET /error?message=x", 200, ""},
		{"POST /login", 405, ""},
		{"GET /elsewhere", 404, ""},
		{"GET /oauth/git-lab/login", 404, ""},
		{"GET /oauth/gitlab/elsewhere", 404, ""},
		{"GET /x/signup/gitlab/complete", 404, ""},
	} {
		t.Run(tt.request, func(t *testing.T) {
			resp := send(t, newNode(t, Config{}), tt.request, "{}")
			check(t, "status", resp.StatusCode, tt.status)
			check(t, "location", resp.Header.Get("Location"), tt.location)
		})
	}
}

func TestSubpath(t *testing.T) {
	for _, tt := range []struct {
		request  string
		status   int
		location string
	}{
		{"GET /mattermost/api/v4/system/ping", 200, ""},
		{"GET /mattermost/", 200, ""},
		{"GET /mattermost", 302, "/mattermost/"},
		{"GET /mattermost?a=b", 302, "/mattermost/?a=b"},
		{"GET /", 302, "/mattermost/"},
		{"GET /api/v4/system/ping?a=b", 302, "/mattermost/api/v4/system/ping?a=b"},
		{"GET /mattermostfoo", 302, "/mattermost/mattermostfoo"},
		{"GET /mattermost/api/v4/elsewhere", 404, ""},
		{"GET /mattermost/../api/v4/system/ping", 301, "/api/v4/system/ping"},
		{"GET /mattermost/static/main.js", 200, ""},
		{"GET /mattermost/mattermost/static/main.js", 404, ""},
	} {
		t.Run(tt.request, func(t *testing.T) {
			m := newNode(t, Config{SiteURL: "https://chat.example.com/mattermost/"})
			resp := send(t, m, tt.request, "")
			check(t, "status", resp.StatusCode, tt.status)
			check(t, "location", resp.Header.Get("Location"), tt.location)
		})
	}
}

func TestPageUnderASubpath(t *testing.T) {
	m := newNode(t, Config{SiteURL: "https://chat.example.com/mattermost", Database: people(), Node: "one"})
	login := send(t, m, "POST /mattermost/api/v4/users/login", `{"login_id":"jane","password":"jane's"}`)
	check(t, "cookie path", cookie(login, "MMAUTHTOKEN").Path, "/mattermost")
	resp := send(t, m, "GET /mattermost/error?message=%3Cb%3E", "", "Cookie", "MMAUTHTOKEN="+login.Header.Get("Token"))
	check(t, "node", resp.Header.Get(NodeHeader), "one")
	page, _ := io.ReadAll(resp.Body)
	for _, want := range []string{`href="/mattermost/oauth/gitlab/login"`, `<span id="user">jane</span>`, "&lt;b&gt;"} {
		if !strings.Contains(string(page), want) {
			t.Errorf("no %s in %s", want, page)
		}
	}
}

func TestHeadOfStaticHasNoBody(t *testing.T) {
	resp := send(t, newNode(t, Config{}), "HEAD /static/a.js", "")
	body, _ := io.ReadAll(resp.Body)
	check(t, "body", len(body), 0)
	check(t, "type", strings.HasPrefix(resp.Header.Get("Content-Type"), "text/javascript"), true)
}

func TestSiteURLIsChecked(t *testing.T) {
	for _, site := range []string{"chat.example.com", "ftp://chat.example.com", "https://", "https://%"} {
		if _, err := NewHandler(Config{SiteURL: site}); err == nil {
			t.Errorf("SiteURL %q is accepted", site)
		}
	}
}

var _ http.Handler = (*Handler)(nil)
