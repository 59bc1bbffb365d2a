package health

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"time"
)

// Kind is what a probe does with its connection.
type Kind string

// The kinds.
const (
	TCP   Kind = "tcp"   // connect
	TLS   Kind = "tls"   // and finish a handshake
	HTTP  Kind = "http"  // connect and send a request
	HTTPS Kind = "https" // both
)

// A Check says how a server is probed. It must not be changed once in use.
type Check struct {
	Kind Kind

	// ServerName is the SNI of TLS and HTTPS, and what the certificate is
	// expected to be for; "" sends none and expects nothing.
	ServerName string

	// Roots are the authorities that a certificate must be issued by. With them
	// a probe also fails when the certificate is not for ServerName. nil: a
	// problem of the certificate is recorded and does not fail the probe.
	Roots *x509.CertPool

	Request *Request // of HTTP and HTTPS
}

// Dial connects to the server that is probed. The connection is the caller's
// to close.
type Dial func(context.Context) (net.Conn, error)

// A Result is what one probe found.
type Result struct {
	At          time.Time // when it began
	Took        time.Duration
	Err         error        // nil: the probe passed
	Certificate *Certificate // the server's; nil: none was seen
}

// Run probes once, over a connection that dial makes. It returns when ctx is
// done at the latest.
func (c *Check) Run(ctx context.Context, dial Dial) (r Result) {
	r.At = time.Now()
	defer func() { r.Took = time.Since(r.At) }()
	raw, err := dial(ctx)
	if err != nil {
		r.Err = err
		return r
	}
	defer raw.Close()
	defer context.AfterFunc(ctx, func() { _ = raw.SetDeadline(time.Unix(1, 0)) })()
	conn := raw
	if c.Kind == TLS || c.Kind == HTTPS {
		if conn, r.Certificate, r.Err = c.handshake(ctx, conn); r.Err != nil {
			return r
		}
	}
	if c.Request != nil {
		r.Err = c.Request.run(conn, c.host())
	}
	if r.Err != nil && ctx.Err() != nil {
		r.Err = fmt.Errorf("no answer in time: %w", ctx.Err())
	}
	return r
}

// handshake does a TLS handshake and examines the certificate.
func (c *Check) handshake(ctx context.Context, conn net.Conn) (net.Conn, *Certificate, error) {
	// examine verifies the certificate, so that a problem can be recorded
	// without failing the handshake.
	t := tls.Client(conn, &tls.Config{ServerName: c.ServerName, InsecureSkipVerify: true, NextProtos: c.protocols()})
	if err := t.HandshakeContext(ctx); err != nil {
		return conn, nil, fmt.Errorf("TLS handshake: %w", err)
	}
	cert := examine(t.ConnectionState().PeerCertificates, c.ServerName, c.Roots)
	if c.Roots != nil && cert.Problem != nil {
		return t, cert, fmt.Errorf("certificate: %w", cert.Problem)
	}
	if c.Kind == TLS {
		_ = t.CloseWrite() // without close_notify servers log an error for each probe
	}
	return t, cert, nil
}

func (c *Check) protocols() []string {
	if c.Kind == HTTPS {
		return []string{"http/1.1"}
	}
	return nil
}

// host is the host of a request that names none.
func (c *Check) host() string {
	if c.ServerName == "" {
		return "localhost"
	}
	return c.ServerName
}

// A Certificate describes the certificate that a server showed.
type Certificate struct {
	Subject  string
	Names    []string
	NotAfter time.Time
	Problem  error // expired, for another name, of an unknown authority; nil: none
}

// examine verifies a chain as a client that asks for name would. Without roots
// any issuer is accepted.
func examine(chain []*x509.Certificate, name string, roots *x509.CertPool) *Certificate {
	leaf := chain[0]
	c := &Certificate{Subject: leaf.Subject.String(), Names: leaf.DNSNames, NotAfter: leaf.NotAfter}
	now := time.Now()
	switch {
	case roots != nil:
		between := x509.NewCertPool()
		for _, i := range chain[1:] {
			between.AddCert(i)
		}
		_, c.Problem = leaf.Verify(x509.VerifyOptions{DNSName: name, Roots: roots, Intermediates: between})
	case now.After(leaf.NotAfter):
		c.Problem = fmt.Errorf("expired at %s", leaf.NotAfter.UTC().Format(time.RFC3339))
	case now.Before(leaf.NotBefore):
		c.Problem = fmt.Errorf("not valid before %s", leaf.NotBefore.UTC().Format(time.RFC3339))
	case name != "":
		c.Problem = leaf.VerifyHostname(name)
	}
	return c
}
