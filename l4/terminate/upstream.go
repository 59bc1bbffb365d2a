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

// Upstream describes the servers of a route: a pool, whose servers are picked
// as for passthrough connections. It must not be changed once it is in use.
type Upstream struct {
	Pool *balancer.Pool
	// Dial connects to a server for a client. It returns when ctx is done.
	Dial func(ctx context.Context, s *balancer.Server, from Client) (net.Conn, error)
	// Outcome is called with the result of each attempt to connect; nil
	// disables it.
	Outcome func(s *balancer.Server, err error)
	Now     func() time.Duration // the clock for Pool.Pick

	Tries          int           // maximum number of servers that one request tries; 0: all
	ConnectTimeout time.Duration // of one attempt

	TLS *tls.Config // for connections to servers; nil: plain text. An empty ServerName means the name from the client
	// PerClient says that each connection to a server is used for one client
	// only, because the server is told that client's address.
	PerClient bool
}

// Client describes the client of a connection.
type Client struct {
	Addr  netip.AddrPort // zero for a unix peer
	Local netip.AddrPort // address that it connected to
	Name  string         // server name that it asked for
	ALPN  string         // the protocol that it offered first; "": none
	ID    string         // of its connection, different from all others
}

// errNoServer means that there was no server to send a request to.
var errNoServer = errors.New("no server available")

// dialError is a failure to connect: no byte of a request was sent.
type dialError struct{ err error }

func (e *dialError) Error() string { return e.err.Error() }
func (e *dialError) Unwrap() error { return e.err }

// attempt is one try of a request at one server.
type attempt struct {
	upstream *Upstream
	server   *balancer.Server
	client   Client
}

// connect opens a connection for a, and reports the outcome.
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

// ofClient reports whether the client caused err: it has gone, or it asked for a
// name that the server does not have. Clients must not be able to put servers out
// of service by the names that they ask for.
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

// unrecognizedName is the alert unrecognized_name of RFC 6066 section 3.
const unrecognizedName = tls.AlertError(112)

// errUnnamed means that a server is to be verified by the name that the client
// asked for, but the client asked for none.
var errUnnamed = errors.New("the client sent no server name to verify the server by")

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

// tlsName returns the name that the server's certificate is verified against.
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
// another: if the server did not get it, or if it is idempotent (RFC 9110
// section 9.2.2) and nothing of its body has been read.
func mayRepeat(method string, b *body, err error) bool {
	if b != nil && b.touched.Load() {
		return false
	}
	if dial := (*dialError)(nil); errors.As(err, &dial) {
		return true
	}
	if timedOut(err) {
		return false // another server would probably be as slow, and both would be working on it
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

// route calls try for one server after another until it returns done.
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
			return err // try releases the server, at the latest when its response has ended
		}
		server.Release()
		last = err
	}
	return last
}
