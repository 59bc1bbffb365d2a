package config

import (
	"path/filepath"
	"regexp"
	"strings"

	"culvert/l4/terminate"
)

func (k *checker) terminate(t *Terminate) {
	if !is(&t.Source, use{"certificates", len(t.Certificates) > 0}, use{"acme", t.ACME != nil}) {
		k.errorAt(t.Position, `terminate has neither "certificates" nor "acme"`)
	}
	for i, p := range t.Certificates {
		k.entry(t, p == nil, "certificates", i, func() { k.keyPair(p, "a certificate with its key") })
	}
	if t.ACME != nil {
		k.acme(t.ACME)
	}
	if t.Preauth != nil {
		k.preauth(t.Preauth)
	}
	if t.Clients != nil {
		k.clients(t.Clients)
	}
	if t.Encrypt != nil {
		k.encrypt(t.Encrypt)
	}
	k.headerRules(&t.Source, "strip_request_headers", t.StripRequestHeaders)
	k.headerRules(&t.Source, "strip_response_headers", t.StripResponseHeaders)
	k.terminateBounds(t)
	if t.Raw {
		k.rawTCP(t)
	}
}

func (k *checker) terminateBounds(t *Terminate) {
	b := bounded{k, &t.Source}
	b.enumerated("profile", t.Profile, t.Profile == "" || t.Profile == terminate.Intermediate || t.Profile == terminate.Modern)
	b.duration("hsts", t.HSTS, hstsSpan)
	b.size("max_body", t.MaxBody, kib, 1024*gib)
	b.size("min_body_rate", t.MinBodyRate, 1, gib)
	b.size("max_header", t.MaxHeader, 4*kib, 16*mib)
	b.duration("timeouts.header", t.HeaderTimeout, waitSpan)
	b.duration("timeouts.body", t.BodyTimeout, waitSpan)
	b.duration("timeouts.idle", t.IdleTimeout, waitSpan)
	b.duration("timeouts.response", t.ResponseTimeout, waitSpan)
}

// rawTCP reports what needs HTTP.
func (k *checker) rawTCP(t *Terminate) {
	timeouts := t.HeaderTimeout != 0 || t.BodyTimeout != 0 || t.IdleTimeout != 0 || t.ResponseTimeout != 0
	k.ignored(&t.Source, "with to: tcp, which knows no HTTP", []use{
		{"preauth", t.Preauth != nil}, {"hsts", t.HSTS != 0},
		{"strip_request_headers", len(t.StripRequestHeaders) > 0}, {"strip_response_headers", len(t.StripResponseHeaders) > 0},
		{"max_body", t.MaxBody != 0}, {"min_body_rate", t.MinBodyRate != 0}, {"max_header", t.MaxHeader != 0}, {"timeouts", timeouts},
	})
	if t.Clients != nil && !t.Clients.Handshake {
		k.errorAt(t.At("client_certificates"), `with to: tcp there is no page to answer with: "client_certificates" needs refuse: handshake`)
	}
}

// path checks the absolute path of a file; it is fine when it is empty. It
// reports whether the file can be read.
func (k *checker) path(s *Source, key, path, what string) bool {
	if path == "" || filepath.IsAbs(path) && !hasNUL(path) {
		return path != ""
	}
	k.wrong(s.ValueAt(key), path, "the absolute path of "+what)
	return false
}

func (k *checker) keyPair(p *KeyPair, what string) {
	k.require(&p.Source, p.Certificate != "", what, "certificate")
	k.require(&p.Source, p.Key != "", what, "key")
	cert := k.path(&p.Source, "certificate", p.Certificate, "a certificate and its chain in PEM")
	key := k.path(&p.Source, "key", p.Key, "a private key in PEM")
	if !cert || !key {
		return
	}
	if _, err := terminate.LoadCertificates([]terminate.KeyPair{p.Files()}); err != nil {
		k.errorAt(p.Position, "load the certificate: %v", err)
	}
}

func (k *checker) acme(a *ACME) {
	k.require(&a.Source, a.Cache != "", "acme", "cache")
	k.path(&a.Source, "cache", a.Cache, "a directory of culvert's own")
	k.path(&a.Source, "roots", a.Roots, "certificates in PEM")
	if a.Directory != "" && !strings.HasPrefix(a.Directory, "https://") {
		k.wrong(a.ValueAt("directory"), a.Directory, "the https URL of an ACME directory")
	}
}

