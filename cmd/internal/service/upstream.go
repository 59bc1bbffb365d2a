package service

import (
	"cmp"
	"context"
	"crypto/tls"
	"net"

	"culvert/balancer"
	"culvert/cmd/internal/config"
	"culvert/l4"
	"culvert/l4/terminate"
)

// upstream is the pool of a route as its terminator sees it.
func (s *Service) upstream(r *l4.Route, e *config.Encrypt) *terminate.Upstream {
	p := r.Pool
	if p == nil {
		return nil
	}
	d := l4.NewDialer(p, r.SendProxy)
	return &terminate.Upstream{
		Pool: p.Balancer, Tries: p.MaxTries(), ConnectTimeout: cmp.Or(p.ConnectTimeout, l4.DefaultConnectTimeout), Now: s.clock,
		Dial: func(ctx context.Context, sv *balancer.Server, c terminate.Client) (net.Conn, error) {
			return d.Dial(ctx, sv, l4.Caller{Client: c.Addr, Local: c.Local, Name: c.Name, ALPN: c.ALPN, ID: c.ID})
		},
		Outcome:   func(sv *balancer.Server, err error) { s.watchers.Load().outcome(sv, l4.DialReason(err)) },
		PerClient: d.PerClient(),
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
	if e.Identity == nil {
		return c
	}
	if f, err := terminate.FollowCertificates([]terminate.KeyPair{e.Identity.Files()}); err == nil {
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return f.Get().First(), nil }
	}
	return c
}
