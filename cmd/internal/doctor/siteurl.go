package doctor

import (
	"cmp"
	"context"
	"fmt"
	"net/url"
	"strings"
)

// settingSiteURL is how the setting is given to a server's environment.
const settingSiteURL = "MM_SERVICESETTINGS_SITEURL"

// siteURL compares what the server takes for its address with the file.
func (s *server) siteURL(context.Context) *line {
	if s.settings == nil {
		return nil
	}
	l := newLine("SiteURL")
	text, told := s.settings["SiteURL"]
	switch got, err := url.Parse(text); {
	case !told:
		l.see("not told without a login")
		l.note("the server does not tell its SiteURL without a login: single sign-on is what it can be seen by")
	case text == "":
		l.wrong(fmt.Sprintf("set %s=%s on every node", settingSiteURL, s.site.url),
			"SiteURL is empty: addresses in mails are missing, and redirect_uri is made of whatever Host a client sends")
	case err != nil || got.Host == "":
		l.wrong(fmt.Sprintf("set %s=%s on every node", settingSiteURL, s.site.url), "SiteURL %q is no URL", text)
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
			remedy += ", or say with site_url what is right"
		}
		l.wrong(remedy+remedies(want, got), "SiteURL is %q, expected %q: %s", text, want, strings.Join(all, "; "))
	}
}

// wanted is what an address of the site should be. Without a site_url the file
// knows names only: of ports and paths any will do.
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

// differences names what differs, part by part.
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

// remedies says what each kind of difference breaks, where that helps to see
// which side is wrong.
func remedies(want, got *url.URL) (text string) {
	if want.Scheme != got.Scheme {
		text += "; with http the provider of single sign-on gets an http redirect_uri at the start and an https one later, and refuses"
	}
	if want.Port() != got.Port() {
		text += "; the port has to be the one in the browser's address line, and none for 443"
	}
	if want.Path != got.Path {
		text += "; another subpath takes effect when the node starts again"
	}
	return text
}

// public is where browsers find the site.
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
