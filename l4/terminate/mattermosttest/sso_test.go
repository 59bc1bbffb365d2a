package mattermosttest

import (
	"encoding/base64"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// stage is a cluster of two behind a proxy that terminates TLS, and a
// provider. The proxy is the test.
type stage struct {
	provider *Provider
	db       *Database
	clock    *later
	site     string
	nodes    [2]*Handler
}

// newStage builds a stage whose nodes have cfg besides.
func newStage(t *testing.T, site string, cfg Config) *stage {
	t.Helper()
	s := &stage{site: site, db: people(), clock: &later{}}
	s.provider = NewProvider(ProviderConfig{ClientID: "culvert", ClientSecret: "s3/cr+et=="})
	srv, err := NewServer(s.provider, ServerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(srv.Close)
	scope := cfg.GitLab.Scope
	cfg.SiteURL, cfg.Database, cfg.Now = site, s.db, s.clock.now
	cfg.GitLab = s.provider.Settings(srv.URL())
	cfg.GitLab.Scope = scope
	s.nodes = [2]*Handler{newNode(t, cfg), newNode(t, cfg)}
	return s
}

// forwarded are the headers of a proxy that does it right.
func forwarded(host string) []string {
	return []string{"X-Forwarded-Proto", "https", "Host", host}
}

// start begins a login on the first node and follows it through the provider.
// It returns the path and query the browser comes back with, and its cookie.
func (s *stage) start(t *testing.T, path string, headers []string) (back *url.URL, state *http.Cookie) {
	t.Helper()
	resp := send(t, s.nodes[0], "GET "+path, "", headers...)
	check(t, "start", resp.StatusCode, http.StatusFound)
	state = cookie(resp, "MMOAUTH")
	if state == nil {
		t.Fatal("no state cookie")
	}
	return s.atProvider(t, resp.Header.Get("Location")), state
}

func (s *stage) atProvider(t *testing.T, location string) *url.URL {
	t.Helper()
	client := &http.Client{Timeout: patience, CheckRedirect: stay}
	resp, err := client.Get(location)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	check(t, "provider", resp.StatusCode, http.StatusFound)
	back, err := resp.Location()
	if err != nil {
		t.Fatal(err)
	}
	return back
}

func stay(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

func TestSSO(t *testing.T) {
	for _, tt := range []struct {
		name, site, start, want string
	}{
		{"login", "https://chat.example.com", "/oauth/gitlab/login", "https://chat.example.com"},
		{"signup", "https://chat.example.com", "/oauth/gitlab/signup", "https://chat.example.com"},
		{"with a port", "https://chat.example.com:8443", "/oauth/gitlab/login", "https://chat.example.com:8443"},
		{"with a subpath", "https://chat.example.com/mattermost", "/mattermost/oauth/gitlab/login", "https://chat.example.com/mattermost"},
		{"to a page", "https://chat.example.com", "/oauth/gitlab/login?redirect_to=%2Flogin", "https://chat.example.com/login"},
		{"not to another site", "https://chat.example.com", "/oauth/gitlab/login?redirect_to=%2F%2Fevil.example", "https://chat.example.com"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newStage(t, tt.site, Config{})
			host := strings.Split(tt.site, "/")[2]
			back, state := s.start(t, tt.start, forwarded(host))
			check(t, "state Secure", state.Secure, true)
			check(t, "state HttpOnly", state.HttpOnly, true)
			check(t, "state MaxAge", state.MaxAge, 1800)

			// The other node of the cluster gets the callback.
			resp := send(t, s.nodes[1], "GET "+back.RequestURI(), "", append(forwarded(host), "Cookie", state.String())...)
			check(t, "status", resp.StatusCode, http.StatusTemporaryRedirect)
			check(t, "location", resp.Header.Get("Location"), tt.want)
			for _, name := range []string{"MMAUTHTOKEN", "MMUSERID", "MMCSRF"} {
				if c := cookie(resp, name); c == nil || !c.Secure {
					t.Errorf("cookie %s is %v, want a Secure one", name, c)
				}
			}
			check(t, "state is taken back", cookie(resp, "MMOAUTH").MaxAge, -1)
			grants := s.provider.Grants()
			check(t, "grants", len(grants), 1)
			check(t, "authorise", grants[0].AuthorizeURI, tt.site+"/signup/gitlab/complete")
			check(t, "token", grants[0].TokenURI, tt.site+"/signup/gitlab/complete")
			check(t, "refused", grants[0].Refused, "")
		})
	}
}

// TestSSOBehindAWrongProxy has the callback reach the node as a proxy would
// spoil it. Cf. mattermost#19750 and #7152.
func TestSSOBehindAWrongProxy(t *testing.T) {
	for _, tt := range []struct {
		name    string
		headers []string
		uri     string
	}{
		{"no X-Forwarded-Proto", []string{"Host", "chat.example.com"}, "http://chat.example.com/signup/gitlab/complete"},
		{"an inner proxy's http", []string{"Host", "chat.example.com", "X-Forwarded-Proto", "http"}, "http://chat.example.com/signup/gitlab/complete"},
		{"the default port", forwarded("chat.example.com:443"), "https://chat.example.com:443/signup/gitlab/complete"},
		{"another port", forwarded("chat.example.com:8065"), "https://chat.example.com:8065/signup/gitlab/complete"},
		{"rewritten Host", forwarded("node-1.internal"), "https://node-1.internal/signup/gitlab/complete"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newStage(t, "https://chat.example.com", Config{})
			back, state := s.start(t, "/oauth/gitlab/login", forwarded("chat.example.com"))
			resp := send(t, s.nodes[0], "GET "+back.RequestURI(), "", append(tt.headers, "Cookie", state.String())...)
			check(t, "status", resp.StatusCode, http.StatusInternalServerError)
			check(t, "no login", cookie(resp, "MMAUTHTOKEN"), nil)
			g := s.provider.Grants()[0]
			check(t, "authorise", g.AuthorizeURI, "https://chat.example.com/signup/gitlab/complete")
			check(t, "token", g.TokenURI, tt.uri)
			check(t, "refused", g.Refused, "invalid_grant")
			page, _ := io.ReadAll(resp.Body)
			check(t, "leads to the error page", strings.Contains(string(page), "/error?message="), true)
		})
	}
}

func TestSSOStartTakesItsAddressFromSiteURLOnly(t *testing.T) {
	s := newStage(t, "https://chat.example.com", Config{})
	resp := send(t, s.nodes[0], "GET /oauth/gitlab/login?login_hint=jane", "", "Host", "node-1.internal")
	u, _ := resp.Location()
	check(t, "redirect_uri", u.Query().Get("redirect_uri"), "https://chat.example.com/signup/gitlab/complete")
	check(t, "response_type", u.Query().Get("response_type"), "code")
	check(t, "client_id", u.Query().Get("client_id"), "culvert")
	check(t, "login_hint", u.Query().Get("login_hint"), "jane")
	check(t, "state Secure", cookie(resp, "MMOAUTH").Secure, false)
}

func TestSSOWithoutSiteURL(t *testing.T) {
	s := newStage(t, "", Config{})
	back, state := s.start(t, "/oauth/gitlab/login", forwarded("any.example:8443"))
	check(t, "redirect_uri", s.provider.Grants()[0].AuthorizeURI, "https://any.example:8443/signup/gitlab/complete")
	resp := send(t, s.nodes[1], "GET "+back.RequestURI(), "", append(forwarded("any.example:8443"), "Cookie", state.String())...)
	check(t, "status", resp.StatusCode, http.StatusTemporaryRedirect)
}

func TestSSOCompatibilityRoutes(t *testing.T) {
	for _, path := range []string{"/login/gitlab/complete", "/api/v3/oauth/gitlab/complete", "/oauth/gitlab/complete"} {
		s := newStage(t, "https://chat.example.com", Config{})
		back, state := s.start(t, "/oauth/gitlab/login", forwarded("chat.example.com"))
		resp := send(t, s.nodes[0], "GET "+path+"?"+back.RawQuery, "", append(forwarded("chat.example.com"), "Cookie", state.String())...)
		check(t, path, resp.StatusCode, http.StatusTemporaryRedirect)
		check(t, "token", s.provider.Grants()[0].TokenURI, "https://chat.example.com/signup/gitlab/complete")
	}
}

func TestSSOMobile(t *testing.T) {
	for query, want := range map[string]string{"": "", "?redirect_to=mattermost%3A%2F%2Fcallback": `href="mattermost://callback"`} {
		s := newStage(t, "https://chat.example.com", Config{})
		back, state := s.start(t, "/oauth/gitlab/mobile_login"+query, forwarded("chat.example.com"))
		resp := send(t, s.nodes[0], "GET "+back.RequestURI(), "", append(forwarded("chat.example.com"), "Cookie", state.String())...)
		check(t, "status", resp.StatusCode, http.StatusOK)
		page, _ := io.ReadAll(resp.Body)
		check(t, "page", want == "" && len(page) == 0 || want != "" && strings.Contains(string(page), want), true)
		if cookie(resp, "MMAUTHTOKEN") == nil {
			t.Error("no login")
		}
	}
}

func TestSSOStateIsBound(t *testing.T) {
	other := base64.StdEncoding.EncodeToString([]byte(`{"action":"login","token":"x"}`))
	for _, tt := range []struct {
		name   string
		change func(s *stage, query url.Values, state *http.Cookie)
	}{
		{"no cookie", func(_ *stage, _ url.Values, c *http.Cookie) { c.Name = "other" }},
		{"another cookie", func(_ *stage, _ url.Values, c *http.Cookie) { c.Value = "x" }},
		{"unknown token", func(_ *stage, q url.Values, _ *http.Cookie) { q.Set("state", other) }},
		{"no base64", func(_ *stage, q url.Values, _ *http.Cookie) { q.Set("state", "-") }},
		{"no JSON", func(_ *stage, q url.Values, _ *http.Cookie) { q.Set("state", "eHh4") }},
		{"too late", func(s *stage, _ url.Values, _ *http.Cookie) { s.clock.by = stateLength + time.Second }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newStage(t, "https://chat.example.com", Config{})
			back, state := s.start(t, "/oauth/gitlab/login", forwarded("chat.example.com"))
			query := back.Query()
			tt.change(s, query, state)
			resp := send(t, s.nodes[0], "GET "+back.Path+"?"+query.Encode(), "", append(forwarded("chat.example.com"), "Cookie", state.String())...)
			check(t, "status", resp.StatusCode, http.StatusBadRequest)
			check(t, "no login", cookie(resp, "MMAUTHTOKEN"), nil)
			check(t, "no exchange", s.provider.Grants()[0].TokenURI, "")
		})
	}
}

