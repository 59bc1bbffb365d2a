package terminate

import (
	"context"
	"crypto/tls"
	"net"
)

// relayRaw relays the decrypted bytes to a server.
func (s *Server) relayRaw(conn *tls.Conn, c Conn, state *tls.ConnectionState) {
	u := s.upstream.Load()
	if u == nil || s.cfg.Clients != nil && !s.cfg.Clients.Strict { // without Strict the client would have to get a page, which needs HTTP
		_ = conn.Close()
		return
	}
	from := peerOf(c, state)
	x := &exchange{server: s}
	var server net.Conn
	var by *attempt
	err := u.route(x, from, func(a *attempt) (_ bool, err error) {
		server, err = connect(context.Background(), a)
		by = a
		return err == nil, err
	})
	if err != nil {
		s.cfg.Log.Warn("no server accepted a connection", "client", from.Addr.String(), "tries", x.report.Tries, "error", err)
		_ = conn.Close()
		return
	}
	c.Served(by.server.Name())
	go relay(conn, server, by.server.Release)
}
