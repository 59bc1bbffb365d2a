package doctor

import (
	"context"
	"net/http"
	"net/url"

	"github.com/coder/websocket"
)

const socketPath = "/api/v4/websocket"

// foreignOrigin is an Origin that no site should accept for WebSockets:
// .invalid is reserved (RFC 2606).
const foreignOrigin = "https://culvert-doctor.invalid"

// websocket opens a WebSocket as the web app does, which must work, and one with
// a foreign Origin, which must be refused.
func (s *server) websocket(ctx context.Context) *line {
	l := newLine("websocket")
	own := s.public()
	origin := (&url.URL{Scheme: own.Scheme, Host: own.Host}).String()
	status, err := s.upgrade(ctx, origin, own.Host)
	switch {
	case status == http.StatusSwitchingProtocols:
		l.see("101")
	case status == http.StatusForbidden, status == http.StatusBadRequest:
		s.refused(l, own, status)
		return l
	case status != 0:
		l.wrong("see the log of the server, and check what is between culvert and the server: a proxy may drop Upgrade", "a WebSocket is answered with %d", status)
		return l
	default:
		l.wrong("see the log of the server", "a WebSocket cannot be opened: %s", reason(err))
		return l
	}
	if status, _ := s.upgrade(ctx, foreignOrigin, own.Host); status == http.StatusSwitchingProtocols {
		l.wrong(`take the * out of MM_SERVICESETTINGS_ALLOWCORSFROM, and list the origins that need it`,
			"the server opens a WebSocket for pages of any site, here from the Origin %s", foreignOrigin)
	}
	return l
}

// refused reports that the site's own Origin was refused. It is only a warning
// if neither the file nor the server has the site's address, because the right
// one may have another port.
func (s *server) refused(l *line, own *url.URL, status int) {
	r, remedy := Wrong, "set "+settingSiteURL+"="+own.String()+" on every node: browsers get no messages until then"
	if s.site.SiteURL == nil && s.settings["SiteURL"] == "" {
		r, remedy = Warning, "set site_url to the address of the site for users; if that is "+own.String()+", "+remedy
	}
	l.add(r, remedy, "the server refuses a WebSocket of the site's own pages, from the Origin %s://%s, with %d", own.Scheme, own.Host, status)
}

// upgrade opens a WebSocket and closes it at once. The status is 0 if there was
// no answer.
func (s *server) upgrade(ctx context.Context, origin, host string) (status int, err error) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	proto := ""
	if s.site.forwards {
		proto = "https"
	}
	h := s.headers(proto)
	h.Set("Origin", origin)
	conn, res, err := websocket.Dial(ctx, s.target()+s.base+socketPath, &websocket.DialOptions{HTTPClient: s.client, HTTPHeader: h, Host: host})
	if err == nil {
		_ = conn.CloseNow()
	}
	if res != nil {
		status = res.StatusCode
	}
	return status, err
}
