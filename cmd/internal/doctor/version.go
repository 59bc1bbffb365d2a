package doctor

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"culvert/cmd/internal/config"
)

// version is the version of a server; the zero value means unknown.
type version struct{ major, minor, patch int }

func (v version) known() bool { return v != version{} }

func (v version) String() string { return fmt.Sprintf("%d.%d.%d", v.major, v.minor, v.patch) }

func parseVersion(text string) (v version) {
	if n, _ := fmt.Sscanf(text, "%d.%d.%d", &v.major, &v.minor, &v.patch); n < 3 {
		return version{}
	}
	return v
}

func compareVersions(a, b version) int {
	return cmp.Or(a.major-b.major, a.minor-b.minor, a.patch-b.patch)
}

// noteVersion takes the version from an answer, or from the settings.
func (s *server) noteVersion(a *answer) {
	if v := parseVersion(a.header.Get("X-Version-Id")); v.known() {
		s.version = v
	} else if v := parseVersion(s.settings["Version"]); v.known() {
		s.version = v
	}
}

// noCertificateLogin is the first version without the login by certificate: it
// does not start with the setting.
const noCertificateLogin = 11

// certificateLogin compares the server's support of client certificates with
// the routes. The server shows the setting only with a licence for it, and not
// in all versions.
func (s *server) certificateLogin(context.Context) *line {
	l := newLine("version")
	if !s.version.known() {
		l.see("unknown")
		return l
	}
	l.see("%s", s.version)
	asks, direct := false, false
	for _, w := range s.site.Ways {
		asks = asks || w.Kind == config.Terminated && w.Settings.Clients != nil
		direct = direct || w.Kind != config.Terminated || w.Settings.Raw
	}
	on := s.on("ExperimentalClientSideCertEnable")
	if asks && s.version.major >= noCertificateLogin {
		l.warn("nothing, if client_certificates only restrict access before the login; users that log in by certificate need SAML or OpenID with a provider that accepts it",
			"a route asks for client certificates, but version %d does not support them and ignores the headers", s.version.major)
	}
	switch {
	case on && direct:
		l.wrong("switch ExperimentalSettings.ClientSideCertEnable off, or terminate every route to this pool with client_certificates",
			"the server logs in the user that a header names, and clients of passed-through routes can set that header: any client can log in as any user")
	case on && !asks:
		l.warn("give the routes client_certificates, or switch ExperimentalSettings.ClientSideCertEnable off",
			"the server expects client certificates at the login, and no route asks for them")
	}
	return l
}

// versions compares the versions of the servers.
func (s *site) versions() *line {
	known := slices.DeleteFunc(slices.Clone(s.servers), func(x *server) bool { return !x.version.known() })
	if len(known) < 2 {
		return nil
	}
	l := newLine("versions")
	byVersion := func(a, b *server) int { return compareVersions(a.version, b.version) }
	low, high := slices.MinFunc(known, byVersion), slices.MaxFunc(known, byVersion)
	a, b := low.version, high.version
	problem := fmt.Sprintf("%s has version %s, and %s has %s", low.member.Name(), a, high.member.Name(), b)
	switch {
	case a == b:
		l.see("all %s", a)
	case a.major == b.major && b.minor-a.minor <= 1:
		l.warn("finish the upgrade: one minor version apart is for its duration only", "%s", problem)
	default:
		l.wrong("bring all servers to the same version: a cluster works with one minor version of difference at most", "%s", problem)
	}
	return l
}
