package terminate

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"time"

	"culvert/balancer"
)

// Upstream is what is behind a route: the servers of a pool, picked as they
// are for connections that pass through. It is not changed once it is in use.
type Upstream struct {
	Pool *balancer.Pool
	// Dial connects to a server for a client, and is done when ctx is.
	Dial func(ctx context.Context, s *balancer.Server, from Client) (net.Conn, error)
	// Outcome is told how an attempt to connect went.
	Outcome func(s *balancer.Server, err error)
	Now     func() time.Duration // the clock that picks are told

	Tries          int           // servers that one request tries at most; 0: all
	ConnectTimeout time.Duration // of one attempt

	TLS *tls.Config // encrypts again; nil: plain text. Without a ServerName it is the client's
	// PerClient says that a connection to a server is for one client alone:
	// the server is told whose it is.
	PerClient bool
}

// Client is the client of a connection.
type Client struct {
	Addr  netip.AddrPort // zero for a unix peer
	Local netip.AddrPort // where it connected to
	Name  string         // the server name that it asked for
	ALPN  string         // the protocol that it offered first; "": none
	ID    string         // of its connection, different from all others
}

// errNoServer is that a request found no server to ask.
var errNoServer = errors.New("no server")

// dialError is an attempt that ended before a server had a connection: no
// byte of a request was sent.
type dialError struct{ err error }

func (e *dialError) Error() string { return e.err.Error() }
func (e *dialError) Unwrap() error { return e.err }

// attempt is one try of a request at one server.
type attempt struct {
	upstream *Upstream
	server   *balancer.Server
	client   Client
}

// connect makes a connection for a, and says how that went.
func connect(ctx context.Context, a *attempt) (net.Conn, error) {
	conn, err := a.dial(ctx)
	if a.upstream.Outcome != nil && !a.ofClient(err) {
		a.upstream.Outcome(a.server, err)
	}
	if err != nil {
		return nil, &dialError{err}
	}
	return conn, nil
}

// ofClient reports whether a client brought err about: it has left, or asked
// for a name that is not the server's. Who asks for names must not be able to
// put servers out of service.
func (a *attempt) ofClient(err error) bool {
	if errors.Is(err, context.Canceled) {
		return true
	}
	if a.upstream.TLS == nil || a.upstream.TLS.ServerName != "" {
		return false
	}
	var name x509.HostnameError
	var alert tls.AlertError
	return errors.Is(err, errUnnamed) || errors.As(err, &name) || errors.As(err, &alert) && alert == unrecognizedName
}

// unrecognizedName is the alert of RFC 6066 section 3.
const unrecognizedName = tls.AlertError(112)

// errUnnamed is that a server is to be verified by the name that its client
// asked for, and there is none.
var errUnnamed = errors.New("the client asked for no name")

func (a *attempt) dial(ctx context.Context) (net.Conn, error) {
	if c := a.upstream.TLS; c != nil && a.tlsName() == "" && !c.InsecureSkipVerify {
		return nil, errUnnamed
	}
	ctx, cancel := context.WithTimeout(ctx, a.upstream.ConnectTimeout)
	defer cancel()
	conn, err := a.upstream.Dial(ctx, a.server, a.client)
	if err != nil || a.upstream.TLS == nil {
		return conn, err
	}
	c := a.upstream.TLS
	if c.ServerName == "" {
		c = c.Clone()
		c.ServerName = a.tlsName()
	}
	t := tls.Client(conn, c)
	if err := t.HandshakeContext(ctx); err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("TLS with %s: %w", a.server.Name(), err)
	}
	return t, nil
}

// tlsName is what the certificate of the server is for.
func (a *attempt) tlsName() string { return cmp.Or(a.upstream.TLS.ServerName, a.client.Name) }

func (a *attempt) key() connKey {
	key := connKey{server: a.server.Name(), address: a.server.Address()}
	if a.upstream.TLS != nil {
		key.tls, key.name = true, a.tlsName()
	}
	if a.upstream.PerClient {
		key.client = a.client
	}
	return key
}

// mayRepeat reports whether a request that failed at one server may be sent to
// another: before its server had it, or when it is idempotent (RFC 9110 section
// 9.2.2) and none of its body is gone.
func mayRepeat(method string, b *body, err error) bool {
	if b != nil && b.touched.Load() {
		return false
	}
	if dial := (*dialError)(nil); errors.As(err, &dial) {
		return true
	}
	if timedOut(err) {
		return false // the next one would be as slow, and both busy with it
	}
	return idempotent(method)
}

// idempotent reports whether requests of a method may be repeated.
func idempotent(method string) bool {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodPut, http.MethodDelete:
		return true
	}
	return false
}

// route tries one server after another until try says that it is done.
func (u *Upstream) route(x *exchange, c Client, try func(*attempt) (done bool, err error)) error {
	var sel balancer.Selection
	sel.Reset(c.Addr.Addr())
	last := errNoServer
	for n := 0; u.Tries == 0 || n < u.Tries; n++ {
		server, err := u.Pool.Pick(&sel, u.Now())
		if err != nil {
			return fmt.Errorf("%w (%w)", last, err)
		}
		x.report.Tries, x.report.Server = n+1, server.Name()
		done, err := try(&attempt{u, server, c})
		if done {
			return err // and try, or what it made, releases the server
		}
		server.Release()
		last = err
	}
	return last
}
