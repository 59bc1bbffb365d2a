package mattermosttest

import (
	"net/http"
	"path"
	"regexp"
	"slices"
	"strings"
)

// route is a path, below the subpath, and who handles it. The groups of its
// pattern become the request's path values.
type route struct {
	methods []string
	pattern *regexp.Regexp
	handle  http.HandlerFunc
}

// table lists the routes. Its patterns match whole decoded paths, with case.
func (m *Handler) table() []route {
	get, post, file := []string{"GET"}, []string{"POST"}, []string{"GET", "HEAD"}
	on := func(methods []string, pattern string, handle http.HandlerFunc) route {
		return route{methods, regexp.MustCompile(`^` + pattern + `$`), handle}
	}
	return []route{
		on(get, `/api/v4/system/ping`, m.ping),
		on(get, `/api/v4/config/client`, m.clientConfig),
		on(post, `/api/v4/users/login`, m.login),
		on(get, `/api/v4/users/me`, m.needLogin(m.me)),
		on(post, `/api/v4/notifications/ack`, m.needLogin(m.acknowledge)),
		on(post, `/api/v4/files`, m.upload),
		on(get, `/api/v4/files/(?P<id>[A-Za-z0-9]+)`, m.download),
		on(get, `/api/v4/websocket/?`, m.websocket),
		on(get, `/oauth/(?P<service>[A-Za-z0-9]+)/(?P<step>login|signup|mobile_login)`, m.startSSO),
		on(get, `/(?:signup|login|oauth|api/v3/oauth)/(?P<service>[A-Za-z0-9]+)/complete`, m.completeSSO),
		on(file, `/static/(?P<file>.+)`, m.static),
		on(get, `/(?:static|login|login/desktop|error)?`, m.page),
	}
}

// cleanPath is the canonical form of p: gorilla/mux 1.8.1 redirects to it
// before it looks for a route.
func cleanPath(p string) string {
	if !strings.HasPrefix(p, "/") {
		p = "/" + p
	}
	clean := path.Clean(p)
	if strings.HasSuffix(p, "/") && clean != "/" {
		clean += "/"
	}
	return clean
}

// dispatch finds the route of a request. Paths outside the subpath lead into
// it, as does the subpath without its slash.
func (m *Handler) dispatch(w http.ResponseWriter, r *http.Request) {
	if clean := cleanPath(r.URL.Path); clean != r.URL.Path {
		redirectPath(w, r, clean, http.StatusMovedPermanently)
		return
	}
	if r.URL.Path == m.base {
		redirectPath(w, r, m.base+"/", http.StatusFound)
		return
	}
	below, ok := strings.CutPrefix(r.URL.Path, m.base+"/")
	if !ok {
		redirectPath(w, r, m.base+r.URL.Path, http.StatusFound)
		return
	}
	m.route(w, r, "/"+below)
}

func redirectPath(w http.ResponseWriter, r *http.Request, path string, status int) {
	u := *r.URL
	u.Path = path
	w.Header().Set("Location", u.String())
	w.WriteHeader(status)
}

// route calls the handler of a path below the subpath. The API has a catch-all
// that hides a wrong method, HEAD included; other routes own up to it.
func (m *Handler) route(w http.ResponseWriter, r *http.Request, path string) {
	status := http.StatusNotFound
	for _, route := range m.routes {
		match := route.pattern.FindStringSubmatch(path)
		if match == nil {
			continue
		}
		if !slices.Contains(route.methods, r.Method) {
			status = http.StatusMethodNotAllowed
			continue
		}
		for i, name := range route.pattern.SubexpNames()[1:] {
			r.SetPathValue(name, match[i+1])
		}
		route.handle(w, r)
		return
	}
	if strings.HasPrefix(path, "/api/") {
		fail(w, refuse(http.StatusNotFound, "api.context.404.app_error"))
		return
	}
	http.Error(w, http.StatusText(status), status)
}
