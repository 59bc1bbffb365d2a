package terminate

import (
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
)

// An Exemption describes requests that need no pre-auth secret. Exactly one of
// Exact, Prefix and Pattern is set. All three match the raw bytes of the path,
// without the query and without the base path.
type Exemption struct {
	// Methods are the exempt methods, in upper case; GET and HEAD if empty.
	// CONNECT and TRACE are never exempt.
	Methods []string
	// Exact matches the whole path.
	Exact string
	// Prefix matches the beginning of the path, byte for byte: "/hooks" also
	// matches "/hooksmith", "/hooks/" does not.
	Prefix string
	// Pattern must match the whole path; it need not be anchored.
	Pattern *regexp.Regexp
}

// anyService matches the segment of any single sign-on service.
const anyService = "[A-Za-z0-9]+"

// The methods that Mattermost routes to these handlers. It answers HEAD only
// below /static/, where the exemption has no Methods and thus permits HEAD.
var (
	getOnly  = []string{http.MethodGet}
	postOnly = []string{http.MethodPost}
	getPost  = []string{http.MethodGet, http.MethodPost}
)

// exemptRedirect returns the paths that a browser loads after its return from
// an identity provider, to hand the session over to the app.
func exemptRedirect() []Exemption {
	return []Exemption{
		{Prefix: "/static/"},
		{Exact: "/api/v4/config/client"},
		{Exact: "/login/desktop"},
	}
}

// exemptStart matches the paths from which a login goes to the identity
// provider. Its "complete" is also one of the addresses to which a provider may
// have been configured to return.
func exemptStart(service string) Exemption {
	return Exemption{Methods: getOnly, Pattern: regexp.MustCompile(
		"/oauth/" + service + "/(complete|login|mobile_login|signup)")}
}

// exemptReturn matches the addresses to which the identity provider sends the
// browser back: the one that the server generates, and its two aliases.
func exemptReturn(service string) Exemption {
	return Exemption{Methods: getOnly, Pattern: regexp.MustCompile(
		"(/signup|/login|/api/v3/oauth)/" + service + "/complete")}
}

func exemptService(service string) []Exemption {
	return append(exemptRedirect(), exemptStart(service), exemptReturn(service))
}

// PresetNames returns the names that [Preset] accepts.
func PresetNames() []string {
	return []string{"always", "sso-redirect", "saml", "openid", "oauth", "gitlab", "google", "office365"}
}

// Preset returns the exemptions of a preset, without a base path:
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
// A <service> is any one segment of letters and digits. The presets openid and
// oauth are exactly those of the Mattermost documentation. A login starts with
// a path of the first and returns to one of the second, so either without the
// other, or both without sso-redirect, permits no login. For custom OAuth
// through the GitLab settings use gitlab; for OpenID Connect use openid, oauth
// and sso-redirect. No preset includes always.
//
// The methods are GET and HEAD where none is given. ok is false if name is not
// one of [PresetNames]. The caller owns the result.
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

// Exemptions is a set of exemptions below a base path. It is immutable; nil and
// the zero value exempt nothing.
type Exemptions struct {
	base string
	list []Exemption // Pattern is anchored, Methods is not empty
}

// NewExemptions checks and compiles the list for a base path, the path of
// Mattermost's SiteURL: "" or, for example, "/mattermost". With a base path,
// the same paths outside it are not exempt.
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
	// Comparing the bounds of a match with the path would not do: the leftmost
	// alternative that matches is taken, even if it ends early and a later one
	// would match the whole path.
	whole, err := regexp.Compile(`\A(?:` + x.Pattern.String() + `)\z`)
	if err != nil {
		return x, fmt.Errorf("pattern %q is not valid on its own: %w", x.Pattern, err)
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
		return errors.New("prefix / exempts every request: remove pre-auth from the route instead")
	}
	return checkMethods(x.Methods)
}

func checkMethods(methods []string) error {
	for _, m := range methods {
		if m == http.MethodConnect || m == http.MethodTrace {
			return fmt.Errorf("method %s is never exempt: remove it", m)
		}
		if m == "" || strings.Trim(m, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != "" {
			return fmt.Errorf("method %q: methods are words in upper case, like POST", m)
		}
	}
	return nil
}

// Match reports whether a request needs no secret. path is the raw path without
// the query, as the client sent it. Only a canonical path can match.
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
		// A path that only shares a prefix with the base path is not below it.
		return strings.HasPrefix(path, "/") && x.Pattern.MatchString(path)
	case x.Prefix != "":
		return strings.HasPrefix(path, x.Prefix)
	}
	return path == x.Exact
}
