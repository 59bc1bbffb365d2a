package config

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"

	"culvert/l4"
	"culvert/l4/terminate"
)

// Terminate is what a route says about TLS that ends here. It names files; who
// serves the route reads them, again when they change. Two that are equal
// (reflect.DeepEqual) serve alike.
type Terminate struct {
	Certificates []terminate.KeyPair
	ACME         *ACME // nil: none
	Profile      terminate.Profile
	Raw          bool // to plain TCP, instead of HTTP
	Preauth      *Preauth
	Clients      *ClientCertificates
	Encrypt      *Encrypt // towards the servers; nil: plain text
	HSTS         time.Duration
	Strip        [2][]string // headers of requests, of responses
	Limits       terminate.Limits
}

// ACME is an account with a certificate authority.
type ACME struct {
	Email     string
	Directory string   // URL of the authority; "": Let's Encrypt
	Cache     string   // directory of the account's key and the certificates
	Roots     string   // file of the authorities that vouch for the directory; "": the system's
	Names     []string // that certificates are asked for: the route's
}

// Preauth is the secret that requests need.
type Preauth struct {
	SecretsFile     string
	Exempt          []terminate.Exemption
	BasePath        string
	ExemptWebSocket bool
}

// ClientCertificates are those that clients need.
type ClientCertificates struct {
	CA           string
	CRLs         []string
	Optional     bool
	Strict       bool // refuse in the handshake
	Unauthorized bool // 401 instead of 400
	Recheck      bool // close connections whose certificate was revoked
	Headers      terminate.HeaderNames
}

// Encrypt is TLS towards the servers.
type Encrypt struct {
	Insecure   bool   // their certificates are not looked at
	Roots      string // file of the authorities; "": the system's
	ServerName string // SNI, and what the certificate is for; "": what the client asked for
	Identity   terminate.KeyPair
}

// Bounds of what a terminating route may say.
const (
	leastBody, mostBody     = 1 * kib, 1024 * gib
	leastHeader, mostHeader = 4 * kib, 16 * mib

	insecurely = "dangerously-off"
)

var hstsSpan = span{min: time.Second, max: 10 * 366 * day}

func (d *decoder) terminate(n ast.Node) *Terminate {
	t := &Terminate{Profile: terminate.Intermediate}
	keys := d.mapping(n, "terminate", fields{
		"certificates":           func(n ast.Node) { t.Certificates = d.keyPairs(n) },
		"acme":                   func(n ast.Node) { t.ACME = d.acme(n) },
		"profile":                func(n ast.Node) { t.Profile = d.profile(n) },
		"to":                     func(n ast.Node) { t.Raw = d.oneOf(n, "http", "tcp") == "tcp" },
		"preauth":                func(n ast.Node) { t.Preauth = d.preauth(n) },
		"client_certificates":    func(n ast.Node) { t.Clients = d.clientCertificates(n) },
		"encrypt":                func(n ast.Node) { t.Encrypt = d.encrypt(n) },
		"hsts":                   func(n ast.Node) { t.HSTS = d.duration(n, hstsSpan) },
		"strip_request_headers":  func(n ast.Node) { t.Strip[0] = d.headerRules(n) },
		"strip_response_headers": func(n ast.Node) { t.Strip[1] = d.headerRules(n) },
		"max_body":               func(n ast.Node) { t.Limits.MaxBody = d.size(n, leastBody, mostBody) },
		"min_body_rate":          func(n ast.Node) { t.Limits.MinBodyRate = d.size(n, 1, gib) },
		"max_header":             func(n ast.Node) { t.Limits.MaxHeader = int(d.size(n, leastHeader, mostHeader)) },
		"timeouts":               func(n ast.Node) { d.httpTimeouts(n, &t.Limits) },
	})
	if !keys.any("certificates", "acme") && d.isMapping(n) {
		d.errorf(n, `terminate has neither "certificates" nor "acme"`)
	}
	if t.Raw {
		d.ignored(keys, "with to: tcp, which knows no HTTP", []string{
			"preauth", "hsts", "strip_request_headers", "strip_response_headers", "max_body", "min_body_rate", "max_header", "timeouts"})
		if t.Clients != nil && !t.Clients.Strict {
			d.errorAt(keys["client_certificates"], `with to: tcp there is no page to answer with: "client_certificates" needs refuse: handshake`)
		}
	}
	return t
}

