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

// readSettings reads the settings that the server shows without a login. If the
// server redirects to a subpath, readSettings also sets base.
func (s *server) readSettings(ctx context.Context) *line {
	l := newLine("settings")
	a, err := s.get(ctx, settingsPath+"?format=old")
	if err == nil && a.status/100 == 3 {
		if base, ok := subpath(a.header.Get("Location")); ok {
			s.base = base
			a, err = s.get(ctx, base+settingsPath+"?format=old")
		}
	}
	const remedy = "check that this server is a Mattermost, and see its log"
	switch {
	case err != nil:
		l.wrong(remedy, "GET %s: %v", settingsPath, err)
	case a.status == http.StatusBadRequest && strings.Contains(string(a.body), "HTTP request to an HTTPS server"):
		s.mistaken = true
		l.wrong("set encrypt under terminate, or make the servers accept plain HTTP (ConnectionSecurity empty)",
			"the server expects TLS, but culvert sends plain HTTP")
	case a.status != http.StatusOK:
		l.wrong(remedy, "GET %s answers %d%s", settingsPath, a.status, redirectText(a))
	case json.Unmarshal(a.body, &s.settings) != nil || s.settings == nil:
		s.settings = nil
		l.wrong(remedy, "GET %s does not answer with settings", settingsPath)
	default:
		s.noteVersion(a)
		if s.base != "" {
			l.see("below %s", s.base)
		}
	}
	return l
}

// subpath returns the part of a redirect's path before the path of the settings.
func subpath(location string) (base string, ok bool) {
	u, err := url.Parse(location)
	if err != nil {
		return "", false
	}
	return strings.CutSuffix(u.Path, settingsPath)
}

// redirectText describes the target of a redirect, "" if a is no redirect.
func redirectText(a *answer) string {
	if to := a.header.Get("Location"); to != "" {
		return fmt.Sprintf(" and redirects to %q", to)
	}
	return ""
}

// on reports whether a setting is shown and on.
func (s *server) on(key string) bool { return s.settings[key] == "true" }
