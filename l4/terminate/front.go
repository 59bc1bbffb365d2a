package terminate

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"sync"
)

// front is an http.Server and the listener that passes connections to it.
type front struct {
	http  *http.Server
	conns chan net.Conn
	done  chan struct{} // closed by Close
	once  sync.Once
}

func (s *Server) newFront() *front {
	f := &front{http: s.newHTTP(), conns: make(chan net.Conn), done: make(chan struct{})}
	go func() { _ = f.http.Serve(f) }() // ends with shutDown
	return f
}

// take passes a connection to the http.Server. It returns false after shutDown;
// the connection is then still the caller's.
func (f *front) take(c net.Conn) bool {
	select {
	case f.conns <- c:
		return true
	case <-f.done:
		return false
	}
}

// shutDown waits for requests in progress and closes idle connections.
func (f *front) shutDown() { _ = f.http.Shutdown(context.Background()) }

// Accept implements net.Listener.
func (f *front) Accept() (net.Conn, error) {
	select {
	case c := <-f.conns:
		return c, nil
	case <-f.done:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (f *front) Close() error {
	f.once.Do(func() { close(f.done) })
	return nil
}

// Addr implements net.Listener.
func (f *front) Addr() net.Addr { return &net.TCPAddr{} }

type clientKey struct{}

// withConn makes the client's connection available to clientConnOf.
func withConn(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, clientKey{}, c.(*tls.Conn).NetConn())
}

func clientConnOf(ctx context.Context) *clientConn {
	c, _ := ctx.Value(clientKey{}).(*clientConn)
	return c
}

func connOf(ctx context.Context) Conn { return clientConnOf(ctx).Conn.(Conn) }
