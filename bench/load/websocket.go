package load

import (
	"context"
	"crypto/tls"
	"fmt"
)

// HoldWebSockets opens n WebSockets over TLS and exchanges one message on each.
// Messages are not WebSocket frames: neither a proxy nor the servers parse them.
func HoldWebSockets(ctx context.Context, t Target, n int, o RequestOptions) (*Held, error) {
	c := &client{Target: t}
	handshake := head("GET /api/v4/websocket", t.ServerName, append(o.fields(),
		field{"Connection", "Upgrade"}, field{"Upgrade", "websocket"},
		field{"Sec-WebSocket-Version", "13"}, field{"Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="}, // RFC 6455, section 1.3
	))
	cfg := c.tlsClient("http/1.1")
	sessions, err := openEach(n, func() (*session, error) { return c.webSocket(ctx, cfg, handshake) })
	if err != nil {
		return nil, err
	}
	h := &Held{}
	for _, s := range sessions {
		h.conns = append(h.conns, s.Conn) // without the buffer
	}
	return h, nil
}

func (c *client) webSocket(ctx context.Context, cfg *tls.Config, handshake []byte) (*session, error) {
	s, err := c.session(ctx, cfg)
	if err != nil {
		return nil, err
	}
	if err := s.upgrade(handshake); err != nil {
		s.Close()
		return nil, fmt.Errorf("open a WebSocket: %w", err)
	}
	return s, nil
}

func (s *session) upgrade(handshake []byte) error {
	if _, err := s.Write(handshake); err != nil {
		return err
	}
	if _, err := s.answer("101"); err != nil {
		return err
	}
	return exchange(s.Conn, make([]byte, pingSize), pingSize, pingSize)
}
