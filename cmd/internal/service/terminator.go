package service

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"net/http"
	"os"
	"time"

	"golang.org/x/crypto/acme"
	"golang.org/x/crypto/acme/autocert"

	"culvert/cmd/internal/admin"
	"culvert/cmd/internal/config"
	"culvert/l4"
	"culvert/l4/terminate"
)

// terminator serves a route.
type terminator struct {
	settings *config.Terminate
	names    []string // server names, for ACME
	name     admin.RouteName
	expires  func() time.Time // when the first of its certificates ends; nil: it has none of its own
	server   *terminate.Server
	follow   []func()           // look at its files, once server is there
	stop     context.CancelFunc // looks at them no more
}

// Handle is l4.Handler's.
func (x *terminator) Handle(h *l4.Handled) { x.server.Serve(clientConn{h}, h.Deadline) }

func (x *terminator) retire() {
	x.stop()
	x.server.Retire()
}

// clientConn is a connection as the terminate package wants it.
type clientConn struct{ *l4.Handled }

// Peer is terminate.Conn's.
func (c clientConn) Peer() terminate.Client {
	x := c.Caller()
	return terminate.Client{Addr: x.Client, Local: x.Local, Name: x.Name, ALPN: x.ALPN, ID: x.ID}
}

// Refuse is terminate.Conn's.
func (c clientConn) Refuse(err error) {
	why := l4.ReasonHandshake
	if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) {
		why = l4.ReasonHelloTimeout
	}
	c.Fail(why)
}

// redirector is a terminate.Redirector as a Handler.
type redirector struct{ *terminate.Redirector }

// Handle is l4.Handler's.
func (r redirector) Handle(h *l4.Handled) { r.Serve(h) }

// begin makes the terminator of a route, and looks at its files from now on.
func (t *terminators) begin(of config.Termination) (*terminator, error) {
	ctx, stop := context.WithCancel(context.Background())
	s := of.Settings
	stripRequest, stripResponse := s.Strip()
	x := &terminator{settings: s, names: of.Names, name: nameOf(of), stop: stop}
	cfg := terminate.Config{
		Profile: cmp.Or(s.Profile, terminate.Intermediate), Handshakes: t.handshakes, Raw: s.Raw, HSTS: s.HSTS,
		StripRequest: stripRequest, StripResponse: stripResponse, Limits: s.Limits(), Log: t.log,
		Report: func(r *terminate.Request) {
			t.counts.count(x.name, r)
			t.report(r)
		},
	}
	err := errors.Join(t.addCertificates(ctx, &cfg, x), t.addPreauth(ctx, &cfg, x), t.addClients(ctx, &cfg, x))
	if err != nil {
		stop()
		return nil, err
	}
	x.server = terminate.New(cfg)
	for _, f := range x.follow {
		go f()
	}
	x.follow = nil
	return x, nil
}

func (t *terminators) addCertificates(ctx context.Context, cfg *terminate.Config, x *terminator) error {
	s := x.settings
	if s.ACME != nil {
		m, err := acmeManager(s.ACME, x.names)
		if err != nil {
			return err
		}
		cfg.ACME = &terminate.ACME{Manager: m}
	}
	if len(s.Certificates) == 0 {
		return nil
	}
	f, err := terminate.FollowCertificates(s.Pairs())
	if err != nil {
		return err
	}
	cfg.Certificates = f.Get
	x.expires = func() time.Time { return f.Get().Expires() }
	warning := &expiry{log: t.log, route: x.name.Route, ends: x.expires}
	x.follow = append(x.follow, func() { warning.watch(ctx) }, func() { f.Watch(ctx, t.changed("certificates", s.Certificates[0].Certificate)) })
	return nil
}

// acmeManager returns what asks the authority for certificates.
func acmeManager(a *config.ACME, names []string) (*autocert.Manager, error) {
	m := &autocert.Manager{
		Prompt: autocert.AcceptTOS, Cache: autocert.DirCache(a.Cache), HostPolicy: autocert.HostWhitelist(names...), Email: a.Email,
		Client: &acme.Client{DirectoryURL: cmp.Or(a.Directory, autocert.DefaultACMEDirectory), UserAgent: "culvert"},
	}
	if a.Roots == "" {
		return m, nil
	}
	roots, err := terminate.LoadRoots(a.Roots)
	if err != nil {
		return nil, err
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = &tls.Config{RootCAs: roots}
	m.Client.HTTPClient = &http.Client{Transport: transport, Timeout: acmeTimeout}
	return m, nil
}

// acmeTimeout is for one request to an authority.
const acmeTimeout = 30 * time.Second

func (t *terminators) addPreauth(ctx context.Context, cfg *terminate.Config, x *terminator) error {
	p := x.settings.Preauth
	if p == nil {
		return nil
	}
	exempt, err := p.Exemptions()
	if err != nil {
		return err
	}
	f, err := terminate.Follow([]string{p.SecretsFile}, func() (*terminate.Secrets, error) { return terminate.LoadSecrets(p.SecretsFile) })
	if err != nil {
		return err
	}
	cfg.Preauth = &terminate.Preauth{
		Secrets: f.Get, Exempt: exempt, ExemptWebSocket: p.ExemptWebSocket, BasePath: p.BasePath,
		Used: func(label string) { t.counts.accepted(x.name, label) },
	}
	x.follow = append(x.follow, func() { f.Watch(ctx, t.changed("pre-auth secrets", p.SecretsFile)) })
	return nil
}

func (t *terminators) addClients(ctx context.Context, cfg *terminate.Config, x *terminator) error {
	c := x.settings.Clients
	if c == nil {
		return nil
	}
	files := append([]string{c.CA}, c.CRLs...)
	f, err := terminate.Follow(files, func() (*terminate.Authorities, error) { return terminate.LoadAuthorities(c.CA, c.CRLs) })
	if err != nil {
		return err
	}
	cfg.Clients = &terminate.CertPolicy{Authorities: f.Get, Optional: c.Optional, Strict: c.Handshake, Unauthorized: c.Unauthorized()}
	cfg.CertHeaders = c.HeaderNames()
	said := t.changed("authorities of client certificates", c.CA)
	x.follow = append(x.follow, func() {
		f.Watch(ctx, func(err error) {
			said(err)
			if err == nil && c.Recheck {
				t.log.Info("checked the client certificates of open connections", "route", x.name.Route, "closed", x.server.Recheck())
			}
		})
	})
	return nil
}

// changed logs what became of files that changed.
func (t *terminators) changed(what, file string) func(error) {
	return func(err error) {
		if err != nil {
			t.log.Error("changed files are not used", "what", what, "file", file, "error", err)
			return
		}
		t.log.Info("changed files are used", "what", what, "file", file)
	}
}
