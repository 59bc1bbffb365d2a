package terminate

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
)

// Reasons to answer a request target with status 400. None repeats the target.
var (
	errTargetMethod    = errors.New("request target: CONNECT has no path")
	errTargetByte      = errors.New("request target: '#', space or control byte")
	errTargetForm      = errors.New("request target: neither a path nor an http URL")
	errTargetAuthority = errors.New("request target: authority is empty or names a user")
	errTargetEscape    = errors.New("request target: bad percent escape or an escaped NUL")
	errTargetClimbs    = errors.New("request target: path leads above the root")
)

// rawPath returns the path of the request target as the client wrote it, with
// its escapes and without the query. For a target in absolute form (RFC 9112
// section 3.2.2) it returns the path part, or "/" if that is empty; the caller
// checks whether the authority is that of the connection.
//
// An error means status 400, with or without a valid secret. It covers what
// servers are known to interpret differently ('#', space and control bytes,
// malformed escapes, an escaped NUL, and "..", escaped or not, above the root),
// the asterisk form and CONNECT.
//
// It reads RequestURI because URL.Path is already decoded: a slash in it may
// have been %2f, which some servers do not treat as a slash.
func rawPath(r *http.Request) (path string, err error) {
	if r.Method == http.MethodConnect {
		return "", errTargetMethod
	}
	target := r.RequestURI
	if strings.ContainsFunc(target, breaksTarget) {
		return "", errTargetByte
	}
	if !strings.HasPrefix(target, "/") {
		if target, err = cutAuthority(target); err != nil {
			return "", err
		}
	}
	path, _, _ = strings.Cut(target, "?")
	return path, checkEscapes(path)
}

func breaksTarget(c rune) bool { return c <= ' ' || c == '#' || c == 0x7f }

// cutAuthority returns the part of an absolute target after its authority.
func cutAuthority(target string) (string, error) {
	scheme, rest, ok := strings.Cut(target, "://")
	if !ok || !strings.EqualFold(scheme, "http") && !strings.EqualFold(scheme, "https") {
		return "", errTargetForm
	}
	end := strings.IndexAny(rest, "/?")
	if end < 0 {
		end = len(rest)
	}
	if end == 0 || strings.Contains(rest[:end], "@") {
		return "", errTargetAuthority
	}
	if rest = rest[end:]; strings.HasPrefix(rest, "/") {
		return rest, nil
	}
	return "/" + rest, nil
}

func checkEscapes(path string) error {
	plain, err := url.PathUnescape(path)
	if err != nil || strings.Contains(plain, "\x00") {
		return errTargetEscape
	}
	if climbs(plain) {
		return errTargetClimbs
	}
	return nil
}

// climbs reports whether ".." in a decoded path leads above the root. Empty
// segments do not count, as in nginx, which merges slashes before it resolves
// "..".
func climbs(path string) bool {
	depth := 0
	for segment := range strings.SplitSeq(path, "/") {
		switch segment {
		case "", ".":
		case "..":
			depth--
		default:
			depth++
		}
		if depth < 0 {
			return true
		}
	}
	return false
}

// canonical reports whether a path can be read in only one way: it starts with
// a slash, has no escape, backslash, doubled slash, query, fragment, space,
// control or non-ASCII byte, and no segment "." or "..". Only canonical paths
// can be exempt, so that no server can take an exempt path for a different one.
func canonical(path string) bool {
	if !strings.HasPrefix(path, "/") {
		return false
	}
	for i := range len(path) {
		if c := path[i]; c <= ' ' || c >= 0x7f || strings.IndexByte(`%\#?`, c) >= 0 {
			return false
		}
	}
	for segment := range strings.SplitSeq(path, "/") {
		if segment == "." || segment == ".." {
			return false
		}
	}
	return !strings.Contains(path, "//")
}
