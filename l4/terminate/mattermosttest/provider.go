package mattermosttest

import (
	"cmp"
	"crypto/subtle"
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
)

// Paths of a Provider, which are GitLab's.
const (
	authorizePath = "/oauth/authorize"
	tokenPath     = "/oauth/token"
	userPath      = "/api/v4/user"
)

// maxGrants bounds what a Provider remembers. The oldest go first.
const maxGrants = 1000

// ProviderConfig is what a Provider is built from.
type ProviderConfig struct {
	ClientID     string
	ClientSecret string
	// RedirectURIs are those the client has registered. Default: any.
	RedirectURIs []string
	// Consent asks the user, with a page, before the code is given.
	Consent bool
	// User is who logs in. Default: a user with id 1.
	User Profile
}

// Profile is what the provider tells about a user.
type Profile struct {
	ID       int64  `json:"id"`
	Username string `json:"username,omitempty"`
	Login    string `json:"login,omitempty"` // what some providers call Username
	Email    string `json:"email"`
	Name     string `json:"name"`
}

// Grant is one login at the provider: what the client said in both steps.
type Grant struct {
	AuthorizeURI string // redirect_uri of the first step
	TokenURI     string // redirect_uri of the second step, "" before it
	Refused      string // why the second step failed, as in invalid_grant

	code   string
	used   bool
	access string
}

// Provider is an OAuth provider. Its methods are for concurrent use.
type Provider struct {
	cfg ProviderConfig

	mu     sync.Mutex
	user   Profile
	grants []*Grant
}

// NewProvider returns a provider with one client and one user.
func NewProvider(cfg ProviderConfig) *Provider {
	user := Profile{ID: 1, Username: "gitlab-user", Email: "gitlab-user@example.com", Name: "GitLab User"}
	return &Provider{cfg: cfg, user: cmp.Or(cfg.User, user)}
}

// Settings are what a Mattermost needs to use the provider at the base URL.
func (p *Provider) Settings(base string) GitLabSettings {
	return GitLabSettings{
		Enable: true, ID: p.cfg.ClientID, Secret: p.cfg.ClientSecret,
		AuthEndpoint: base + authorizePath, TokenEndpoint: base + tokenPath, UserAPIEndpoint: base + userPath,
	}
}

// SetUser changes who logs in.
func (p *Provider) SetUser(user Profile) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.user = user
}

// Grants returns the newest logins, at most 1000, oldest first.
func (p *Provider) Grants() []Grant {
	p.mu.Lock()
	defer p.mu.Unlock()
	grants := make([]Grant, len(p.grants))
	for i, g := range p.grants {
		grants[i] = *g
	}
	return grants
}

// ServeHTTP answers the three paths.
func (p *Provider) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxPayload)
	switch r.Method + " " + r.URL.Path {
	case "GET " + authorizePath, "POST " + authorizePath:
		p.authorize(w, r)
	case "POST " + tokenPath:
		p.token(w, r)
	case "GET " + userPath:
		p.profile(w, r)
	default:
		http.NotFound(w, r)
	}
}

// authorize is the browser's step: a code for a client that is known. POST is
// the consent page's button.
func (p *Provider) authorize(w http.ResponseWriter, r *http.Request) {
	back, err := url.Parse(r.FormValue("redirect_uri"))
	registered := p.cfg.RedirectURIs == nil || slices.Contains(p.cfg.RedirectURIs, r.FormValue("redirect_uri"))
	if err != nil || !back.IsAbs() || !registered || r.FormValue("client_id") != p.cfg.ClientID {
		http.Error(w, "unknown client or redirect_uri", http.StatusBadRequest)
		return
	}
	if p.cfg.Consent && r.Method == http.MethodGet {
		askConsent(w, r)
		return
	}
	query := back.Query()
	query.Set("state", r.FormValue("state"))
	switch {
	case r.FormValue("response_type") != "code":
		query.Set("error", "unsupported_response_type")
	case r.PostFormValue("decision") == "deny":
		query.Set("error", "access_denied")
	default:
		query.Set("code", p.grant(r.FormValue("redirect_uri")))
	}
	back.RawQuery = query.Encode()
	http.Redirect(w, r, back.String(), http.StatusFound)
}

// grant remembers a login under a new code.
func (p *Provider) grant(redirectURI string) (code string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.grants) == maxGrants {
		p.grants = slices.Delete(p.grants, 0, 1)
	}
	g := &Grant{AuthorizeURI: redirectURI, code: newID()}
	p.grants = append(p.grants, g)
	return g.code
}

func askConsent(w http.ResponseWriter, r *http.Request) {
	page := template.Must(template.New("").Parse(`<!DOCTYPE html>
<title>Provider</title>
<form method="post">
{{range $name, $values := .}}<input type="hidden" name="{{$name}}" value="{{index $values 0}}">
{{end}}<button id="allow" name="decision" value="allow">Allow</button>
<button id="deny" name="decision" value="deny">Deny</button>
</form>
`))
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_ = page.Execute(w, r.URL.Query())
}

// token is the client's step, RFC 6749 section 4.1.3.
func (p *Provider) token(w http.ResponseWriter, r *http.Request) {
	form := r.PostFormValue
	switch {
	case form("client_id") != p.cfg.ClientID, !equal(form("client_secret"), p.cfg.ClientSecret):
		answer(w, http.StatusUnauthorized, map[string]string{"error": "invalid_client"})
	case form("grant_type") != "authorization_code":
		answer(w, http.StatusBadRequest, map[string]string{"error": "unsupported_grant_type"})
	default:
		access, ok := p.redeem(form("code"), form("redirect_uri"))
		if !ok {
			answer(w, http.StatusBadRequest, map[string]string{"error": "invalid_grant"})
			return
		}
		w.Header().Set("Cache-Control", "no-store")
		answer(w, http.StatusOK, map[string]any{"access_token": access, "token_type": "Bearer", "expires_in": 7200})
	}
}

// redeem takes a code once, and only from who says the redirect_uri it was
// given for. A wrong one uses the code up.
func (p *Provider) redeem(code, redirectURI string) (access string, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	i := slices.IndexFunc(p.grants, func(g *Grant) bool { return g.code == code })
	if i < 0 || p.grants[i].used {
		return "", false
	}
	g := p.grants[i]
	g.used, g.TokenURI = true, redirectURI
	if g.TokenURI != g.AuthorizeURI {
		g.Refused = "invalid_grant"
		return "", false
	}
	g.access = newID()
	return g.access, true
}

// profile tells who the user is.
func (p *Provider) profile(w http.ResponseWriter, r *http.Request) {
	access, bearer := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	p.mu.Lock()
	known := slices.ContainsFunc(p.grants, func(g *Grant) bool { return access != "" && g.access == access })
	user := p.user
	p.mu.Unlock()
	if !bearer || !known {
		w.Header().Set("WWW-Authenticate", "Bearer")
		answer(w, http.StatusUnauthorized, map[string]string{"error": "invalid_token"})
		return
	}
	answer(w, http.StatusOK, user)
}

func equal(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }
