package l4

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync/atomic"
	"syscall"

	"culvert/balancer"
	"culvert/l4/socket"
)

// Caller is for whom a server is dialed.
type Caller struct {
	Client netip.AddrPort // invalid: for culvert itself
	Local  netip.AddrPort // where the client connected to
	Name   string         // that it asked for
}

// Dial connects to a server of p for a Handler's client, as the engine does
// for those that it relays: from the address that p says, and with the PROXY
// header that it says. The connection is the caller's.
func (p *Pool) Dial(ctx context.Context, s *balancer.Server, from Caller) (net.Conn, error) {
	conn, err := p.connect(ctx, &p.Targets[s.Index()], from)
	if err != nil || p.SendProxy <= ProxyOff {
		return conn, err
	}
	if err := p.introduce(conn, from); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return conn, nil
}

// PerClient reports whether a connection to a server of p is for one client
// alone, because the server is told who that is.
func (p *Pool) PerClient() bool { return p.Transparent || p.SendProxy > ProxyOff }

// sourceTurn is whose turn it is among a pool's source addresses, for those
// who dial outside of the loops.
var sourceTurn atomic.Uint32

func (p *Pool) connect(ctx context.Context, t *socket.Target, from Caller) (net.Conn, error) {
	var how socket.Dialing
	switch {
	case p.Transparent && from.Client.IsValid():
		how.Source, how.Transparent = from.Client.Addr(), true
		fallthrough
	case len(p.Sources) == 0:
		return socket.Connect(ctx, t, how, &p.TCP)
	}
	var conn net.Conn
	var err error
	for range p.Sources {
		how.Source = p.Sources[sourceTurn.Add(1)%uint32(len(p.Sources))]
		conn, err = socket.Connect(ctx, t, how, &p.TCP)
		if !errors.Is(err, syscall.EADDRNOTAVAIL) && !errors.Is(err, syscall.EAFNOSUPPORT) {
			break
		}
	}
	return conn, err
}

// introduce writes the PROXY header.
func (p *Pool) introduce(conn net.Conn, from Caller) error {
	header := ProxyLocal(p.SendProxy)
	if from.Client.IsValid() {
		var err error
		header, err = formatProxyHeader(p.SendProxy, announcement{from.Client, from.Local}, values{authority: from.Name})
		if err != nil {
			return err
		}
	}
	_, err := conn.Write(header) // which a new socket's buffer takes at once
	return err
}

// DialReason says in a word how an attempt to connect failed; "" for nil.
func DialReason(err error) Reason {
	var e socket.Errno
	switch {
	case err == nil:
		return ""
	case errors.Is(err, context.DeadlineExceeded):
		return ReasonConnectTimeout
	case errors.As(err, &e):
		return connectReason(e)
	}
	return ReasonConnectFailed
}