func (d *decoder) httpTimeouts(n ast.Node, l *terminate.Limits) {
	d.mapping(n, "the timeouts of terminate", fields{
		"header":   func(n ast.Node) { l.HeaderTimeout = d.duration(n, waitSpan) },
		"body":     func(n ast.Node) { l.BodyTimeout = d.duration(n, waitSpan) },
		"idle":     func(n ast.Node) { l.IdleTimeout = d.duration(n, waitSpan) },
		"response": func(n ast.Node) { l.ResponseTimeout = d.duration(n, waitSpan) },
	})
}

func (d *decoder) profile(n ast.Node) terminate.Profile {
	return terminate.Profile(d.oneOf(n, string(terminate.Intermediate), string(terminate.Modern)))
}

// file reads the absolute path of a file, which need not exist.
func (d *decoder) path(n ast.Node, what string) string {
	want := "the absolute path of " + what
	w := d.word(n, want)
	if w.set() && !filepath.IsAbs(w.text) {
		d.errorAt(w.at, "found %s, expected %s", quote(w.text), want)
	}
	return w.text
}

func (d *decoder) keyPairs(n ast.Node) (all []terminate.KeyPair) {
	for _, e := range d.list(n, "certificates with their keys") {
		p := d.keyPair(e, "a certificate with its key")
		if p.Certificate == "" || p.Key == "" {
			continue
		}
		if _, err := terminate.LoadCertificates([]terminate.KeyPair{p}); err != nil {
			d.errorf(e, "load the certificate: %v", err)
			continue
		}
		all = append(all, p)
	}
	return all
}

func (d *decoder) keyPair(n ast.Node, what string) (p terminate.KeyPair) {
	keys := d.mapping(n, what, fields{
		"certificate": func(n ast.Node) { p.Certificate = d.path(n, "a certificate and its chain in PEM") },
		"key":         func(n ast.Node) { p.Key = d.path(n, "a private key in PEM") },
	})
	d.require(n, keys, what, "certificate")
	d.require(n, keys, what, "key")
	return p
}

func (d *decoder) acme(n ast.Node) *ACME {
	a := &ACME{}
	keys := d.mapping(n, "acme", fields{
		"email":     func(n ast.Node) { a.Email = d.word(n, "an e-mail address").text },
		"directory": func(n ast.Node) { a.Directory = d.directory(n) },
		"cache":     func(n ast.Node) { a.Cache = d.path(n, "a directory of culvert's own") },
		"roots":     func(n ast.Node) { a.Roots = d.path(n, "certificates in PEM") },
	})
	d.require(n, keys, "acme", "cache")
	return a
}

// checkACME gives the account the names that the route has, which must be
// ones that an authority can give a certificate for.
func (d *decoder) checkACME(r *route, at place) {
	for _, name := range r.names {
		if strings.HasPrefix(name.text, "~") || strings.HasPrefix(name.text, "*.") {
			d.errorAt(name.at, "acme gets certificates for whole names only, not for %s", quote(name.text))
			continue
		}
		r.terminate.ACME.Names = append(r.terminate.ACME.Names, samePattern(name.text))
	}
	if len(r.alpn) > 0 {
		d.errorAt(at, `acme cannot be proven on a route with "alpn": the authority offers acme-tls/1`)
	}
}

func (d *decoder) directory(n ast.Node) string {
	const want = "the https URL of an ACME directory"
	w := d.word(n, want)
	if w.set() && !strings.HasPrefix(w.text, "https://") {
		d.errorAt(w.at, "found %s, expected %s", quote(w.text), want)
	}
	return w.text
}