func TestSSOStateIsUsedOnce(t *testing.T) {
	s := newStage(t, "https://chat.example.com", Config{})
	back, state := s.start(t, "/oauth/gitlab/login", forwarded("chat.example.com"))
	headers := append(forwarded("chat.example.com"), "Cookie", state.String())
	check(t, "once", send(t, s.nodes[0], "GET "+back.RequestURI(), "", headers...).StatusCode, 307)
	check(t, "twice", send(t, s.nodes[1], "GET "+back.RequestURI(), "", headers...).StatusCode, 400)
}

func TestSSOWithoutACode(t *testing.T) {
	m := newStage(t, "https://chat.example.com/mm", Config{}).nodes[0]
	for query, want := range map[string]string{
		"?error=access_denied": "/mm/error?service=gitlab&type=oauth_access_denied",
		"":                     "/mm/error?service=gitlab&type=oauth_missing_code",
	} {
		resp := send(t, m, "GET /mm/signup/gitlab/complete"+query, "")
		check(t, "status", resp.StatusCode, http.StatusTemporaryRedirect)
		check(t, "location", resp.Header.Get("Location"), want)
	}
}

func TestSSOIsNotThere(t *testing.T) {
	on := newStage(t, "https://chat.example.com", Config{}).nodes[0]
	openid := newStage(t, "https://chat.example.com", Config{GitLab: GitLabSettings{Scope: "profile openid"}}).nodes[0]
	for _, tt := range []struct {
		name, request string
		node          *Handler
	}{
		{"another service", "GET /oauth/google/login", on},
		{"off", "GET /oauth/gitlab/login", newNode(t, Config{})},
		{"openid scope", "GET /oauth/gitlab/login", openid},
		{"openid scope, return", "GET /signup/gitlab/complete?code=x", openid},
	} {
		check(t, tt.name, send(t, tt.node, tt.request, "").StatusCode, http.StatusNotImplemented)
	}
}

