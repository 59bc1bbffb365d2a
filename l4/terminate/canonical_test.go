package terminate

import (
	"bufio"
	"net/http"
	"net/url"
	"path"
	"strings"
	"testing"
)

func TestCanonicalPaths(t *testing.T) {
	tests := []struct {
		name, path string
		want       bool
	}{
		{"top", "/", true},
		{"file", "/static/a.js", true},
		{"directory", "/static/", true},
		{"dots within a name", "/static/..a/b../...", true},
		{"hidden file", "/.well-known/x", true},
		{"every other ASCII byte", "/!\"$&'()*+,-.:;<=>@[]^_`{|}~", true},
		{"empty", "", false},
		{"relative", "static/a.js", false},
		{"asterisk", "*", false},
		{"URL", "http://h/static/a.js", false},
		{"escape", "/static/%61.js", false},
		{"bare percent", "/static/100%", false},
		{"backslash", `/static\a.js`, false},
		{"doubled slash in front", "//static/a.js", false},
		{"doubled slash at the end", "/static//", false},
		{"fragment", "/static/#", false},
		{"query", "/static/?x", false},
		{"space", "/static/a b", false},
		{"control", "/static/\x1f", false},
		{"NUL", "/static/\x00", false},
		{"DEL", "/static/\x7f", false},
		{"non-ASCII", "/static/\u00e4", false},
		{"byte above ASCII", "/static/\x80", false},
		{"dot", "/static/./a.js", false},
		{"dot at the end", "/static/.", false},
		{"dot in front", "/./static/", false},
		{"dot dot", "/static/../a.js", false},
		{"dot dot at the end", "/static/..", false},
		{"dot dot in front", "/../static/", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := canonical(tt.path); got != tt.want {
				t.Errorf("canonical(%q) = %v, want %v", tt.path, got, tt.want)
			}
		})
	}
}

func TestRawPathOfTarget(t *testing.T) {
	tests := []struct {
		name, target, want string
		err                error
	}{
		{name: "path", target: "/a/b", want: "/a/b"},
		{name: "top", target: "/", want: "/"},
		{name: "query", target: "/a?b=/../../c", want: "/a"},
		{name: "empty query", target: "/a?", want: "/a"},
		{name: "second question mark", target: "/a?b?c", want: "/a"},
		{name: "bad escape in the query", target: "/a?b=%", want: "/a"},
		{name: "escapes stay", target: "/a%2fb%20%61%C3%A4", want: "/a%2fb%20%61%C3%A4"},
		{name: "escaped question mark and fragment", target: "/a%3Fb%23c", want: "/a%3Fb%23c"},
		{name: "non-ASCII stays", target: "/\u00e4\xff", want: "/\u00e4\xff"},
		{name: "dot dot below the top", target: "/a/b/../../c", want: "/a/b/../../c"},
		{name: "up to the root", target: "/a/..", want: "/a/.."},
		{name: "escaped twice", target: "/%252e%252e/a", want: "/%252e%252e/a"},
		{name: "three dots", target: "/.../a", want: "/.../a"},
		{name: "two slashes in front are no authority", target: "//h/a", want: "//h/a"},
		{name: "absolute", target: "http://h/a/b?c", want: "/a/b"},
		{name: "absolute with port", target: "HTTPS://h:8443/a", want: "/a"},
		{name: "absolute without path", target: "http://h", want: "/"},
		{name: "absolute with query only", target: "http://h?/a", want: "/"},
		{name: "URL in a path", target: "/a/http://h/b", want: "/a/http://h/b"},

		{name: "empty", target: "", err: errTargetForm},
		{name: "asterisk", target: "*", err: errTargetForm},
		{name: "relative", target: "a/b", err: errTargetForm},
		{name: "query alone", target: "?a", err: errTargetForm},
		{name: "authority", target: "h:443", err: errTargetForm},
		{name: "one slash after the scheme", target: "http:/h/a", err: errTargetForm},
		{name: "opaque", target: "http:a", err: errTargetForm},
		{name: "other scheme", target: "ftp://h/a", err: errTargetForm},
		{name: "no scheme", target: "://h/a", err: errTargetForm},
		{name: "no authority", target: "http:///a", err: errTargetAuthority},
		{name: "no authority and a query", target: "http://?a", err: errTargetAuthority},
		{name: "user in the authority", target: "http://u@h/a", err: errTargetAuthority},
		{name: "fragment", target: "/a#b", err: errTargetByte},
		{name: "fragment in the query", target: "/a?b#c", err: errTargetByte},
		{name: "fragment in the authority", target: "http://h#/a", err: errTargetByte},
		{name: "NUL", target: "/a\x00", err: errTargetByte},
		{name: "line feed", target: "/a\nb", err: errTargetByte},
		{name: "space", target: "/a b", err: errTargetByte},
		{name: "DEL", target: "/a\x7f", err: errTargetByte},
		{name: "escaped NUL", target: "/a%00", err: errTargetEscape},
		{name: "not hexadecimal", target: "/a%zz", err: errTargetEscape},
		{name: "half an escape", target: "/a%2", err: errTargetEscape},
		{name: "escape cut by the query", target: "/a%2?f", err: errTargetEscape},
		{name: "climbs", target: "/../a", err: errTargetClimbs},
		{name: "climbs escaped", target: "/%2e%2E/a", err: errTargetClimbs},
		{name: "climbs half escaped", target: "/.%2e/a", err: errTargetClimbs},
		{name: "climbs by escaped slashes", target: "/a%2f..%2f..%2fb", err: errTargetClimbs},
		{name: "climbs at the end", target: "/a/../..", err: errTargetClimbs},
		{name: "climbs and comes back", target: "/a/../../a/b", err: errTargetClimbs},
		{name: "empty segments do not count", target: "/a//../../b", err: errTargetClimbs},
		{name: "dot segments do not count", target: "/a/./../../b", err: errTargetClimbs},
		{name: "climbs in the absolute form", target: "http://h/../a", err: errTargetClimbs},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := rawPath(&http.Request{Method: http.MethodGet, RequestURI: tt.target})
			if err != tt.err {
				t.Fatalf("rawPath(%q): error %v, want %v", tt.target, err, tt.err)
			}
			if err == nil && got != tt.want {
				t.Errorf("rawPath(%q) = %q, want %q", tt.target, got, tt.want)
			}
		})
	}
}

