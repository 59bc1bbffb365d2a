package terminate

import (
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
)

// An Exemption names requests that need no pre-auth secret. Exactly one of
// Exact, Prefix and Pattern is set. All three speak of the raw bytes of the
// path, without the query and without the base path.
type Exemption struct {
	// Methods are the methods it holds for, in upper case; GET and HEAD if
	// there are none. CONNECT and TRACE are never exempt.
	Methods []string
	// Exact is the whole path.
	Exact string
	// Prefix is what the path begins with, byte for byte: "/hooks" is also
	// the beginning of "/hooksmith", "/hooks/" is not.
	Prefix string
	// Pattern matches the whole path; it need not be anchored.
	Pattern *regexp.Regexp
}

// The services of single sign-on: any of them is one segment.
const anyService = "[A-Za-z0-9]+"

// The methods Mattermost routes to these handlers. It answers HEAD below
// /static/ only, which the nil of an Exemption allows for.
var (
	getOnly  = []string{http.MethodGet}
	postOnly = []string{http.MethodPost}
	getPost  = []string{http.MethodGet, http.MethodPost}
)

// exemptRedirect is what a browser loads that comes back from an identity
// provider to hand the session over to the app.
func exemptRedirect() []Exemption {
	return []Exemption{
		{Prefix: "/static/"},
		{Exact: "/api/v4/config/client"},
		{Exact: "/login/desktop"},
	}
}

// exemptStart is where a login leaves for the identity provider. Its complete
// is one of the addresses a provider may have been told to come back to.
func exemptStart(service string) Exemption {
	return Exemption{Methods: getOnly, Pattern: regexp.MustCompile(
		"/oauth/" + service + "/(complete|login|mobile_login|signup)")}
}

// exemptReturn is where the identity provider sends the browser back to: the
// address the server generates and its two aliases.
func exemptReturn(service string) Exemption {
	return Exemption{Methods: getOnly, Pattern: regexp.MustCompile(
		"(/signup|/login|/api/v3/oauth)/" + service + "/complete")}
}

func exemptService(service string) []Exemption {
	return append(exemptRedirect(), exemptStart(service), exemptReturn(service))
}

// PresetNames returns the names [Preset] knows.
func PresetNames() []string {
	return []string{"always", "sso-redirect", "saml", "openid", "oauth", "gitlab", "google", "office365"}
}

// Preset returns the exemptions known under a name, without a base path:
//
//	always        POST /api/v4/notifications/ack
//	sso-redirect  /static/ and below, /api/v4/config/client, /login/desktop
//	openid        GET /oauth/<service>/ complete, login, mobile_login, signup
//	oauth         GET /signup/<service>/complete, /login/<service>/complete,
//	              /api/v3/oauth/<service>/complete
//	saml          GET and POST /login/sso/saml, and all of sso-redirect
//	gitlab        openid and oauth for the service gitlab, and all of sso-redirect
//	google        the same for the service google
//	office365     the same for the service office365
//
// A <service> is any one segment of letters and digits. The groups openid and
// oauth are those of the Mattermost documentation and nothing more: a login
// starts in the first and returns to the second, so one without the other,
// or both without sso-redirect, lets nobody in. Custom OAuth through the
// GitLab settings is gitlab; OpenID Connect is openid, oauth and sso-redirect.
// No preset includes always.
//
// Methods are GET and HEAD where none is given. ok is false for a name that
// is not in [PresetNames]. The caller owns the result.
func Preset(name string) (list []Exemption, ok bool) {
	switch name {
	case "always":
		return []Exemption{{Methods: postOnly, Exact: "/api/v4/notifications/ack"}}, true
	case "sso-redirect":
		return exemptRedirect(), true
	case "saml":
		return append(exemptRedirect(), Exemption{Methods: getPost, Exact: "/login/sso/saml"}), true
	case "openid":
		return []Exemption{exemptStart(anyService)}, true
	case "oauth":
		return []Exemption{exemptReturn(anyService)}, true
	case "gitlab", "google", "office365":
		return exemptService(name), true
	}
	return nil, false
}

// Exemptions is a set of exemptions below a base path. It is immutable; nil
// and the zero value exempt nothing.
type Exemptions struct {
	base string
	list []Exemption // Pattern is anchored, Methods never empty
}

// NewExemptions checks the list and compiles it for a base path, the path of
// Mattermost's SiteURL: "" or, for example, "/mattermost". With a base path
// the same paths without it are not exempt.
func NewExemptions(basePath string, list []Exemption) (*Exemptions, error) {
	if basePath != "" && (!canonical(basePath) || strings.HasSuffix(basePath, "/")) {
		return nil, fmt.Errorf("base path %q: write it like /mattermost, or leave it out", basePath)
	}
	e := &Exemptions{base: basePath}
	for i, x := range list {
		x, err := x.compile()
		if err != nil {
			return nil, fmt.Errorf("exemption %d: %w", i+1, err)
		}
		e.list = append(e.list, x)
	}
	return e, nil
}

func (x Exemption) compile() (Exemption, error) {
	if err := x.check(); err != nil {
		return x, err
	}
	if x.Methods = slices.Clone(x.Methods); len(x.Methods) == 0 {
		x.Methods = []string{http.MethodGet, http.MethodHead}
	}
	if x.Pattern == nil {
		return x, nil
	}
	// The bounds of a match do not do: the first alternative that matches
	// wins, and it may end early where a later one would not.
	whole, err := regexp.Compile(`\A(?:` + x.Pattern.String() + `)\z`)
	if err != nil {
		return x, fmt.Errorf("pattern %q does not stand by itself: %w", x.Pattern, err)
	}
	x.Pattern = whole
	return x, nil
}

func (x Exemption) check() error {
	set := 0
	for _, is := range []bool{x.Exact != "", x.Prefix != "", x.Pattern != nil} {
		if is {
			set++
		}
	}
	if set != 1 {
		return errors.New("set exactly one of a path, a prefix and a pattern")
	}
	if path := x.Exact + x.Prefix; x.Pattern == nil && !canonical(path) {
		return fmt.Errorf("path %q can never match: begin it with a slash, and leave out escapes, "+
			"backslashes, doubled slashes, queries, and segments of one or two dots", path)
	}
	if x.Prefix == "/" {
		return errors.New("prefix / exempts everything: leave pre-auth out of the route instead")
	}
	return checkMethods(x.Methods)
}

func checkMethods(methods []string) error {
	for _, m := range methods {
		if m == http.MethodConnect || m == http.MethodTrace {
			return fmt.Errorf("method %s is never exempt: take it out", m)
		}
		if m == "" || strings.Trim(m, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != "" {
			return fmt.Errorf("method %q: methods are words in upper case, like POST", m)
		}
	}
	return nil
}

// Match reports whether a request needs no secret. path is the raw path
// without the query, as the client sent it; only a path that can be read in
// one way ever matches.
func (e *Exemptions) Match(method, path string) bool {
	if e == nil || !canonical(path) {
		return false
	}
	rest, ok := strings.CutPrefix(path, e.base)
	if !ok {
		return false
	}
	return slices.ContainsFunc(e.list, func(x Exemption) bool {
		return slices.Contains(x.Methods, method) && x.covers(rest)
	})
}

func (x *Exemption) covers(path string) bool {
	switch {
	case x.Pattern != nil:
		// A path that only begins like the base path is not below it.
		return strings.HasPrefix(path, "/") && x.Pattern.MatchString(path)
	case x.Prefix != "":
		return strings.HasPrefix(path, x.Prefix)
	}
	return path == x.Exact
}