func TestSSOUser(t *testing.T) {
	for _, tt := range []struct {
		name    string
		profile Profile
		status  int
		user    string
	}{
		{"new", Profile{ID: 7, Username: "kim", Email: "kim@example.com", Name: "Kim"}, 307, "kim"},
		{"login for username", Profile{ID: 7, Login: "kim", Email: "kim@example.com"}, 307, "kim"},
		{"no id", Profile{Username: "kim", Email: "kim@example.com"}, 500, ""},
		{"no e-mail", Profile{ID: 7, Username: "kim"}, 500, ""},
		{"somebody else's e-mail", Profile{ID: 7, Username: "kim", Email: "Jane@example.com"}, 400, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newStage(t, "https://chat.example.com", Config{})
			s.provider.SetUser(tt.profile)
			var ids []string
			for range 2 { // the second time the user is known
				back, state := s.start(t, "/oauth/gitlab/login", forwarded("chat.example.com"))
				resp := send(t, s.nodes[0], "GET "+back.RequestURI(), "", append(forwarded("chat.example.com"), "Cookie", state.String())...)
				check(t, "status", resp.StatusCode, tt.status)
				if tt.user == "" {
					return
				}
				me := send(t, s.nodes[1], "GET /api/v4/users/me", "", "Cookie", "MMAUTHTOKEN="+cookie(resp, "MMAUTHTOKEN").Value)
				user := decodeBody[User](t, me)
				check(t, "user", user.Username, tt.user)
				check(t, "service", user.Service, "gitlab")
				ids = append(ids, user.ID)
			}
			check(t, "id", ids[1], ids[0])
		})
	}
}