func TestRawPathOfConnectIsAnError(t *testing.T) {
	for _, target := range []string{"h:443", "/api/v4/websocket", "http://h/", "*", ""} {
		_, err := rawPath(&http.Request{Method: http.MethodConnect, RequestURI: target})
		if err != errTargetMethod {
			t.Errorf("CONNECT %s: error %v, want %v", target, err, errTargetMethod)
		}
	}
}

// FuzzRawPath checks that the decoded result of rawPath equals the path that
// net/http found in the request, so that matching and forwarding use the same
// path, and that no way of cleaning the result leads above the root.
func FuzzRawPath(f *testing.F) {
	for _, target := range []string{
		"/", "/a/b?c", "/a%2f..%2f..%2fb", "//h/a", "http://h/a/../b", "http://h?x", "https://h:1",
		"/a/.%2e/../b", "/%252e%252e", "*", "/a#b", "/a//../../b", "http://u@h/", "/\xff%ff",
	} {
		f.Add(target)
	}
	f.Fuzz(func(t *testing.T, target string) {
		if strings.ContainsAny(target, "\r\n") {
			return // it would end the request line
		}
		wire := "GET " + target + " HTTP/1.1\r\nHost: h\r\n\r\n"
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(wire)))
		if err != nil {
			return
		}
		got, err := rawPath(r)
		if err != nil {
			return
		}
		plain, err := url.PathUnescape(got)
		if err != nil {
			t.Fatalf("rawPath(%q) = %q: %v", target, got, err)
		}
		if want := r.URL.Path; plain != want && (want != "" || plain != "/") {
			t.Fatalf("rawPath(%q) = %q, decoded %q, but URL.Path is %q", target, got, plain, want)
		}
		// A path above the root would make the relative path start with "..".
		if rel := path.Clean(strings.TrimLeft(plain, "/")); rel == ".." || strings.HasPrefix(rel, "../") {
			t.Fatalf("rawPath(%q) = %q, which leads above the root to %q", target, got, rel)
		}
		if strings.Contains(plain, "\x00") {
			t.Fatalf("rawPath(%q) = %q, which contains a NUL", target, got)
		}
	})
}
