package terminate

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"sync"
)

// front is an http.Server and the listener that feeds it connections.
type front struct {
	http  *http.Server
	conns chan net.Conn
	done  chan struct{} // closed when it takes no more
	once  sync.Once
}

func (s *Server) newFront() *front {
	f := &front{http: s.newHTTP(), conns: make(chan net.Conn), done: make(chan struct{})}
	go func() { _ = f.http.Serve(f) }() // ends with shutDown
	return f
}

// take gives a connection to the http.Server, which takes none after shutDown.
func (f *front) take(c net.Conn) bool {
	select {
	case f.conns <- c:
		return true
	case <-f.done:
		return false
	}
}

// shutDown lets requests under way finish, and closes the idle connections.
func (f *front) shutDown() { _ = f.http.Shutdown(context.Background()) }

// Accept is net.Listener's.
func (f *front) Accept() (net.Conn, error) {
	select {
	case c := <-f.conns:
		return c, nil
	case <-f.done:
		return nil, net.ErrClosed
	}
}

// Close is net.Listener's.
func (f *front) Close() error {
	f.once.Do(func() { close(f.done) })
	return nil
}

// Addr is net.Listener's.
func (f *front) Addr() net.Addr { return &net.TCPAddr{} }

type clientKey struct{}

// withConn keeps what a request has to know of its connection.
func withConn(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, clientKey{}, c.(*tls.Conn).NetConn())
}

func clientConnOf(ctx context.Context) *clientConn {
	c, _ := ctx.Value(clientKey{}).(*clientConn)
	return c
}

func connOf(ctx context.Context) Conn { return clientConnOf(ctx).Conn.(Conn) }
