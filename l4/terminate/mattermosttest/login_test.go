package mattermosttest

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

const (
	legacyDN  = "/C=US/ST=Maryland/L=Meade/O=Mattermost/OU=Smarttotem/CN=mmuser/emailAddress=mmuser@mattermost.com"
	rfc2253DN = "emailAddress=mmuser@mattermost.com,CN=mmuser,OU=Smarttotem,O=Mattermost,L=Meade,ST=Maryland,C=US"
)

func TestCertificateEmail(t *testing.T) {
	for _, tt := range []struct{ name, subject, want string }{
		{"slash form", legacyDN, "mmuser@mattermost.com"},
		{"comma form", rfc2253DN, ""},
		{"comma form, e-mail last", "C=US,CN=mmuser,emailAddress=mmuser@mattermost.com", ""},
		{"commas ending in a slash", "C=US, ST=Maryland, CN=mmuser/emailAddress=mmuser@mattermost.com", "mmuser@mattermost.com"},
		{"Go's pkix.Name", "1.2.840.113549.1.9.1=#0c156d6d75736572,CN=mmuser", ""},
		{"nothing", "", ""},
		{"no e-mail", "/C=US/CN=mmuser", ""},
		{"other case", "/CN=x/EmailAddress=a@b", ""},
		{"space before", "/CN=x/ emailAddress=a@b", ""},
		{"space before the sign", "/CN=x/emailAddress =a@b", ""},
		{"space after the sign stays", "/CN=x/emailAddress= a@b", " a@b"},
		{"without a leading slash", "emailAddress=a@b", "a@b"},
		{"the later one wins", "/emailAddress=a@b/emailAddress=c@d", "c@d"},
		{"injected by the name, real one last", "/CN=x/emailAddress=admin@corp/emailAddress=a@b", "a@b"},
		{"injected by the name, no real one", "/CN=x/emailAddress=admin@corp", "admin@corp"},
		{"injected by the name, real one with a sign", "/CN=x/emailAddress=admin@corp/emailAddress=a=b@c", "admin@corp"},
		{"slash in the e-mail truncates", "/CN=x/emailAddress=a/b@c", "a"},
		{"sign in the e-mail hides it", "/CN=x/emailAddress=a=b@c", ""},
		{"later one empty", "/emailAddress=a@b/emailAddress=", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			check(t, "e-mail", CertificateEmail(tt.subject), tt.want)
		})
	}
}

func TestLogin(t *testing.T) {
	const (
		certificateError = "api.user.login.client_side_cert.certificate.app_error"
		licenceError     = "api.user.login.client_side_cert.license.app_error"
		credentialsError = "api.user.login.invalid_credentials_email_username"
		blankError       = "api.user.login.blank_pwd.app_error"
		botError         = "api.user.login.bot_login_forbidden.app_error"
	)
	certificate := []string{"X-SSL-Client-Cert", "-----BEGIN CERTIFICATE----- not parsed", "X-SSL-Client-Cert-Subject-DN", legacyDN}
	subject := func(dn string) []string {
		return []string{"X-SSL-Client-Cert", "x", "X-SSL-Client-Cert-Subject-DN", dn}
	}
	for _, tt := range []struct {
		name            string
		mode            CertificateLogin
		unlicensed      bool
		login, password string
		headers         []string
		user, refusal   string // one of both
		status          int
	}{
		{name: "password", login: "jane@example.com", password: "jane's", user: "jane", status: 200},
		{name: "name in another case", login: "JANE", password: "jane's", user: "jane", status: 200},
		{name: "wrong password", login: "jane", password: "x", refusal: credentialsError, status: 401},
		{name: "nobody", login: "eve", password: "x", refusal: credentialsError, status: 401},
		{name: "no password", login: "jane", refusal: blankError, status: 400},
		{name: "off ignores the headers", login: "jane", password: "x", headers: certificate, refusal: credentialsError, status: 401},

		{name: "primary", mode: CertificatePrimary, headers: certificate, user: "mmuser", status: 200},
		{name: "primary replaces the name", mode: CertificatePrimary, login: "jane", password: "jane's", headers: certificate, user: "mmuser", status: 200},
		{name: "primary asks for no password", mode: CertificatePrimary, login: "mmuser", password: "wrong", headers: certificate, user: "mmuser", status: 200},
		{name: "primary without headers", mode: CertificatePrimary, login: "jane", password: "jane's", refusal: certificateError, status: 400},
		{name: "primary without the certificate", mode: CertificatePrimary, headers: certificate[2:], refusal: certificateError, status: 400},
		{name: "primary without the subject", mode: CertificatePrimary, headers: certificate[:2], refusal: certificateError, status: 400},
		{name: "primary with the comma form", mode: CertificatePrimary, headers: subject(rfc2253DN), refusal: certificateError, status: 400},
		{name: "primary for a bot", mode: CertificatePrimary, headers: subject("/emailAddress=bot@example.com"), refusal: botError, status: 401},
		{name: "primary for nobody", mode: CertificatePrimary, headers: subject("/emailAddress=eve@example.com"), refusal: credentialsError, status: 401},
		{name: "primary without licence", mode: CertificatePrimary, unlicensed: true, headers: certificate, refusal: licenceError, status: 400},

		{name: "secondary does not compare", mode: CertificateSecondary, login: "jane", password: "jane's", headers: certificate, user: "jane", status: 200},
		{name: "secondary checks the password", mode: CertificateSecondary, login: "mmuser", password: "wrong", headers: certificate, refusal: credentialsError, status: 401},
		{name: "secondary without headers", mode: CertificateSecondary, login: "jane", password: "jane's", refusal: certificateError, status: 400},
		{name: "secondary without licence", mode: CertificateSecondary, unlicensed: true, login: "jane", password: "jane's", headers: certificate, refusal: licenceError, status: 400},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := newNode(t, Config{CertificateLogin: tt.mode, FutureFeatures: !tt.unlicensed, Database: people()})
			body := fmt.Sprintf(`{"login_id":%q,"password":%q}`, tt.login, tt.password)
			resp := send(t, m, "POST /api/v4/users/login", body, tt.headers...)
			check(t, "status", resp.StatusCode, tt.status)
			if tt.user == "" {
				check(t, "refusal", refusalID(t, resp), tt.refusal)
				check(t, "token", resp.Header.Get("Token"), "")
				return
			}
			check(t, "user", decodeBody[User](t, resp).Username, tt.user)
			me := send(t, m, "GET /api/v4/users/me", "", "Authorization", "Bearer "+resp.Header.Get("Token"))
			check(t, "me", decodeBody[User](t, me).Username, tt.user)
		})
	}
}

