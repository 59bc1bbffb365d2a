package doctor

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"culvert/cmd/internal/config"
)

// settingTrusted is the environment variable that lists the headers from which
// a server takes client addresses.
const settingTrusted = "MM_SERVICESETTINGS_TRUSTEDPROXYIPHEADER"

// scheme checks that the server treats its clients as clients of https, because
// of its own TLS or because of the header that culvert sends. Without a login
// this shows in the cookie set at the start of single sign-on.
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
		l.see("no cookie found")
		l.note("without single sign-on no cookie can be checked before a login: check in a browser that MMAUTHTOKEN is Secure")
		return l
	}
	a, err := s.getAs(ctx, s.base+startPath(service), proto)
	if err != nil || len(cookies(a)) == 0 {
		l.see("no cookie found")
		return l
	}
	if open := insecure(a); len(open) == 0 {
		l.see("cookies are Secure")
	} else if s.site.tls {
		l.wrong("check what is between culvert and the server: it terminates TLS and does not send "+forwardedProto+": https",
			"the cookies %s are not Secure, although culvert sends TLS", strings.Join(open, ", "))
	} else {
		l.wrong("check what is between culvert and the server: a second proxy may overwrite "+forwardedProto,
			"the cookies %s are not Secure, although culvert sends %s: https", strings.Join(open, ", "), forwardedProto)
	}
	if !s.site.tls {
		s.schemeAlone(ctx, l, service)
	}
	return l
}

// schemeAlone checks how the server treats a request without X-Forwarded-Proto.
func (s *server) schemeAlone(ctx context.Context, l *line, service string) {
	a, err := s.getAs(ctx, s.base+startPath(service), "")
	if err == nil && len(cookies(a)) > 0 && len(insecure(a)) == 0 {
		l.note("the cookies are Secure without %s as well: a proxy before the server adds it, or the server trusts every client", forwardedProto)
	}
}

// checkRedirect reports a redirect from https to http.
func (s *server) checkRedirect(l *line, a *answer) {
	to, err := url.Parse(a.header.Get("Location"))
	if err == nil && a.status/100 == 3 && to.Scheme == "http" {
		l.wrong("correct SiteURL, and check what is between culvert and the server", "GET / of an https client redirects to %q", to.String())
	}
}

func cookies(a *answer) []*http.Cookie { return (&http.Response{Header: a.header}).Cookies() }

// insecure returns the names of cookies that browsers also send over http.
func insecure(a *answer) (names []string) {
	for _, c := range cookies(a) {
		if !c.Secure {
			names = append(names, c.Name)
		}
	}
	slices.Sort(names)
	return names
}

// clientAddress reports which headers with client addresses the servers must
// trust. Only administrators can read the servers' setting.
func (s *site) clientAddress() *line {
	var raw, forwarded, direct bool
	for _, w := range s.Ways {
		raw = raw || w.Kind == config.Terminated && w.Settings.Raw
		forwarded = forwarded || w.Kind == config.Terminated && !w.Settings.Raw
		direct = direct || w.Kind != config.Terminated || w.Settings.Raw
	}
	l := newLine("proxy headers")
	if raw && !s.tls {
		l.wrong("leave out to: tcp on the routes of this pool", "to: tcp does not tell the servers that clients use https: cookies are not Secure, and the token exchange of single sign-on uses http")
	}
	switch {
	case forwarded && direct:
		l.warn("use separate servers for the terminated routes, or terminate all routes to these",
			`the pool is used by routes that terminate TLS, whose servers should trust the headers that culvert sets, and by other routes, whose clients can set those headers themselves: no value of %s is right for both`, settingTrusted)
	case forwarded:
		l.note(`terminated: the servers see clients' addresses with %s="X-Forwarded-For X-Real-IP", and culvert's own address without it. The setting cannot be read from here. Allow only culvert to connect to these servers`, settingTrusted)
	default:
		l.note("passed through: %s must be empty on these servers, because clients can set such headers inside their own TLS. The setting cannot be read from here", settingTrusted)
	}
	return l
}