func (k *checker) preauth(p *Preauth) {
	k.require(&p.Source, p.SecretsFile != "", "preauth", "secrets_file")
	if k.path(&p.Source, "secrets_file", p.SecretsFile, "a file with secrets") {
		if _, err := terminate.LoadSecrets(p.SecretsFile); err != nil {
			k.errorAt(p.ValueAt("secrets_file"), "%v", err)
		}
	}
	before := len(k.errs)
	k.presets(p)
	for i, x := range p.Exempt {
		k.entry(p, x == nil, "exempt_paths", i, func() { k.exemptPath(x) })
	}
	if len(k.errs) > before {
		return
	}
	if _, err := p.Exemptions(); err != nil {
		k.errorAt(p.Position, "preauth: %v", err)
	}
}

func (k *checker) presets(p *Preauth) {
	known := terminate.PresetNames()
	for _, name := range p.Presets {
		if !contains(known, name.Value) {
			k.wrong(name.orAt(&p.Source, "exempt"), name.Value, List(known)+k.suggest.Hint(name.Value, known))
		}
	}
}

func (k *checker) exemptPath(x *ExemptPath) {
	set := 0
	for _, u := range []use{{"path", x.Path != ""}, {"prefix", x.Prefix != ""}, {"pattern", x.Pattern != ""}} {
		if is(&x.Source, u) {
			set++
		}
	}
	if set != 1 {
		k.errorAt(x.Position, `an exempt path has one of "path", "prefix" and "pattern"`)
	}
	if _, err := regexp.Compile(x.Pattern); err != nil {
		k.wrong(x.ValueAt("pattern"), x.Pattern, "a regular expression: "+err.Error())
	}
}

func (k *checker) clients(c *ClientCertificates) {
	k.require(&c.Source, c.CA != "", "client_certificates", "ca")
	if c.Handshake {
		k.ignored(&c.Source, "with refuse: handshake, which shows no page", []use{{"status", c.Status != 0}})
	}
	b := bounded{k, &c.Source}
	b.integer("status", c.Status, 400, 401)
	b.enumerated("email", c.Email, c.Email <= terminate.EmailSAN)
	k.headerName(&c.Source, "header", c.Header)
	k.headerName(&c.Source, "subject_header", c.SubjectHeader)
	load := k.path(&c.Source, "ca", c.CA, "certificate authorities in PEM")
	for _, file := range c.CRLs {
		load = k.path(&c.Source, "crl", file, "a revocation list") && load
	}
	if !load {
		return
	}
	if _, err := terminate.LoadAuthorities(c.CA, c.CRLs); err != nil {
		k.errorAt(c.Position, "load the authorities of client certificates: %v", err)
	}
}

func (k *checker) encrypt(e *Encrypt) {
	k.certName(&e.Source, e.ServerName)
	k.verifyServers(e)
	if e.Identity != nil {
		k.keyPair(e.Identity, "identity")
	}
}

func (k *checker) verifyServers(e *Encrypt) {
	at := e.ValueAt("verify")
	switch {
	case e.Insecure && e.Roots != "":
		k.errorAt(at, "the certificates of the servers are verified by those of a file, or not at all, not both")
	case e.Insecure:
		k.warnAt(at, "the certificates of the servers are not verified: anything between culvert and a server can read and change all of it")
	case e.Roots == "":
	case !filepath.IsAbs(e.Roots):
		k.wrong(at, e.Roots, "on, dangerously-off or the absolute path of a file with certificates in PEM")
	default:
		if _, err := terminate.LoadRoots(e.Roots); err != nil {
			k.errorAt(at, "%v", err)
		}
	}
}

// headerToken is a field name (RFC 9110 section 5.1) of letters, digits,
// hyphens and underscores: the other characters that it may have are not in
// use.
var headerToken = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)

func (k *checker) headerName(s *Source, key, name string) {
	if name != "" && !headerToken.MatchString(name) {
		k.wrong(s.ValueAt(key), name, "the name of a header")
	}
}

// headerRules checks names of headers, of which the last character may be an
// asterisk.
func (k *checker) headerRules(s *Source, key string, rules []Text) {
	for _, r := range rules {
		if !headerToken.MatchString(strings.TrimSuffix(r.Value, "*")) {
			k.wrong(r.orAt(s, key), r.Value, "the name of a header, or its beginning and an asterisk")
		}
	}
}
