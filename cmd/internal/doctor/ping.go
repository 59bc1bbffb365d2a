package doctor

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
)

const pingPath = "/api/v4/system/ping"

// ping asks the server how it, its database and its file store are. Then it
// asks as culvert's own health check does, which decides who gets clients.
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
			"the server's rate limit refuses the ping of this machine, and so may it refuse health checks and, without their own addresses, clients")
	case err != nil || parts["status"] == nil:
		l.wrong("see that this server is a Mattermost, and the log of the server", "GET %s answers %d and no status%s", pingPath, a.status, whither(a))
	default:
		s.sick(l, parts)
		s.asChecked(ctx, l)
	}
	return l
}

// sick reports every part that is not well.
func (s *server) sick(l *line, parts map[string]any) {
	remedies := map[string]string{
		"status":           "see the log of the server; culvert keeps new clients away as long as the pool has health checks",
		"database_status":  "see to the database, and to the way from this server to it",
		"filestore_status": "see to the file store, and to the way from this server to it",
	}
	var bad []string
	for _, key := range []string{"database_status", "filestore_status"} {
		if v, ok := parts[key]; ok && v != "OK" {
			l.wrong(remedies[key], "the server says of itself: %s is %q", key, fmt.Sprint(v))
			bad = append(bad, key)
		}
	}
	if parts["status"] != "OK" && len(bad) == 0 {
		l.wrong(remedies["status"], "the server says of itself: status is %q", fmt.Sprint(parts["status"]))
	}
	if s.healthy = len(l.troubles) == 0; s.healthy {
		l.see("OK")
	}
}

// asChecked runs the health check of the file at a server that is well.
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
			"the server is well below %s, but the pool's health check asks at the root, and takes it for down: %v", s.base, r.Err)
	default:
		l.wrong("correct the health of the pool", "the server is well, but the pool's health check fails: %v", r.Err)
	}
}

// health counts the servers that are well.
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
		l.wrong("see to the servers of the pool", "no server is in service by the file")
	case well == 0:
		l.wrong("see the servers' own lines", "no server is healthy: nobody is served well")
	case well < examined:
		l.warn("see the lines of "+strings.Join(sick, ", "), "%d of %d servers are healthy: the others carry the load", well, examined)
	}
	return l
}
