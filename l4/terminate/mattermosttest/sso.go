package mattermosttest

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"html"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// stateLength is how long a login with the provider may take.
const stateLength = 30 * time.Minute

// stateCookie binds a browser to the state it was sent to the provider with.
const stateCookie = "MMOAUTH"

// stateProps is what the server gets back from the provider in state.
type stateProps struct {
	Action     string `json:"action"` // login, signup or mobile_login
	Token      string `json:"token"`
	RedirectTo string `json:"redirect_to,omitempty"`
}

// bind ties a state to what the browser keeps.
func (p stateProps) bind(cookie string) string { return p.Action + ":" + cookie }

// ssoEnabled tells whether there is a provider for the service. An openid
// scope asks for the provider of the licensed editions.
func (m *Handler) ssoEnabled(service string) error {
	openid := strings.Contains(m.cfg.GitLab.Scope, "openid")
	if service != "gitlab" || !m.cfg.GitLab.Enable || openid {
		return refuse(http.StatusNotImplemented, "api.user.authorize_oauth_user.unsupported.app_error")
	}
	return nil
}

// startSSO answers GET /oauth/{service}/login, signup and mobile_login: off to
// the provider.
func (m *Handler) startSSO(w http.ResponseWriter, r *http.Request) {
	if err := m.ssoEnabled(r.PathValue("service")); err != nil {
		m.failPage(w, err)
		return
	}
	cookie, expires := newID(), m.cfg.Now().Add(stateLength)
	props := stateProps{Action: r.PathValue("step"), RedirectTo: r.URL.Query().Get("redirect_to")}
	props.Token = m.cfg.Database.addState(state{bound: props.bind(cookie), expires: expires})
	m.setCookie(w, r, http.Cookie{
		Name: stateCookie, Value: cookie, HttpOnly: true,
		MaxAge: int(stateLength.Seconds()), Expires: expires,
	})
	http.Redirect(w, r, m.authorizeURL(r, props), http.StatusFound)
}

// authorizeURL is the provider's page. Its redirect_uri is SiteURL's; the
// request is looked at only if SiteURL is blank.
func (m *Handler) authorizeURL(r *http.Request, props stateProps) string {
	site := cmp.Or(m.cfg.SiteURL, origin(r))
	text, _ := json.Marshal(props) // three strings
	query := url.Values{
		"response_type": {"code"},
		"client_id":     {m.cfg.GitLab.ID},
		"redirect_uri":  {site + "/signup/" + r.PathValue("service") + "/complete"},
		"state":         {base64.StdEncoding.EncodeToString(text)},
	}
	if scope := m.cfg.GitLab.Scope; scope != "" {
		query.Set("scope", scope)
	}
	if hint := r.URL.Query().Get("login_hint"); hint != "" {
		query.Set("login_hint", hint)
	}
	return m.cfg.GitLab.AuthEndpoint + "?" + query.Encode()
}

// completeSSO answers GET /signup/{service}/complete and the routes kept for
// compatibility: back from the provider.
func (m *Handler) completeSSO(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	switch {
	case query.Get("error") == "access_denied":
		m.redirectError(w, r, "oauth_access_denied")
		return
	case query.Get("code") == "":
		m.redirectError(w, r, "oauth_missing_code")
		return
	}
	props, user, err := m.returned(w, r)
	if err != nil {
		m.failPage(w, err)
		return
	}
	m.logIn(w, r, user)
	m.leaveSSO(w, r, props)
}

func (m *Handler) redirectError(w http.ResponseWriter, r *http.Request, kind string) {
	query := url.Values{"type": {kind}, "service": {r.PathValue("service")}}
	http.Redirect(w, r, m.base+"/error?"+query.Encode(), http.StatusTemporaryRedirect)
}

// returned is who comes back from the provider, to log in with what props.
func (m *Handler) returned(w http.ResponseWriter, r *http.Request) (stateProps, User, error) {
	service := r.PathValue("service")
	if err := m.ssoEnabled(service); err != nil {
		return stateProps{}, User{}, err
	}
	props, err := m.checkState(r)
	if err != nil {
		return stateProps{}, User{}, err
	}
	m.setCookie(w, r, http.Cookie{Name: stateCookie, HttpOnly: true, MaxAge: -1})
	user, err := m.exchange(r.Context(), service, m.publicBase(r), r.URL.Query().Get("code"))
	return props, user, err
}

// checkState refuses a state that is not the cookie's, is used or too old.
func (m *Handler) checkState(r *http.Request) (props stateProps, err error) {
	text, err := base64.StdEncoding.DecodeString(r.URL.Query().Get("state"))
	if err != nil || json.Unmarshal(text, &props) != nil {
		return props, refuse(http.StatusBadRequest, "api.user.authorize_oauth_user.invalid_state.app_error")
	}
	expected, ok := m.cfg.Database.takeState(props.Token, m.cfg.Now())
	cookie, err := r.Cookie(stateCookie)
	if err != nil || !ok || props.bind(cookie.Value) != expected.bound {
		return props, refuse(http.StatusBadRequest, "api.oauth.invalid_state_token.app_error")
	}
	return props, nil
}

// publicBase is the site's address for all the request tells.
func (m *Handler) publicBase(r *http.Request) string { return origin(r) + m.base }

// leaveSSO sends the browser into the web app, and the mobile app a page that
// takes it back if it said where.
func (m *Handler) leaveSSO(w http.ResponseWriter, r *http.Request, props stateProps) {
	if props.Action == "mobile_login" {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		if u, err := url.Parse(props.RedirectTo); err == nil && u.Scheme == "mattermost" {
			link := html.EscapeString(props.RedirectTo)
			_, _ = w.Write([]byte(`<!DOCTYPE html><a id="app" href="` + link + `">Back to the app</a>` + "\n"))
		}
		return
	}
	target := m.publicBase(r)
	if to := props.RedirectTo; strings.HasPrefix(to, "/") && cleanPath(to) == to {
		target += to
	}
	http.Redirect(w, r, target, http.StatusTemporaryRedirect)
}
