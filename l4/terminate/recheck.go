package terminate

import (
	"crypto/tls"
	"sync"
	"time"
)

// openConns are the open connections of a route that asks for client
// certificates, including those of WebSockets, so that Recheck can close them.
// It is safe for concurrent use; the zero value is empty.
type openConns struct {
	mu    sync.Mutex
	conns map[*clientConn]*tls.Conn
}

func (o *openConns) add(c *clientConn, t *tls.Conn) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.conns == nil {
		o.conns = map[*clientConn]*tls.Conn{}
	}
	o.conns[c] = t
}

func (o *openConns) remove(c *clientConn) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.conns, c)
}

// Recheck closes the connections whose client certificate is no longer
// accepted, and returns how many. Call it when the authorities have changed.
// New requests on such connections are refused without it, but it alone ends
// their WebSockets.
func (s *Server) Recheck() (closed int) {
	if s.cfg.Clients == nil {
		return 0
	}
	s.openConns.mu.Lock()
	var bad []*clientConn
	for c, t := range s.openConns.conns {
		state := t.ConnectionState()
		if _, err := s.cfg.Clients.Refusal(&state, time.Now()); err != nil {
			bad = append(bad, c)
		}
	}
	s.openConns.mu.Unlock()
	for _, c := range bad {
		_ = c.Close()
	}
	return len(bad)
}
