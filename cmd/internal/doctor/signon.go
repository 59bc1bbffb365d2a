package doctor

import (
	"compress/flate"
	"context"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"
	"sync"
)

// services are the kinds of single sign-on, each with the setting that enables
// it and its name in paths.
var services = []struct{ setting, name string }{
	{"EnableSignUpWithGitLab", "gitlab"},
	{"EnableSignUpWithGoogle", "google"},
	{"EnableSignUpWithOffice365", "office365"},
	{"EnableSignUpWithOpenId", "openid"},
	{"EnableSaml", saml},
}

const saml = "saml"

// startPath is the path at which signing on begins, and endPath the path to
// which the provider redirects the browser afterwards.
func startPath(service string) string {
	if service == saml {
		return "/login/sso/saml"
	}
	return "/oauth/" + service + "/login"
}

func endPath(service string) string {
	if service == saml {
		return "/login/sso/saml"
	}
	return "/signup/" + service + "/complete"
}

// enabled returns the names of the services that the server offers.
func (s *server) enabled() (all []string) {
	for _, x := range services {
		if s.on(x.setting) {
			all = append(all, x.name)
		}
	}
	return all
}

// signOn starts single sign-on with every enabled service, and checks the
// return address in the redirect to the provider.
func (s *server) signOn(ctx context.Context) *line {
	all := s.enabled()
	if len(all) == 0 {
		return nil
	}
	l := newLine("single sign-on")
	l.see("%s", strings.Join(all, ", "))
	lines := make([]*line, len(all))
	var wait sync.WaitGroup
	for i, service := range all {
		lines[i] = newLine("")
		wait.Go(func() { s.begin(ctx, lines[i], service) })
	}
	wait.Wait()
	for _, x := range lines {
		l.troubles, l.notes = append(l.troubles, x.troubles...), append(l.notes, x.notes...)
	}
	return l
}

func (s *server) begin(ctx context.Context, l *line, service string) {
	a, err := s.get(ctx, s.base+startPath(service))
	switch {
	case err != nil:
		l.wrong("see the log of the server", "%s: GET %s: %v", service, startPath(service), err)
		return
	case a.status/100 != 3 && service == saml:
		l.note("the return address of SAML cannot be checked: signing on does not begin with a redirect")
		return
	case a.status/100 != 3:
		l.wrong("check the settings of the service, and see the log of the server: in GitLabSettings a Scope with openid needs a licence",
			"%s is on, but GET %s answers %d instead of a redirect to the provider", service, startPath(service), a.status)
		return
	}
	back, err := returnAddress(a.header.Get("Location"), service)
	if err != nil {
		l.note("the return address of %s cannot be checked: %v", service, err)
		return
	}
	s.compareReturn(l, service, back)
}

// compareReturn compares the return address sent to the provider with that of
// the site, byte by byte, as providers do.
func (s *server) compareReturn(l *line, service, back string) {
	site := s.public().String()
	got, err := url.Parse(back)
	if err == nil && s.site.SiteURL == nil && s.settings["SiteURL"] == "" {
		seen := *got // the only place where the server shows its SiteURL
		seen.Path = strings.TrimSuffix(got.Path, endPath(service))
		site = s.site.wanted(&seen).String()
	}
	want := site + endPath(service)
	if back == want {
		return
	}
	expected, _ := url.Parse(want)
	why := ""
	if err == nil {
		why = ": " + strings.Join(differences(expected, got), "; ")
	}
	remedy := fmt.Sprintf("set %s=%s on every node, and register %s with the provider", settingSiteURL, site, want)
	if service == saml {
		remedy = fmt.Sprintf("set AssertionConsumerServiceURL in SamlSettings to %s, and configure the provider accordingly", want)
	}
	l.wrong(remedy, "%s: the provider is told to send browsers back to %q, expected %q%s", service, back, want, why)
}

// returnAddress returns the return address in the redirect to the provider.
func returnAddress(location, service string) (string, error) {
	u, err := url.Parse(location)
	if err != nil {
		return "", errors.New("the redirect is not a URL")
	}
	query := u.Query()
	if service == saml {
		return assertionConsumer(query.Get("SAMLRequest"))
	}
	if back := query.Get("redirect_uri"); back != "" {
		return back, nil
	}
	return "", errors.New("the redirect has no redirect_uri")
}

// assertionConsumer returns the AssertionConsumerServiceURL of a request in the
// redirect binding (SAML 2.0 bindings, section 3.4.4.1).
func assertionConsumer(request string) (string, error) {
	text, err := base64.StdEncoding.DecodeString(request)
	if err != nil || len(text) == 0 {
		return "", errors.New("the redirect has no SAMLRequest")
	}
	var r struct {
		URL string `xml:"AssertionConsumerServiceURL,attr"`
	}
	inflated := io.LimitReader(flate.NewReader(strings.NewReader(string(text))), maxBody)
	if err := xml.NewDecoder(inflated).Decode(&r); err != nil || r.URL == "" {
		return "", errors.New("the SAMLRequest has no AssertionConsumerServiceURL")
	}
	return r.URL, nil
}

// cookieService returns an enabled service whose start sets a cookie; "" if
// there is none.
func (s *server) cookieService() string {
	all := s.enabled()
	if i := slices.IndexFunc(all, func(x string) bool { return x != saml }); i >= 0 {
		return all[i]
	}
	return ""
}
