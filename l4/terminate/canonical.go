package terminate

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
)

// Why a request target is answered with status 400. None repeats the target.
var (
	errTargetMethod    = errors.New("request target: CONNECT names no path")
	errTargetByte      = errors.New("request target: '#', space or control byte")
	errTargetForm      = errors.New("request target: neither a path nor an http URL")
	errTargetAuthority = errors.New("request target: authority is empty or names a user")
	errTargetEscape    = errors.New("request target: bad percent escape or an escaped NUL")
	errTargetClimbs    = errors.New("request target: climbs above the top")
)

// rawPath returns the path of the request target as the client wrote it,
// escapes and all, without the query. Of the absolute form (RFC 9112 section
// 3.2.2) it returns the path part, which is "/" where there is none; whether
// the authority is the one of the connection is the caller's to check.
//
// An error means status 400, whatever secret the request has. It covers what
// servers are known to read in different ways ('#', space and control bytes,
// a bad escape, an escaped NUL, "..", escaped or not, above the top), the
// asterisk form and CONNECT.
//
// It reads RequestURI because URL.Path is decoded already: a slash in it may
// have been %2f, which not everyone behind culvert takes for a slash.
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

// cutAuthority returns what follows the authority of an absolute target.
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

// climbs reports whether a decoded path leaves the top. Empty segments do not
// count, as in nginx, which merges slashes before it resolves "..".
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

// canonical reports whether a path can be read in one way only: it starts
// with a slash, has no escape, backslash, doubled slash, query, fragment,
// space, control or non-ASCII byte, and no segment "." or "..". Nothing else
// is ever exempt, so that no server behind culvert can take an exempt path
// for another one.
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
