package doctor

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"culvert/cmd/internal/config"
)

// settingTrusted is how servers learn whose word on client addresses counts.
const settingTrusted = "MM_SERVICESETTINGS_TRUSTEDPROXYIPHEADER"

// scheme checks that the server takes its clients for clients of https: by its
// own TLS, or by what culvert says. The cookie of a login that begins is what
// shows it without one.
func (s *server) scheme(ctx context.Context) *line {
	if !s.site.tls && !s.site.forwards {
		return nil
	}
	l := newLine("https")
	proto := ""
	if s.site.forwards {
		proto = "https"
	}
	if a, err := s.getAs(ctx, s.base+"/", proto); err == nil {
		s.checkRedirect(l, a)
	}
	service := s.cookieService()
	if service == "" {
		l.see("no cookie to see")
		l.note("without single sign-on no cookie can be seen before a login: look for Secure at MMAUTHTOKEN in a browser")
		return l
	}
	a, err := s.getAs(ctx, s.base+startPath(service), proto)
	if err != nil || len(cookies(a)) == 0 {
		l.see("no cookie to see")
		return l
	}
	if open := insecure(a); len(open) == 0 {
		l.see("cookies are Secure")
	} else if s.site.tls {
		l.wrong("see what is between culvert and the server: it ends TLS and does not send "+forwardedProto+": https",
			"the cookies %s are not Secure, although culvert sends TLS", strings.Join(open, ", "))
	} else {
		l.wrong("see what is between culvert and the server: a second proxy may overwrite "+forwardedProto,
			"the cookies %s are not Secure, although culvert says %s: https", strings.Join(open, ", "), forwardedProto)
	}
	if !s.site.tls {
		s.schemeAlone(ctx, l, service)
	}
	return l
}

// schemeAlone looks at what the server makes of a request that nobody says
// anything of.
func (s *server) schemeAlone(ctx context.Context, l *line, service string) {
	a, err := s.getAs(ctx, s.base+startPath(service), "")
	if err == nil && len(cookies(a)) > 0 && len(insecure(a)) == 0 {
		l.note("the cookies are Secure without %s, too: something before the server adds it, or the server believes every client", forwardedProto)
	}
}

// checkRedirect reports a redirect out of https.
func (s *server) checkRedirect(l *line, a *answer) {
	to, err := url.Parse(a.header.Get("Location"))
	if err == nil && a.status/100 == 3 && to.Scheme == "http" {
		l.wrong("correct SiteURL, and see what is between culvert and the server", "GET / of a client that speaks https leads to %q", to.String())
	}
}

func cookies(a *answer) []*http.Cookie { return (&http.Response{Header: a.header}).Cookies() }

// insecure returns the names of cookies that browsers send over http, too.
func insecure(a *answer) (names []string) {
	for _, c := range cookies(a) {
		if !c.Secure {
			names = append(names, c.Name)
		}
	}
	slices.Sort(names)
	return names
}

// clientAddress says what the servers have to believe of client addresses.
// They tell their setting to administrators only.
func (s *site) clientAddress() *line {
	var raw, forwarded, direct bool
	for _, w := range s.Ways {
		raw = raw || w.Kind == config.Terminated && w.Settings.Raw
		forwarded = forwarded || w.Kind == config.Terminated && !w.Settings.Raw
		direct = direct || w.Kind != config.Terminated || w.Settings.Raw
	}
	l := newLine("proxy headers")
	if raw && !s.tls {
		l.wrong("leave out to: tcp on the routes of this pool", "to: tcp says nothing of https to the servers: cookies are not Secure, and the token exchange of single sign-on uses http")
	}
	switch {
	case forwarded && direct:
		l.warn("give the terminated routes servers of their own, or terminate all routes to these",
			`the pool is reached by routes that terminate, whose servers should trust the headers that culvert sets, and by others, whose clients can write those headers themselves: no value of %s is right`, settingTrusted)
	case forwarded:
		l.note(`terminated: the servers show clients' addresses with %s="X-Forwarded-For X-Real-IP", and culvert's own without it. The setting cannot be seen from here. Let only culvert reach these servers`, settingTrusted)
	default:
		l.note("passed through: %s has to be empty on these servers, for clients can write such headers inside their own TLS. The setting cannot be seen from here", settingTrusted)
	}
	return l
}
