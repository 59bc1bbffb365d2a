package terminate

import (
	"crypto/tls"
	"sync"
	"time"
)

// roster has the connections of a route that asks for client certificates,
// WebSockets among them, so that a revocation can reach them. The zero value
// is empty.
type roster struct {
	mu    sync.Mutex
	conns map[*gated]*tls.Conn
}

func (r *roster) add(g *gated, c *tls.Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.conns == nil {
		r.conns = map[*gated]*tls.Conn{}
	}
	r.conns[g] = c
}

func (r *roster) remove(g *gated) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.conns, g)
}

// Recheck closes the connections whose client certificate does not do any
// more, for when the authorities have changed, and returns how many. Without
// it a request is refused all the same, but not what a WebSocket carries.
func (s *Server) Recheck() (closed int) {
	if s.cfg.Clients == nil {
		return 0
	}
	s.roster.mu.Lock()
	var bad []*gated
	for g, c := range s.roster.conns {
		state := c.ConnectionState()
		if _, err := s.cfg.Clients.Refusal(&state, time.Now()); err != nil {
			bad = append(bad, g)
		}
	}
	s.roster.mu.Unlock()
	for _, g := range bad {
		_ = g.Close()
	}
	return len(bad)
}
