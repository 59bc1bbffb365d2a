package mattermosttest

import (
	"fmt"
	"html"
	"net/http"
	"strings"
	"time"
)

// asset is the content of a file under /static/, if there is one. The names
// have no directories.
func asset(name string) (content string, ok bool) {
	switch name {
	case "a.js", "main.js":
		return "document.documentElement.dataset.script = 'loaded'\n", true
	case "main.css":
		return "body { font-family: sans-serif }\n", true
	}
	return "", false
}

// static answers GET and HEAD of /static/.
func (m *Handler) static(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("file")
	content, ok := asset(name)
	if !ok {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Cache-Control", "max-age=31556926, public")
	http.ServeContent(w, r, name, time.Time{}, strings.NewReader(content))
}

// page answers with the web app: who is logged in, an error if the address has
// one, and a link to log in with.
func (m *Handler) page(w http.ResponseWriter, r *http.Request) {
	who := "nobody"
	if user, ok := m.currentUser(r); ok {
		who = user.Username
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Cache-Control", "no-cache, max-age=31556926")
	fmt.Fprintf(w, `<!DOCTYPE html>
<title>mattermosttest</title>
<link rel="stylesheet" href="%[1]s/static/main.css">
<script src="%[1]s/static/main.js" defer></script>
<p>Logged in: <span id="user">%[2]s</span></p>
<p id="error">%[3]s</p>
<a id="gitlab" href="%[1]s/oauth/gitlab/login">GitLab</a>
`, html.EscapeString(m.base), html.EscapeString(who), html.EscapeString(r.URL.Query().Get("message")))
}

// clientConfig answers GET /api/v4/config/client.
func (m *Handler) clientConfig(w http.ResponseWriter, r *http.Request) {
	if format := r.URL.Query().Get("format"); format != "" && format != "old" {
		fail(w, refuse(http.StatusBadRequest, "api.context.invalid_url_param.app_error"))
		return
	}
	answer(w, http.StatusOK, map[string]string{
		"Version":                m.version(),
		"SiteURL":                m.cfg.SiteURL,
		"SiteName":               "mattermosttest",
		"EnableSignUpWithGitLab": fmt.Sprint(m.cfg.GitLab.Enable),
		"WebsocketURL":           "",
	})
}