func (d *decoder) preauth(n ast.Node) *Preauth {
	p := &Preauth{}
	var presets []word
	keys := d.mapping(n, "preauth", fields{
		"secrets_file":     func(n ast.Node) { p.SecretsFile = d.secrets(n) },
		"exempt":           func(n ast.Node) { presets = d.words(n, list(terminate.PresetNames())) },
		"exempt_paths":     func(n ast.Node) { p.Exempt = d.exemptions(n) },
		"base_path":        func(n ast.Node) { p.BasePath = d.word(n, "a path such as /mattermost").text },
		"exempt_websocket": func(n ast.Node) { p.ExemptWebSocket = d.toggle(n) },
	})
	d.require(n, keys, "preauth", "secrets_file")
	for _, w := range presets {
		preset, ok := terminate.Preset(w.text)
		if !ok {
			d.errorAt(w.at, "found %s, expected %s%s", quote(w.text), list(terminate.PresetNames()), d.suggest.hint(w.text, terminate.PresetNames()))
		}
		p.Exempt = append(p.Exempt, preset...)
	}
	if _, err := terminate.NewExemptions(p.BasePath, p.Exempt); err != nil {
		d.errorf(n, "preauth: %v", err)
	}
	return p
}

func (d *decoder) secrets(n ast.Node) string {
	name := d.path(n, "a file with secrets")
	if filepath.IsAbs(name) {
		if _, err := terminate.LoadSecrets(name); err != nil {
			d.errorf(n, "%v", err)
		}
	}
	return name
}

func (d *decoder) exemptions(n ast.Node) (all []terminate.Exemption) {
	for _, e := range d.list(n, "exempt paths") {
		all = append(all, d.exemption(e))
	}
	return all
}

func (d *decoder) exemption(n ast.Node) (x terminate.Exemption) {
	keys := d.mapping(n, "an exempt path", fields{
		"path":    func(n ast.Node) { x.Exact = d.word(n, "a path").text },
		"prefix":  func(n ast.Node) { x.Prefix = d.word(n, "the beginning of paths").text },
		"pattern": func(n ast.Node) { x.Pattern = d.pattern(n) },
		"methods": func(n ast.Node) { x.Methods = texts(d.words(n, "methods such as GET")) },
	})
	set := 0
	for _, key := range []string{"path", "prefix", "pattern"} {
		if keys.any(key) {
			set++
		}
	}
	if set != 1 && d.isMapping(n) {
		d.errorf(n, `an exempt path has one of "path", "prefix" and "pattern"`)
	}
	return x
}

func (d *decoder) pattern(n ast.Node) *regexp.Regexp {
	w := d.word(n, "a regular expression (RE2)")
	re, err := regexp.Compile(w.text)
	if err != nil {
		d.errorAt(w.at, "found %s, expected a regular expression: %v", quote(w.text), err)
		return nil
	}
	return re
}

func (d *decoder) clientCertificates(n ast.Node) *ClientCertificates {
	c := &ClientCertificates{}
	keys := d.mapping(n, "client_certificates", fields{
		"ca":             func(n ast.Node) { c.CA = d.path(n, "certificate authorities in PEM") },
		"crl":            func(n ast.Node) { c.CRLs = texts(d.words(n, "absolute paths of revocation lists")) },
		"required":       func(n ast.Node) { c.Optional = !d.toggle(n) },
		"refuse":         func(n ast.Node) { c.Strict = d.oneOf(n, "page", "handshake") == "handshake" },
		"status":         func(n ast.Node) { c.Unauthorized = d.integer(n, 400, 401) == 401 },
		"recheck":        func(n ast.Node) { c.Recheck = d.toggle(n) },
		"header":         func(n ast.Node) { c.Headers.Cert = d.headerName(n) },
		"subject_header": func(n ast.Node) { c.Headers.SubjectDN = d.headerName(n) },
		"email":          func(n ast.Node) { c.Headers.Email = d.emailSource(n) },
	})
	d.require(n, keys, "client_certificates", "ca")
	if c.Strict {
		d.ignored(keys, "with refuse: handshake, which shows no page", []string{"status"})
	}
	if !filepath.IsAbs(c.CA) {
		return c
	}
	if _, err := terminate.LoadAuthorities(c.CA, c.CRLs); err != nil {
		d.errorf(n, "load the authorities of client certificates: %v", err)
	}
	return c
}