// TestSSOAnswersOfTheProvider has a provider break the contract.
func TestSSOAnswersOfTheProvider(t *testing.T) {
	const token = `{"access_token":"t","token_type":"BEARER"}`
	const user = `{"id":9,"username":"kim","email":"kim@example.com"}`
	for _, tt := range []struct {
		name        string
		token, user string
		tokenStatus int
		status      int
	}{
		{"kept", token, user, 200, 307},
		{"created", token, user, 201, 500},
		{"no JSON", "access_token=t", user, 200, 500},
		{"no token", `{"token_type":"bearer"}`, user, 200, 500},
		{"another type", `{"access_token":"t","token_type":"mac"}`, user, 200, 500},
		{"id is text", token, `{"id":"9","email":"kim@example.com"}`, 200, 500},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newStage(t, "https://chat.example.com", Config{})
			srv, err := NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/user" {
					_, _ = io.WriteString(w, tt.user)
					return
				}
				check(t, "Accept", r.Header.Get("Accept"), "application/json")
				w.WriteHeader(tt.tokenStatus)
				_, _ = io.WriteString(w, tt.token)
			}), ServerConfig{})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(srv.Close)
			back, state := s.start(t, "/oauth/gitlab/login", forwarded("chat.example.com"))
			s.nodes[0].cfg.GitLab.TokenEndpoint = srv.URL() + "/token"
			s.nodes[0].cfg.GitLab.UserAPIEndpoint = srv.URL() + "/user"
			resp := send(t, s.nodes[0], "GET "+back.RequestURI(), "", append(forwarded("chat.example.com"), "Cookie", state.String())...)
			check(t, "status", resp.StatusCode, tt.status)
		})
	}
}
