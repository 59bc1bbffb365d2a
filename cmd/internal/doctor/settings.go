package doctor

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

const settingsPath = "/api/v4/config/client"

// readSettings reads what the server tells everybody of its settings, and
// finds out by the way below which path it serves: it redirects there.
func (s *server) readSettings(ctx context.Context) *line {
	l := newLine("settings")
	a, err := s.get(ctx, settingsPath+"?format=old")
	if err == nil && a.status/100 == 3 {
		if base, ok := subpath(a.header.Get("Location")); ok {
			s.base = base
			a, err = s.get(ctx, base+settingsPath+"?format=old")
		}
	}
	const remedy = "see that this server is a Mattermost, and the log of the server"
	switch {
	case err != nil:
		l.wrong(remedy, "GET %s: %v", settingsPath, err)
	case a.status == http.StatusBadRequest && strings.Contains(string(a.body), "HTTP request to an HTTPS server"):
		s.mistaken = true
		l.wrong("let terminate encrypt, or let the servers speak plain HTTP (ConnectionSecurity empty)",
			"the server speaks TLS, but what culvert sends it is plain HTTP")
	case a.status != http.StatusOK:
		l.wrong(remedy, "GET %s answers %d%s", settingsPath, a.status, whither(a))
	case json.Unmarshal(a.body, &s.settings) != nil || s.settings == nil:
		s.settings = nil
		l.wrong(remedy, "GET %s answers something that is no settings", settingsPath)
	default:
		s.noteVersion(a)
		if s.base != "" {
			l.see("below %s", s.base)
		}
	}
	return l
}

// subpath returns what precedes the path of the settings.
func subpath(location string) (base string, ok bool) {
	u, err := url.Parse(location)
	if err != nil {
		return "", false
	}
	return strings.CutSuffix(u.Path, settingsPath)
}

// whither says where a redirect leads.
func whither(a *answer) string {
	if to := a.header.Get("Location"); to != "" {
		return fmt.Sprintf(" and leads to %q", to)
	}
	return ""
}

// on reports whether a setting is on, as far as the server tells.
func (s *server) on(key string) bool { return s.settings[key] == "true" }
