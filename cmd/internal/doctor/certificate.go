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

// soon is how long before its end a certificate is worth a warning: when an
// ACME client should have renewed it.
const soon = 30 * 24 * time.Hour

// A demand is a name that clients, or culvert itself, ask the servers for.
type demand struct {
	name   string
	roots  *x509.CertPool // nil: the system's
	strict bool           // whoever asks refuses an unknown authority
}

// demands returns what the pool's certificates have to do.
func (s *site) demands() (all []demand, patterns []string) {
	add := func(d demand) {
		if d.name != "" && !slices.ContainsFunc(all, func(x demand) bool { return x.name == d.name }) && len(all) < mostNames {
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

// rootsOf reads a file that was read when the configuration was checked.
func rootsOf(e *config.Encrypt) *x509.CertPool {
	if e.Roots == "" {
		return nil
	}
	pool, _ := terminate.LoadRoots(e.Roots)
	return pool
}

// certificate asks for every name in turn and judges what is shown.
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
			l.wrong("see to the certificates of the server", "asked for %s: %s", d.name, reason(err))
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
		l.note("no route names this pool: with a site_url its certificates can be examined")
	}
	for _, p := range patterns {
		l.note("which names the certificates need for the route %q cannot be known", p)
	}
	if len(s.shown) > 0 {
		l.see("until %s", s.shown[0].leaf.NotAfter.UTC().Format(time.DateOnly))
	}
	return l
}

// judge looks at the times of a certificate and at who vouches for it.
func (x *shown) judge(l *line, d demand, now time.Time) {
	const renew = "renew it on the server, and see why that was not done by itself"
	until := x.leaf.NotAfter.UTC().Format(time.DateTime)
	at := now
	switch {
	case now.After(x.leaf.NotAfter):
		l.wrong(renew, "the certificate expired at %s", until)
		at = x.leaf.NotAfter
	case now.Before(x.leaf.NotBefore):
		l.wrong("see to the clock of this machine, or wait", "the certificate is not valid before %s", x.leaf.NotBefore.UTC().Format(time.DateTime))
		at = x.leaf.NotBefore
	case x.leaf.NotAfter.Sub(now) < soon:
		l.warn(renew, "the certificate ends in %d days, at %s", int(x.leaf.NotAfter.Sub(now)/(24*time.Hour)), until)
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
		l.wrong("give the server a certificate of the authority in the file, with its intermediate ones, or name the right authority",
			"the certificate is of an authority that the file does not trust, %s", x.leaf.Issuer)
	case len(x.rest) == 0 && !self:
		l.warn("send the intermediate certificates behind the server's own (TLSCertFile has the whole chain); with an authority of your own, give every client its certificate, and the pool health: {verify: FILE}",
			"the certificate is of an authority that this machine does not know, %s, or an intermediate certificate is missing", x.leaf.Issuer)
	default:
		l.warn("take one of a public authority, or give every client the authority's certificate, and the pool health: {verify: FILE}",
			"the certificate is of an authority that this machine does not know, %s", x.leaf.Issuer)
	}
}

// names lists what a certificate is for.
func names(c *x509.Certificate) string {
	const most = 10
	all := slices.Clone(c.DNSNames)
	for _, ip := range c.IPAddresses {
		all = append(all, ip.String())
	}
	if len(all) > most {
		return strings.Join(all[:most], ", ") + fmt.Sprintf(" and %d more", len(all)-most)
	}
	return cmp.Or(strings.Join(all, ", "), "no name")
}

// certificates compares the servers of the pool.
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
		l.note("the servers have different certificates for %s: each has to be renewed by itself, and clients that pin one see it change", d)
	}
	return l
}