// people is a database of three users.
func people() *Database {
	db := &Database{}
	db.AddUser(User{Username: "jane", Email: "jane@example.com", Password: "jane's"})
	db.AddUser(User{Username: "mmuser", Email: "mmuser@mattermost.com", Password: "mmuser's"})
	db.AddUser(User{Username: "bot", Email: "bot@example.com", Bot: true})
	return db
}

func TestCertificateLoginIsRefusedAtTheStart(t *testing.T) {
	for _, tt := range []struct {
		version int
		mode    CertificateLogin
		ok      bool
	}{
		{10, CertificatePrimary, true}, {10, CertificateSecondary, true}, {0, CertificatePrimary, true},
		{11, CertificateOff, true}, {11, CertificatePrimary, false}, {11, CertificateSecondary, false},
		{12, CertificatePrimary, false}, {10, "both", false},
	} {
		_, err := NewHandler(Config{Version: tt.version, CertificateLogin: tt.mode})
		check(t, fmt.Sprintf("version %d, %q", tt.version, tt.mode), err == nil, tt.ok)
	}
}

func TestLoginCookies(t *testing.T) {
	const body = `{"login_id":"jane","password":"jane's"}`
	for _, tt := range []struct {
		name    string
		target  string
		headers []string
		secure  bool
	}{
		{"plain", "/api/v4/users/login", nil, false},
		{"forwarded https", "/api/v4/users/login", []string{"X-Forwarded-Proto", "https"}, true},
		{"forwarded http", "/api/v4/users/login", []string{"X-Forwarded-Proto", "http"}, false},
		{"forwarded in another case", "/api/v4/users/login", []string{"X-Forwarded-Proto", "HTTPS"}, false},
		{"forwarded twice", "/api/v4/users/login", []string{"X-Forwarded-Proto", "https, http"}, false},
		{"its own TLS", "https://chat.example.com/api/v4/users/login", nil, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := newNode(t, Config{Database: people()})
			resp := send(t, m, "POST "+tt.target, body, tt.headers...)
			for _, name := range []string{"MMAUTHTOKEN", "MMUSERID", "MMCSRF"} {
				c := cookie(resp, name)
				if c == nil || c.Value == "" {
					t.Fatalf("no cookie %s", name)
				}
				check(t, name+" Secure", c.Secure, tt.secure)
				check(t, name+" HttpOnly", c.HttpOnly, name == "MMAUTHTOKEN")
				check(t, name+" Path", c.Path, "/")
			}
		})
	}
}

func TestSessionOnAnotherNodeUntilItExpires(t *testing.T) {
	clock := &later{}
	cfg := Config{Database: people(), Now: clock.now}
	a, b := newNode(t, cfg), newNode(t, cfg)
	token := send(t, a, "POST /api/v4/users/login", `{"login_id":"jane","password":"jane's"}`).Header.Get("Token")
	me := func() int {
		return send(t, b, "GET /api/v4/users/me", "", "Cookie", "MMAUTHTOKEN="+token).StatusCode
	}
	check(t, "at first", me(), 200)
	clock.by = sessionLength - time.Minute
	check(t, "in the end", me(), 200)
	clock.by = sessionLength + time.Minute
	check(t, "afterwards", me(), 401)
}

func TestWhatNeedsALogin(t *testing.T) {
	m := newNode(t, Config{Database: people()})
	token := send(t, m, "POST /api/v4/users/login", `{"login_id":"jane","password":"jane's"}`).Header.Get("Token")
	for _, request := range []string{"GET /api/v4/users/me", "POST /api/v4/notifications/ack"} {
		check(t, request+" without", send(t, m, request, "{}").StatusCode, 401)
		check(t, request+" with a wrong token", send(t, m, request, "{}", "Authorization", "Bearer x").StatusCode, 401)
		check(t, request+" by cookie", send(t, m, request, "{}", "Cookie", "MMAUTHTOKEN="+token).StatusCode, 200)
		check(t, request+" by token", send(t, m, request, "{}", "Authorization", "Bearer "+token).StatusCode, 200)
	}
}

func TestPayloadLimit(t *testing.T) {
	body := func(size int) string {
		const frame = `{"login_id":"jane","password":""}`
		return strings.Replace(frame, `:""`, `:"`+strings.Repeat("x", size-len(frame))+`"`, 1)
	}
	m := newNode(t, Config{Database: people()})
	check(t, "at the limit", send(t, m, "POST /api/v4/users/login", body(maxPayload)).StatusCode, 401)
	check(t, "above it", send(t, m, "POST /api/v4/users/login", body(maxPayload+1)).StatusCode, 413)
	check(t, "no JSON", send(t, m, "POST /api/v4/users/login", "x").StatusCode, 400)
}
