package doctor

import (
	"cmp"
	"context"
	"fmt"
	"net/url"
	"strings"
)

// settingSiteURL is the environment variable of the server's setting SiteURL.
const settingSiteURL = "MM_SERVICESETTINGS_SITEURL"

// siteURL compares the server's SiteURL with the file.
func (s *server) siteURL(context.Context) *line {
	if s.settings == nil {
		return nil
	}
	l := newLine("SiteURL")
	text, present := s.settings["SiteURL"]
	switch got, err := url.Parse(text); {
	case !present:
		l.see("not shown without a login")
		l.note("the server does not show its SiteURL without a login: it can only be checked with single sign-on")
	case text == "":
		l.wrong(fmt.Sprintf("set %s=%s on every node", settingSiteURL, s.site.url),
			"SiteURL is empty: mails have no addresses of the site, and redirect_uri is made from the Host that a client sends")
	case err != nil || got.Host == "":
		l.wrong(fmt.Sprintf("set %s=%s on every node", settingSiteURL, s.site.url), "SiteURL %q is not a URL", text)
	default:
		l.see("%s", text)
		s.compare(l, text, got)
	}
	return l
}

func (s *server) compare(l *line, text string, got *url.URL) {
	want := s.site.wanted(got)
	if all := differences(want, got); len(all) > 0 {
		remedy := fmt.Sprintf("set %s=%s on every node", settingSiteURL, want)
		if s.site.SiteURL != nil {
			remedy += ", or correct the site_url of the file"
		} else {
			remedy += ", or set site_url to the right one"
		}
		l.wrong(remedy+remedies(want, got), "SiteURL is %q, expected %q: %s", text, want, strings.Join(all, "; "))
	}
}

// wanted returns what the address got of the site should be. Without a site_url
// the file has names only, so any port and path is accepted.
func (s *site) wanted(got *url.URL) *url.URL {
	if s.SiteURL != nil {
		return s.SiteURL
	}
	want := *got
	want.Scheme = "https"
	host := s.url.Hostname()
	if !s.named || s.serves(got.Hostname()) {
		host = got.Hostname()
	}
	if want.Host = host; got.Port() != "" && got.Port() != "443" {
		want.Host += ":" + got.Port()
	}
	return &want
}

// differences describes the parts of the two addresses that differ.
func differences(want, got *url.URL) (all []string) {
	part := func(what, a, b string) {
		if a != b {
			all = append(all, fmt.Sprintf("the %s is %s instead of %s", what, cmp.Or(b, "none"), cmp.Or(a, "none")))
		}
	}
	part("scheme", want.Scheme, got.Scheme)
	part("host", want.Hostname(), got.Hostname())
	part("port", want.Port(), got.Port())
	part("subpath", want.Path, got.Path)
	if len(all) == 0 && want.String() != got.String() {
		part("address", want.String(), got.String())
	}
	return all
}

// remedies explains the effects of each kind of difference, where that helps to
// decide which side is wrong.
func remedies(want, got *url.URL) (text string) {
	if want.Scheme != got.Scheme {
		text += "; with http, the provider of single sign-on gets redirect_uri first with http and later with https, and refuses the login"
	}
	if want.Port() != got.Port() {
		text += "; the port must be the one in the browser's address bar, and none for 443"
	}
	if want.Path != got.Path {
		text += "; a changed subpath takes effect when the node is restarted"
	}
	return text
}

// public returns the address of the site for browsers.
func (s *server) public() *url.URL {
	if s.site.SiteURL != nil {
		return s.site.SiteURL
	}
	if u, err := url.Parse(s.settings["SiteURL"]); err == nil && u.Host != "" {
		return s.site.wanted(u)
	}
	u := *s.site.url
	u.Path = s.base
	return &u
}