func (d *decoder) emailSource(n ast.Node) terminate.EmailSource {
	switch d.oneOf(n, "subject", "any", "san") {
	case "any":
		return terminate.EmailSeveral
	case "san":
		return terminate.EmailSAN
	}
	return terminate.EmailSubject
}

// encrypt reads on, or how servers are verified.
func (d *decoder) encrypt(n ast.Node) *Encrypt {
	e := &Encrypt{}
	if scalarOf(n).kind != notScalar {
		if !d.toggle(n) {
			return nil
		}
		return e
	}
	d.mapping(n, "encrypt", fields{
		"verify":      func(n ast.Node) { d.verifyServers(n, e) },
		"server_name": func(n ast.Node) { e.ServerName = d.certName(n) },
		"identity":    func(n ast.Node) { e.Identity = d.identity(n) },
	})
	return e
}

func (d *decoder) identity(n ast.Node) terminate.KeyPair {
	p := d.keyPair(n, "identity")
	if p.Certificate != "" && p.Key != "" {
		if _, err := terminate.LoadCertificates([]terminate.KeyPair{p}); err != nil {
			d.errorf(n, "load the certificate: %v", err)
		}
	}
	return p
}

func (d *decoder) verifyServers(n ast.Node, e *Encrypt) {
	want := "on, " + insecurely + " or the absolute path of a file with certificates in PEM"
	w := d.word(n, want)
	switch {
	case w.text == "on" || w.text == "true":
	case w.text == insecurely:
		e.Insecure = true
		d.warnAt(w.at, "the certificates of the servers are not looked at: whoever is between sees and changes everything")
	case filepath.IsAbs(w.text):
		e.Roots = w.text
		if _, err := terminate.LoadRoots(w.text); err != nil {
			d.errorAt(w.at, "%v", err)
		}
	case w.set():
		d.errorAt(w.at, "found %s, expected %s", quote(w.text), want)
	}
}

// headerName is a field name (RFC 9110 section 5.1) of letters, digits, hyphens
// and underscores: the rest of what is allowed nobody uses.
var headerName = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)

func (d *decoder) headerName(n ast.Node) string {
	const want = "the name of a header"
	w := d.word(n, want)
	if w.set() && !headerName.MatchString(w.text) {
		d.errorAt(w.at, "found %s, expected %s", quote(w.text), want)
	}
	return w.text
}

// headerRules reads names of headers, of which the last character may be an
// asterisk.
func (d *decoder) headerRules(n ast.Node) (all []string) {
	const want = "the name of a header, or its beginning and an asterisk"
	for _, w := range d.words(n, want) {
		if !headerName.MatchString(strings.TrimSuffix(w.text, "*")) {
			d.errorAt(w.at, "found %s, expected %s", quote(w.text), want)
			continue
		}
		all = append(all, w.text)
	}
	return all
}

// A Termination is a route whose TLS ends here.
type Termination struct {
	Key      string // tells it from others of the file, also after a reload
	Listener string
	Name     string // its server names, joined with commas
	Settings *Terminate
	Routes   []*l4.Route // of cfg, one for each name; who serves them sets their Handler
}

// Terminations returns those of cfg, which f.Build has made.
func (f *File) Terminations(cfg *l4.Config) (all []Termination) {
	for i, l := range f.listeners {
		next := 0
		for _, r := range l.routes {
			if r.terminate != nil {
				name := strings.Join(texts(r.names), ",")
				all = append(all, Termination{
					Key: fmt.Sprintf("%s %s %s", l.name.text, name, strings.Join(texts(r.alpn), ",")), Listener: l.name.text, Name: name,
					Settings: r.terminate, Routes: cfg.Listeners[i].Table.Routes()[next : next+len(r.names)],
				})
			}
			next += len(r.names)
		}
	}
	return all
}

// Redirects returns the listeners of cfg that send clients to https, each with
// the port that is served on.
func (f *File) Redirects(cfg *l4.Config) map[*l4.Listener]int {
	all := map[*l4.Listener]int{}
	for i, l := range f.listeners {
		if l.redirect > 0 {
			all[cfg.Listeners[i]] = l.redirect
		}
	}
	return all
}
