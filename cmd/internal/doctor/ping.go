package doctor

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
)

const pingPath = "/api/v4/system/ping"

// ping requests the state of the server, its database and its file store. Then
// it runs the pool's health check, which decides whether the server gets
// connections.
func (s *server) ping(ctx context.Context) *line {
	l := newLine("ping")
	a, err := s.get(ctx, s.base+pingPath+"?get_server_status=true")
	if err != nil {
		l.wrong("see the log of the server", "GET %s: %v", pingPath, err)
		return l
	}
	s.date(a)
	s.noteVersion(a)
	var parts map[string]any
	switch err := json.Unmarshal(a.body, &parts); {
	case a.status == http.StatusTooManyRequests:
		l.warn("raise RateLimitSettings, which counts this machine as one client, or switch it off behind passed-through routes",
			"the server's rate limit refuses the ping of this machine; it may also refuse health checks, and clients if the server does not see their addresses")
	case err != nil || parts["status"] == nil:
		l.wrong("check that this server is a Mattermost, and see its log", "GET %s answers %d without a status%s", pingPath, a.status, redirectText(a))
	default:
		s.sick(l, parts)
		s.asChecked(ctx, l)
	}
	return l
}

// sick reports every part that is not OK.
func (s *server) sick(l *line, parts map[string]any) {
	remedies := map[string]string{
		"status":           "see the log of the server; culvert keeps new clients away as long as the pool has health checks",
		"database_status":  "check the database, and the connection from this server to it",
		"filestore_status": "check the file store, and the connection from this server to it",
	}
	var bad []string
	for _, key := range []string{"database_status", "filestore_status"} {
		if v, ok := parts[key]; ok && v != "OK" {
			l.wrong(remedies[key], "the server reports: %s is %q", key, fmt.Sprint(v))
			bad = append(bad, key)
		}
	}
	if parts["status"] != "OK" && len(bad) == 0 {
		l.wrong(remedies["status"], "the server reports: status is %q", fmt.Sprint(parts["status"]))
	}
	if s.healthy = len(l.troubles) == 0; s.healthy {
		l.see("OK")
	}
}

// asChecked runs the pool's health check on a server that reports OK.
func (s *server) asChecked(ctx context.Context, l *line) {
	if s.site.Probes == nil || s.site.Probes.Port != 0 || !s.healthy {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	r := s.site.Probes.Check.Run(ctx, s.dial)
	switch {
	case r.Err == nil:
	case s.base != "":
		l.wrong(fmt.Sprintf(`use health: {check: https, path: %s%s, body: '"status":"OK"'}, or http, for a server below a subpath`, s.base, pingPath),
			"the server is healthy under %s, but the pool's health check uses the root path, and fails: %v", s.base, r.Err)
	default:
		l.wrong("correct the setting health of the pool", "the server reports OK, but the pool's health check fails: %v", r.Err)
	}
}

// health counts the healthy servers.
func (s *site) health() *line {
	l := newLine("servers")
	well, examined := 0, 0
	var sick []string
	for _, x := range s.servers {
		switch {
		case x.absent():
			continue
		case x.healthy:
			well++
		default:
			sick = append(sick, x.member.Name())
		}
		examined++
	}
	l.see("%d of %d healthy", well, examined)
	switch {
	case examined == 0:
		l.wrong("check the servers of the pool in the file", "every server is down in the file or has no address")
	case well == 0:
		l.wrong("see the lines of the servers", "no server is healthy: no client gets good service")
	case well < examined:
		l.warn("see the lines of "+strings.Join(sick, ", "), "%d of %d servers are healthy: the others carry the load", well, examined)
	}
	return l
}
