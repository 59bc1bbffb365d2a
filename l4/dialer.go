package l4

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"culvert/balancer"
	"culvert/l4/socket"
)

// Dialer connects to the servers of a Pool: for the clients of the engine's
// loops and of Handlers, and for culvert itself. It decides on the source
// address, the PROXY header and the time that connecting may take. It is safe
// for concurrent use.
type Dialer struct {
	pool  *Pool
	proxy ProxyVersion  // never ProxyInherit
	next  atomic.Uint32 // in the rotation of the pool's source addresses
}

// NewDialer returns a Dialer for p, which must not change afterwards. header
// is the SendProxy of a Route, which overrides the pool's; ProxyInherit leaves
// it to the pool.
func NewDialer(p *Pool, header ProxyVersion) *Dialer {
	return &Dialer{pool: p, proxy: p.proxyVersion(header)}
}

// proxyVersion is the PROXY header that servers of p get of the connections of
// a route with this SendProxy.
func (p *Pool) proxyVersion(route ProxyVersion) ProxyVersion {
	return cmp.Or(route, p.SendProxy, ProxyOff)
}

// PerClient reports whether a connection to a server is for one client alone,
// because the server is told which one it is.
func (d *Dialer) PerClient() bool { return d.pool.Transparent || d.proxy > ProxyOff }

// Dial connects to server s of the pool and sends the PROXY header that c asks
// for. It takes at most the pool's ConnectTimeout, and ends when ctx is done.
// After a ConnectTimeout the error is a *ConnectTimeoutError; errors of the
// kernel are a socket.Errno; see DialReason. The connection is the caller's.
func (d *Dialer) Dial(ctx context.Context, s *balancer.Server, c Caller) (net.Conn, error) {
	return d.dial(ctx, &d.pool.Targets[s.Index()], c)
}

// Probe returns a function that connects to s for culvert itself, as Dial does
// for the zero Caller. A port other than 0 replaces that of s, unless s has a
// unix socket.
func (d *Dialer) Probe(s *balancer.Server, port uint16) func(context.Context) (net.Conn, error) {
	t := d.pool.Targets[s.Index()]
	if a := t.Addr(); port != 0 && !a.IsUnix() {
		t = socket.NewTarget(socket.IP(netip.AddrPortFrom(a.AddrPort().Addr(), port)))
	}
	return func(ctx context.Context) (net.Conn, error) { return d.dial(ctx, &t, Caller{}) }
}

func (d *Dialer) dial(ctx context.Context, t *socket.Target, c Caller) (net.Conn, error) {
	timeout := d.pool.connectTimeout()
	within, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	conn, err := d.connect(within, t, c)
	if err != nil && within.Err() != nil && ctx.Err() == nil {
		return nil, &ConnectTimeoutError{timeout}
	}
	return conn, err
}

// connect makes a connection that has its header.
func (d *Dialer) connect(ctx context.Context, t *socket.Target, c Caller) (conn net.Conn, err error) {
	header, err := proxyHeader(d.proxy, c)
	if err != nil {
		return nil, err
	}
	d.eachSource(c.Client.Addr(), func(how socket.Dialing) socket.Errno {
		how.TalksFirst = len(header) > 0
		conn, err = socket.Connect(ctx, t, how, &d.pool.TCP)
		var e socket.Errno
		errors.As(err, &e)
		return e
	})
	if err != nil || len(header) == 0 {
		return conn, err
	}
	if err := writeHeader(ctx, conn, header); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return conn, nil
}

// writeHeader writes the header to a new connection. The socket's buffer takes
// it at once unless the server keeps its window shut.
func writeHeader(ctx context.Context, conn net.Conn, header []byte) error {
	stop := context.AfterFunc(ctx, func() { _ = conn.SetWriteDeadline(time.Unix(1, 0)) })
	_, err := conn.Write(header)
	if stop(); ctx.Err() != nil {
		return ctx.Err() // its deadline may be set any time now
	}
	if err != nil {
		return fmt.Errorf("send the PROXY header: %w", err)
	}
	return nil
}

func (p *Pool) connectTimeout() time.Duration { return cmp.Or(p.ConnectTimeout, DefaultConnectTimeout) }
