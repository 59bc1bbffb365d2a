package mattermosttest

import (
	"cmp"
	"net/http"
	"strings"
	"time"
)

// sessionLength is the server's default: 30 days.
const sessionLength = 30 * 24 * time.Hour

// logIn begins a session and sends its cookies. They are Secure exactly when
// the request counts as https.
func (m *Handler) logIn(w http.ResponseWriter, r *http.Request, user User) (token string) {
	s := session{user: user, csrf: newID(), expires: m.cfg.Now().Add(sessionLength)}
	token = m.cfg.Database.addSession(s)
	m.setCookie(w, r, http.Cookie{Name: "MMAUTHTOKEN", Value: token, HttpOnly: true, Expires: s.expires})
	m.setCookie(w, r, http.Cookie{Name: "MMUSERID", Value: user.ID, Expires: s.expires})
	m.setCookie(w, r, http.Cookie{Name: "MMCSRF", Value: s.csrf, Expires: s.expires})
	return token
}

func (m *Handler) setCookie(w http.ResponseWriter, r *http.Request, c http.Cookie) {
	c.Path = cmp.Or(m.base, "/")
	c.Secure = isHTTPS(r)
	http.SetCookie(w, &c)
}

// currentUser is who sent the request, by cookie or else by bearer token.
func (m *Handler) currentUser(r *http.Request) (User, bool) {
	token := ""
	if c, err := r.Cookie("MMAUTHTOKEN"); err == nil {
		token = c.Value
	} else if scheme, rest, _ := strings.Cut(r.Header.Get("Authorization"), " "); strings.EqualFold(scheme, "Bearer") {
		token = rest
	}
	return m.userOf(token)
}

// userOf is whose session the token is.
func (m *Handler) userOf(token string) (User, bool) {
	s, ok := m.cfg.Database.session(token, m.cfg.Now())
	return s.user, ok
}

// needLogin answers 401 to requests without a session.
func (m *Handler) needLogin(next func(http.ResponseWriter, *http.Request, User)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		user, ok := m.currentUser(r)
		if !ok {
			fail(w, refuse(http.StatusUnauthorized, "api.context.session_expired.app_error"))
			return
		}
		next(w, r, user)
	}
}
