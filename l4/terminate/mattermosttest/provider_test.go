package mattermosttest

import (
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

const callback = "https://chat.example.com/signup/gitlab/complete"

// authorizeQuery is a right first step.
func authorizeQuery() url.Values {
	return url.Values{"client_id": {"culvert"}, "redirect_uri": {callback}, "response_type": {"code"}, "state": {"a+/="}}
}

// tokenForm is a right second step.
func tokenForm(code string) url.Values {
	return url.Values{
		"client_id": {"culvert"}, "client_secret": {"secret"}, "code": {code},
		"grant_type": {"authorization_code"}, "redirect_uri": {callback},
	}
}

func newTestProvider(cfg ProviderConfig) *Provider {
	cfg.ClientID, cfg.ClientSecret = "culvert", "secret"
	return NewProvider(cfg)
}

func codeOf(t *testing.T, p *Provider) string {
	t.Helper()
	back, err := send(t, p, "GET "+authorizePath+"?"+authorizeQuery().Encode(), "").Location()
	if err != nil {
		t.Fatal(err)
	}
	check(t, "state", back.Query().Get("state"), "a+/=")
	return back.Query().Get("code")
}

func postForm(t *testing.T, p *Provider, path string, form url.Values) *http.Response {
	t.Helper()
	return send(t, p, "POST "+path, form.Encode(), "Content-Type", "application/x-www-form-urlencoded")
}

func TestProviderToken(t *testing.T) {
	for _, tt := range []struct {
		name, field, value string
		status             int
		want               string
	}{
		{"right", "", "", 200, ""},
		{"another client", "client_id", "x", 401, "invalid_client"},
		{"another secret", "client_secret", "x", 401, "invalid_client"},
		{"another type", "grant_type", "password", 400, "unsupported_grant_type"},
		{"another code", "code", "x", 400, "invalid_grant"},
		{"no redirect_uri", "redirect_uri", "", 400, "invalid_grant"},
		{"redirect_uri with http", "redirect_uri", strings.Replace(callback, "https", "http", 1), 400, "invalid_grant"},
		{"redirect_uri with a slash", "redirect_uri", callback + "/", 400, "invalid_grant"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newTestProvider(ProviderConfig{})
			form := tokenForm(codeOf(t, p))
			if tt.field != "" {
				form.Set(tt.field, tt.value)
			}
			resp := postForm(t, p, tokenPath, form)
			check(t, "status", resp.StatusCode, tt.status)
			body := decodeBody[map[string]any](t, resp)
			if tt.want != "" {
				check(t, "error", body["error"], any(tt.want))
				return
			}
			user := send(t, p, "GET "+userPath, "", "Authorization", "Bearer "+body["access_token"].(string))
			check(t, "user", decodeBody[Profile](t, user).ID, 1)
		})
	}
}

func TestProviderCodeIsUsedOnce(t *testing.T) {
	p := newTestProvider(ProviderConfig{})
	form := tokenForm(codeOf(t, p))
	check(t, "once", postForm(t, p, tokenPath, form).StatusCode, 200)
	check(t, "twice", postForm(t, p, tokenPath, form).StatusCode, 400)
	form = tokenForm(codeOf(t, p))
	form.Set("redirect_uri", "https://elsewhere.example")
	check(t, "wrong", postForm(t, p, tokenPath, form).StatusCode, 400)
	form.Set("redirect_uri", callback)
	check(t, "right, but late", postForm(t, p, tokenPath, form).StatusCode, 400)
}

func TestProviderUserNeedsAToken(t *testing.T) {
	p := newTestProvider(ProviderConfig{})
	codeOf(t, p) // a grant without a token
	for _, authorization := range []string{"", "Bearer ", "Bearer x", "Basic x"} {
		check(t, authorization, send(t, p, "GET "+userPath, "", "Authorization", authorization).StatusCode, 401)
	}
}

func TestProviderAuthorize(t *testing.T) {
	for _, tt := range []struct {
		name, field, value string
		registered         []string
		status             int
	}{
		{"right", "", "", nil, 302},
		{"registered", "", "", []string{callback}, 302},
		{"not registered", "", "", []string{"https://other.example"}, 400},
		{"another client", "client_id", "x", nil, 400},
		{"no redirect_uri", "redirect_uri", "", nil, 400},
		{"relative redirect_uri", "redirect_uri", "/x", nil, 400},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newTestProvider(ProviderConfig{RedirectURIs: tt.registered})
			query := authorizeQuery()
			if tt.field != "" {
				query.Set(tt.field, tt.value)
			}
			check(t, "status", send(t, p, "GET "+authorizePath+"?"+query.Encode(), "").StatusCode, tt.status)
		})
	}
}

func TestProviderConsent(t *testing.T) {
	p := newTestProvider(ProviderConfig{Consent: true})
	resp := send(t, p, "GET "+authorizePath+"?"+authorizeQuery().Encode(), "")
	page, _ := io.ReadAll(resp.Body)
	check(t, "status", resp.StatusCode, 200)
	check(t, "no code yet", len(p.Grants()), 0)
	for _, want := range []string{`id="allow"`, `name="redirect_uri" value="` + callback + `"`, `name="state" value="a&#43;/="`} {
		check(t, want, strings.Contains(string(page), want), true)
	}
	for decision, want := range map[string]string{"allow": "", "deny": "access_denied"} {
		form := authorizeQuery()
		form.Set("decision", decision)
		back, err := postForm(t, p, authorizePath, form).Location()
		if err != nil {
			t.Fatal(err)
		}
		check(t, decision, back.Query().Get("error"), want)
		check(t, "code", back.Query().Has("code"), decision == "allow")
		check(t, "state", back.Query().Get("state"), "a+/=")
	}
}

func TestProviderForgets(t *testing.T) {
	p := newTestProvider(ProviderConfig{})
	first := codeOf(t, p)
	for range maxGrants {
		p.grant(callback)
	}
	check(t, "grants", len(p.Grants()), maxGrants)
	check(t, "the oldest", postForm(t, p, tokenPath, tokenForm(first)).StatusCode, 400)
}
