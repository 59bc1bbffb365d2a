package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"os"
	"reflect"
	"runtime"
	"sync"
	"time"

	"golang.org/x/crypto/acme"
	"golang.org/x/crypto/acme/autocert"

	"culvert/balancer"
	"culvert/cmd/internal/admin"
	"culvert/cmd/internal/config"
	"culvert/l4"
	"culvert/l4/terminate"
)

// terminators serve the routes whose TLS ends here, and the listeners that
// send clients to https. Whoever changes what is served holds service.changing.
type terminators struct {
	log    *slog.Logger
	gate   *terminate.Gate
	report func(*terminate.Request)
	counts *requests

	mu      sync.Mutex             // of who changes running; who only reads it while nothing changes needs none
	running map[string]*terminator // by config.Termination.Key
	sending map[string]*terminate.Redirector
}

// terminator serves a route.
type terminator struct {
	settings *config.Terminate
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

// served is what will serve a configuration once it is in use.
type served struct {
	of      *terminators
	running map[string]*terminator
	sending map[string]*terminate.Redirector
	pools   map[*terminator]*l4.Pool
	fresh   []*terminator
}

// prepare sets the handlers of cfg. Routes that say what they said before keep
// theirs, and with it the connections to their servers. It ends with a call of
// commit or of discard.
func (t *terminators) prepare(file *config.File, cfg *l4.Config) (*served, error) {
	next := &served{of: t, running: map[string]*terminator{}, sending: map[string]*terminate.Redirector{}, pools: map[*terminator]*l4.Pool{}}
	for _, x := range file.Terminations(cfg) {
		by := t.running[x.Key]
		if by == nil || !reflect.DeepEqual(by.settings, x.Settings) {
			var err error
			if by, err = t.begin(x); err != nil {
				next.discard()
				return nil, err
			}
			next.fresh = append(next.fresh, by)
		}
		next.running[x.Key] = by
		for _, r := range x.Routes {
			r.Handler = by
			next.pools[by] = r.Pool
		}
	}
	for ln, port := range file.Redirects(cfg) {
		r := t.sending[ln.Name]
		if r == nil || r.Port() != port {
			r = terminate.NewRedirector(port)
		}
		next.sending[ln.Name], ln.Handler = r, redirector{r}
	}
	return next, nil
}

// discard ends what prepare began.
func (n *served) discard() {
	for _, x := range n.fresh {
		x.retire()
	}
	for name, r := range n.sending {
		if n.of.sending[name] != r {
			r.Retire()
		}
	}
}

// commit puts the servers of cfg behind the routes, and has the clients of
// those that changed come back on new connections.
func (n *served) commit(upstream func(*l4.Pool, *config.Encrypt) *terminate.Upstream) {
	t := n.of
	if len(n.running) > 0 {
		paceCollector()
	}
	for x, pool := range n.pools {
		x.server.SetUpstream(upstream(pool, x.settings.Encrypt))
	}
	for key, x := range t.running {
		if n.running[key] != x {
			x.retire()
		}
	}
	for name, r := range t.sending {
		if n.sending[name] != r {
			r.Retire()
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.running, t.sending = n.running, n.sending
}

// retire has all clients finish, at the end of the process.
func (t *terminators) retire() {
	for _, x := range t.running {
		x.retire()
	}
	for _, r := range t.sending {
		r.Retire()
	}
}

// begin makes the terminator of a route, and looks at its files from now on.
func (t *terminators) begin(of config.Termination) (*terminator, error) {
	ctx, stop := context.WithCancel(context.Background())
	s := of.Settings
	x := &terminator{settings: s, name: nameOf(of), stop: stop}
	cfg := terminate.Config{
		Profile: s.Profile, Gate: t.gate, Raw: s.Raw, HSTS: s.HSTS,
		StripRequest: s.Strip[0], StripResponse: s.Strip[1], Limits: s.Limits, Log: t.log,
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
		m, err := acmeManager(s.ACME)
		if err != nil {
			return err
		}
		cfg.ACME = &terminate.ACME{Manager: m}
	}
	if len(s.Certificates) == 0 {
		return nil
	}
	f, err := terminate.FollowCertificates(s.Certificates)
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
func acmeManager(a *config.ACME) (*autocert.Manager, error) {
	m := &autocert.Manager{
		Prompt: autocert.AcceptTOS, Cache: autocert.DirCache(a.Cache), HostPolicy: autocert.HostWhitelist(a.Names...), Email: a.Email,
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
	exempt, err := terminate.NewExemptions(p.BasePath, p.Exempt)
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
	cfg.Clients = &terminate.CertPolicy{Authorities: f.Get, Optional: c.Optional, Strict: c.Strict, Unauthorized: c.Unauthorized}
	cfg.CertHeaders = c.Headers
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

// newTerminators returns the part of the service that ends TLS. Handshakes get
// the processors that the loops leave, at least one.
func (s *service) newTerminators(loops int) *terminators {
	return &terminators{
		log: s.log, gate: terminate.NewGate(runtime.GOMAXPROCS(0) - loops), // the engine sees to one at least
		report: func(r *terminate.Request) { s.access.Load().AddRequest(r) },
		counts: newRequests(),
	}
}

// requests is what the admin server shows of routes that terminate TLS.
func (s *service) requests() *admin.Requests {
	all := s.ends.counts.totals()
	all.Expires = map[admin.RouteName]time.Time{}
	s.ends.mu.Lock()
	defer s.ends.mu.Unlock()
	for _, x := range s.ends.running {
		if x.expires != nil {
			all.Expires[x.name] = x.expires()
		}
	}
	return all
}

// upstream is the pool of a route as its terminator sees it.
func (s *service) upstream(p *l4.Pool, e *config.Encrypt) *terminate.Upstream {
	if p == nil {
		return nil
	}
	return &terminate.Upstream{
		Pool: p.Balancer, Tries: p.MaxTries(), ConnectTimeout: cmp.Or(p.ConnectTimeout, l4.DefaultConnectTimeout), Now: s.clock,
		Dial: func(ctx context.Context, sv *balancer.Server, c terminate.Client) (net.Conn, error) {
			return p.Dial(ctx, sv, l4.Caller{Client: c.Addr, Local: c.Local, Name: c.Name})
		},
		Outcome:   func(sv *balancer.Server, err error) { s.watchers.Load().outcome(sv, l4.DialReason(err)) },
		PerClient: p.PerClient(),
		TLS:       towards(e),
	}
}

// towards is TLS to the servers. Its files were read when the file was checked.
func towards(e *config.Encrypt) *tls.Config {
	if e == nil {
		return nil
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: e.ServerName, InsecureSkipVerify: e.Insecure, NextProtos: []string{"http/1.1"}}
	if e.Roots != "" {
		c.RootCAs, _ = terminate.LoadRoots(e.Roots)
	}
	if e.Identity.Certificate == "" {
		return c
	}
	if f, err := terminate.FollowCertificates([]terminate.KeyPair{e.Identity}); err == nil {
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return f.Get().First(), nil }
	}
	return c
}
