package mattermosttest

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
)

// maxPayload bounds every body that is not a file, in bytes, as in Mattermost
// 9.9. Larger ones get status 413.
const maxPayload = 300_000

// CertificateLogin is what the headers of a client certificate do at login.
type CertificateLogin string

// With CertificatePrimary the e-mail in the headers replaces the login name
// and no password is asked for; with CertificateSecondary there has to be one,
// and the password is checked as ever.
const (
	CertificateOff       CertificateLogin = ""
	CertificatePrimary   CertificateLogin = "primary"
	CertificateSecondary CertificateLogin = "secondary"
)

// CertificateEmail returns the e-mail address the server finds in the header
// X-SSL-Client-Cert-Subject-DN, "" if it finds none. It takes the last of the
// slash-separated pieces that has one equals sign and exactly emailAddress
// before it.
func CertificateEmail(subject string) string {
	email := ""
	for piece := range strings.SplitSeq(subject, "/") {
		if parts := strings.Split(piece, "="); len(parts) == 2 && parts[0] == "emailAddress" {
			email = parts[1]
		}
	}
	return email
}

// login answers POST /api/v4/users/login. The token is in the header Token
// and, unlike Mattermost, in the cookies also if the client is no web app.
func (m *Handler) login(w http.ResponseWriter, r *http.Request) {
	var body struct {
		Login    string `json:"login_id"`
		Password string `json:"password"`
	}
	if err := decode(w, r, &body); err != nil {
		fail(w, err)
		return
	}
	user, err := m.authenticate(r.Header, body.Login, body.Password)
	if err != nil {
		fail(w, err)
		return
	}
	w.Header().Set("Token", m.logIn(w, r, user))
	answer(w, http.StatusOK, user)
}

// authenticate looks at the password unless a certificate has done enough.
func (m *Handler) authenticate(h http.Header, login, password string) (User, error) {
	email, err := m.certificate(h)
	if err != nil {
		return User{}, err
	}
	primary := m.cfg.CertificateLogin == CertificatePrimary
	if primary {
		login = email
	} else if password == "" {
		return User{}, refuse(http.StatusBadRequest, "api.user.login.blank_pwd.app_error")
	}
	user, ok := m.cfg.Database.userByLogin(login)
	switch {
	case ok && user.Bot:
		return User{}, refuse(http.StatusUnauthorized, "api.user.login.bot_login_forbidden.app_error")
	case !ok, !primary && (user.Password == "" || user.Password != password):
		return User{}, refuse(http.StatusUnauthorized, m.badCredentials())
	}
	return user, nil
}

// certificate returns the e-mail of the certificate's headers, which have to
// be there if certificate login is on. The certificate itself is not parsed.
func (m *Handler) certificate(h http.Header) (email string, err error) {
	if m.cfg.CertificateLogin == CertificateOff {
		return "", nil
	}
	if !m.cfg.FutureFeatures {
		return "", refuse(http.StatusBadRequest, "api.user.login.client_side_cert.license.app_error")
	}
	email = CertificateEmail(h.Get("X-SSL-Client-Cert-Subject-DN"))
	if h.Get("X-SSL-Client-Cert") == "" || email == "" {
		return "", refuse(http.StatusBadRequest, "api.user.login.client_side_cert.certificate.app_error")
	}
	return email, nil
}

func (m *Handler) badCredentials() string {
	if m.cfg.GitLab.Enable {
		return "api.user.login.invalid_credentials_sso"
	}
	return "api.user.login.invalid_credentials_email_username"
}

// decode reads a JSON body of bounded size.
func decode(w http.ResponseWriter, r *http.Request, v any) error {
	err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxPayload)).Decode(v)
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return refuse(http.StatusRequestEntityTooLarge, "api.context.request_body_too_large.app_error")
	case err != nil:
		return refuse(http.StatusBadRequest, "api.context.invalid_body_param.app_error")
	}
	return nil
}

// me answers GET /api/v4/users/me.
func (m *Handler) me(w http.ResponseWriter, _ *http.Request, user User) {
	answer(w, http.StatusOK, user)
}

// acknowledge answers POST /api/v4/notifications/ack.
func (m *Handler) acknowledge(w http.ResponseWriter, r *http.Request, _ User) {
	var body map[string]any
	if err := decode(w, r, &body); err != nil {
		fail(w, err)
		return
	}
	answer(w, http.StatusOK, map[string]string{"status": "OK"})
}
