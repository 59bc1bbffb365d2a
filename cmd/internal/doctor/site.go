package doctor

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"culvert/cmd/internal/config"
	"culvert/l4"
	"culvert/sniff"
)

// A site is a pool under examination, with its configuration.
type site struct {
	config.Site
	config   *l4.Config
	url      *url.URL // the address of the site for users, as far as the file has it; never nil
	named    bool     // url is not a guess
	tls      bool     // culvert sends TLS to the servers
	forwards bool     // culvert adds X-Forwarded-Proto
	sni      string   // server name of requests to the servers
	identity []tls.Certificate
	roots    *x509.CertPool // nil means the system's
	dialer   *l4.Dialer
	servers  []*server
	now      func() time.Time
}

func (d Doctor) newSite(from config.Site, cfg *l4.Config) *site {
	s := &site{Site: from, config: cfg, now: d.Now, roots: d.Roots, dialer: l4.NewDialer(from.Pool, l4.ProxyInherit)}
	s.url, s.named = s.address()
	s.tls, s.sni = s.speaksTLS(), s.url.Hostname()
	for _, w := range s.Ways {
		s.forwards = s.forwards || w.Kind == config.Terminated && !w.Settings.Raw
		if e := encryption(w); e != nil {
			s.encrypt(e)
		}
	}
	for _, m := range s.Pool.Balancer.Servers() {
		s.servers = append(s.servers, s.newServer(m))
	}
	return s
}

// encrypt sets the server name and the client certificate as a route that
// encrypts does. A key that cannot be read is ignored here, because checking
// the file has reported it.
func (s *site) encrypt(e *config.Encrypt) {
	if !s.passedThrough() {
		s.sni = cmp.Or(e.ServerName, s.sni)
	}
	if e.Identity == nil {
		return
	}
	if c, err := tls.LoadX509KeyPair(e.Identity.Certificate, e.Identity.Key); err == nil {
		s.identity = []tls.Certificate{c}
	}
}

func (s *site) name() string { return s.Pool.Balancer.Name() }

// address returns the site_url, else the first complete name that is routed to
// the pool, else a name that a pattern matches; named is false for that one.
func (s *site) address() (u *url.URL, named bool) {
	if s.SiteURL != nil {
		return s.SiteURL, true
	}
	guess := ""
	for _, w := range s.Ways {
		name, ok := example(w.Pattern)
		if ok && name == w.Pattern {
			return &url.URL{Scheme: "https", Host: name}, true
		}
		guess = cmp.Or(guess, name)
	}
	if s.Probes != nil {
		guess = cmp.Or(s.Probes.Check.ServerName, guess)
	}
	return &url.URL{Scheme: "https", Host: cmp.Or(guess, "localhost")}, false
}

// example returns a name that a pattern matches: the pattern itself if it is a
// name. ok is false for regular expressions.
func example(pattern string) (name string, ok bool) {
	switch {
	case pattern == "" || strings.HasPrefix(pattern, "~"):
		return "", false
	case strings.HasPrefix(pattern, "*."):
		return "culvert-doctor" + pattern[1:], true
	}
	return pattern, true
}

// encryption returns the settings of TLS to the servers on a way that
// terminates TLS; nil means no TLS to the servers.
func encryption(w config.Way) *config.Encrypt {
	if w.Kind != config.Terminated {
		return nil
	}
	return w.Settings.Encrypt
}

// sends reports whether a way sends TLS, plain HTTP or neither to the servers.
func sends(w config.Way) (encrypted, plain bool) {
	switch w.Kind {
	case config.PassedThrough:
		return true, false
	case config.Terminated:
		return w.Settings.Encrypt != nil, w.Settings.Encrypt == nil
	case config.Plaintext:
		return false, true
	}
	return false, false // plain TCP: the clients decide
}

func (s *site) speaksTLS() bool {
	var encrypted, plain bool
	for _, w := range s.Ways {
		e, p := sends(w)
		encrypted, plain = encrypted || e, plain || p
	}
	if !encrypted && !plain {
		return s.Probes == nil || s.Probes.Check.Kind != "http"
	}
	return encrypted
}

func (s *site) passedThrough() bool {
	return slices.ContainsFunc(s.Ways, func(w config.Way) bool { return w.Kind == config.PassedThrough })
}

func (s *site) tlsConfig(name string, protocols ...string) *tls.Config {
	return &tls.Config{
		ServerName: name, NextProtos: protocols, Certificates: s.identity,
		InsecureSkipVerify: true, // problems of the certificate are findings
	}
}

// browser offers the protocols of a browser.
type browser struct{}

// OffersALPN implements l4.Offer.
func (browser) OffersALPN(p string) bool { return p == "h2" || p == "http/1.1" }

// leadsTo returns the pools to which connections of browsers for a name are
// routed.
func (s *site) leadsTo(host string) (pools []*l4.Pool) {
	name, err := sniff.AppendName(nil, host)
	if err != nil {
		return nil
	}
	for _, l := range s.config.Listeners {
		if l.Table == nil {
			continue
		}
		if p := l.Table.Lookup(name, browser{}).Route.Pool; p != nil && !slices.Contains(pools, p) {
			pools = append(pools, p)
		}
	}
	return pools
}

// serves reports whether a name is routed to this pool.
func (s *site) serves(host string) bool { return slices.Contains(s.leadsTo(host), s.Pool) }

// route checks that the host of the site_url is routed to the pool.
func (s *site) route() *line {
	if s.SiteURL == nil || !slices.ContainsFunc(s.Ways, func(w config.Way) bool { return w.Kind != config.PlainTCP }) {
		return nil
	}
	l := newLine("route")
	host := s.SiteURL.Hostname()
	if s.serves(host) {
		l.see("%s leads here", host)
		return l
	}
	where := "nowhere"
	if to := s.leadsTo(host); len(to) > 0 {
		where = "to the pool " + to[0].Balancer.Name()
	}
	l.wrong(fmt.Sprintf("add a route with server_name %s to this pool, or correct the site_url", host),
		"the host of the site_url, %s, leads %s", host, where)
	return l
}

// transport checks that the servers get either TLS or plain HTTP, not both.
func (s *site) transport() *line {
	var encrypted, plain bool
	for _, w := range s.Ways {
		e, p := sends(w)
		encrypted, plain = encrypted || e, plain || p
	}
	if !encrypted || !plain {
		return nil
	}
	l := newLine("transport")
	l.wrong("use a pool for each, with another port of the servers, or set encrypt under terminate",
		"some routes send TLS to the servers and others plain HTTP, but a port accepts only one of them")
	return l
}

// sheets returns the results for the pool, its servers first. It must be called
// after all servers were examined.
func (s *site) sheets(all []*site) []sheet {
	var out []sheet
	for _, x := range s.servers {
		out = append(out, sheet{s.name(), x.member.Name(), x.lines})
	}
	return append(out, sheet{pool: s.name(), lines: present(
		s.health(), s.route(), s.transport(), s.versions(), s.clocks(), s.certificates(), s.coalescing(all), s.clientAddress(),
	)})
}
