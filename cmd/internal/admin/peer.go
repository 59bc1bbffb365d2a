package admin

import (
	"context"
	"net"
	"syscall"
)

// peerListener stores the credentials of the peer process in the remote address
// of each connection, because a listener that wraps this one hides the
// connection itself but not its address.
type peerListener struct{ *net.UnixListener }

func (l peerListener) Accept() (net.Conn, error) {
	c, err := l.AcceptUnix()
	if err != nil {
		return nil, err
	}
	return peerConn{c, peerAddr{c.RemoteAddr(), peerOf(c)}}, nil
}

type peerConn struct {
	net.Conn
	peer peerAddr
}

func (c peerConn) RemoteAddr() net.Addr { return c.peer }

// peerAddr is the address of a peer process; cred is nil when its credentials
// are not known.
type peerAddr struct {
	net.Addr
	cred *syscall.Ucred
}

// peerOf returns the credentials of the process that connected c (unix(7),
// SO_PEERCRED), or nil.
func peerOf(c *net.UnixConn) (cred *syscall.Ucred) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil
	}
	_ = raw.Control(func(fd uintptr) {
		cred, _ = syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	})
	return cred
}

type peerKey struct{}

// withPeer puts the peer's credentials into the context of its requests.
func withPeer(ctx context.Context, c net.Conn) context.Context {
	a, _ := c.RemoteAddr().(peerAddr)
	return context.WithValue(ctx, peerKey{}, a.cred)
}
