package doctor

import (
	"bytes"
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"culvert/cmd/internal/config"
	"culvert/l4/terminate"
)

// soon is the remaining validity below which a certificate gets a warning: an
// ACME client should have renewed it by then.
const soon = 30 * 24 * time.Hour

// A demand is a server name that clients or culvert itself request from the
// servers.
type demand struct {
	name   string
	roots  *x509.CertPool // nil means the system's
	strict bool           // culvert refuses an unknown authority
}

// demands returns the names that the pool's certificates must be for, and the
// patterns of routes for which no name is known.
func (s *site) demands() (all []demand, patterns []string) {
	add := func(d demand) {
		if d.name != "" && !slices.ContainsFunc(all, func(x demand) bool { return x.name == d.name }) && len(all) < maxNames {
			all = append(all, d)
		}
	}
	var own *x509.CertPool
	if s.Probes != nil {
		own = s.Probes.Check.Roots
	}
	for _, w := range s.Ways {
		e := encryption(w)
		name, ok := example(w.Pattern)
		if !ok && w.Pattern != "" {
			patterns = append(patterns, w.Pattern)
		}
		switch {
		case w.Kind == config.PassedThrough:
			add(demand{name, own, own != nil})
		case e != nil && !e.Insecure:
			add(demand{cmp.Or(e.ServerName, name), rootsOf(e), true})
		}
	}
	if s.passedThrough() && s.SiteURL != nil {
		add(demand{s.SiteURL.Hostname(), own, own != nil})
	}
	for i := range all {
		all[i].roots = cmp.Or(all[i].roots, s.roots)
	}
	return all, patterns
}

// rootsOf loads the authorities. It ignores errors, because checking the
// configuration has reported them.
func rootsOf(e *config.Encrypt) *x509.CertPool {
	if e.Roots == "" {
		return nil
	}
	pool, _ := terminate.LoadRoots(e.Roots)
	return pool
}

// certificate makes a handshake for every name, one after the other, and checks
// the certificates that the server presents.
func (s *server) certificate(ctx context.Context) *line {
	if !s.site.tls {
		return nil
	}
	l := newLine("certificate")
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	demands, patterns := s.site.demands()
	var foreign []string
	for _, d := range demands {
		state, err := s.handshake(ctx, d.name)
		if err != nil {
			l.wrong("check the certificates of the server", "with the server name %s: %s", d.name, reason(err))
			continue
		}
		x := shown{d.name, state.PeerCertificates[0], state.PeerCertificates[1:], state.NegotiatedProtocol == "h2"}
		known := slices.ContainsFunc(s.shown, func(y shown) bool { return y.leaf.Equal(x.leaf) })
		s.shown = append(s.shown, x)
		if x.leaf.VerifyHostname(d.name) != nil {
			foreign = append(foreign, d.name)
		}
		if !known {
			x.judge(l, d, s.site.now())
		}
	}
	if len(foreign) > 0 {
		l.wrong(fmt.Sprintf("give the server a certificate that also has %s", strings.Join(foreign, ", ")),
			"the certificate is not for %s, but for %s", strings.Join(foreign, ", "), names(s.shown[0].leaf))
	}
	if len(demands) == 0 && s.site.passedThrough() {
		l.note("no route to this pool has a server name: set a site_url to have its certificates examined")
	}
	for _, p := range patterns {
		l.note("the names that the certificates need for the route %q are not known", p)
	}
	if len(s.shown) > 0 {
		l.see("until %s", s.shown[0].leaf.NotAfter.UTC().Format(time.DateOnly))
	}
	return l
}

// judge checks the validity period of a certificate and its chain.
func (x *shown) judge(l *line, d demand, now time.Time) {
	const renew = "renew it on the server, and find out why it was not renewed automatically"
	until := x.leaf.NotAfter.UTC().Format(time.DateTime)
	at := now
	switch {
	case now.After(x.leaf.NotAfter):
		l.wrong(renew, "the certificate expired at %s", until)
		at = x.leaf.NotAfter
	case now.Before(x.leaf.NotBefore):
		l.wrong("check the clock of this machine, or wait", "the certificate is not valid before %s", x.leaf.NotBefore.UTC().Format(time.DateTime))
		at = x.leaf.NotBefore
	case x.leaf.NotAfter.Sub(now) < soon:
		l.warn(renew, "the certificate expires in %d days, at %s", int(x.leaf.NotAfter.Sub(now)/(24*time.Hour)), until)
	}
	between := x509.NewCertPool()
	for _, c := range x.rest {
		between.AddCert(c)
	}
	_, err := x.leaf.Verify(x509.VerifyOptions{Roots: d.roots, Intermediates: between, CurrentTime: at})
	if err != nil {
		x.distrust(l, d, err)
	}
}

func (x *shown) distrust(l *line, d demand, err error) {
	var unknown x509.UnknownAuthorityError
	self := bytes.Equal(x.leaf.RawIssuer, x.leaf.RawSubject)
	switch {
	case !errors.As(err, &unknown):
		l.wrong("give the server another certificate", "the certificate cannot be verified: %v", err)
	case d.strict:
		l.wrong("give the server a certificate of the authority in the file, with the intermediate certificates, or configure the right authority",
			"the certificate is from an authority that the file does not trust, %s", x.leaf.Issuer)
	case len(x.rest) == 0 && !self:
		l.warn("send the intermediate certificates after the server's own (TLSCertFile has the whole chain); with a private authority, install its certificate on every client, and set health: {verify: FILE} in the pool",
			"the certificate is from an authority that this machine does not trust, %s, or an intermediate certificate is missing", x.leaf.Issuer)
	default:
		l.warn("use one from a public authority, or install the authority's certificate on every client, and set health: {verify: FILE} in the pool",
			"the certificate is from an authority that this machine does not trust, %s", x.leaf.Issuer)
	}
}

// names lists the names that a certificate is for.
func names(c *x509.Certificate) string {
	const maxListed = 10
	all := slices.Clone(c.DNSNames)
	for _, ip := range c.IPAddresses {
		all = append(all, ip.String())
	}
	if len(all) > maxListed {
		return strings.Join(all[:maxListed], ", ") + fmt.Sprintf(" and %d more", len(all)-maxListed)
	}
	return cmp.Or(strings.Join(all, ", "), "no name")
}

// certificates compares the certificates of the servers of the pool.
func (s *site) certificates() *line {
	first := map[string]*x509.Certificate{} // by name
	differ := map[string]bool{}
	for _, x := range s.servers {
		for _, c := range x.shown {
			if first[c.name] == nil {
				first[c.name] = c.leaf
			}
			differ[c.name] = differ[c.name] || !first[c.name].Equal(c.leaf)
		}
	}
	if len(first) == 0 || len(s.servers) < 2 {
		return nil
	}
	l := newLine("certificates")
	l.see("the same on all servers")
	for _, d := range slices.Sorted(keys(differ)) {
		l.see("they differ")
		l.note("the servers have different certificates for %s: each must be renewed separately, and clients that pin one see it change", d)
	}
	return l
}
