package terminate

import (
	"context"
	"crypto/tls"
	"net"
)

// relayRaw gives what is inside TLS to a server as it is.
func (s *Server) relayRaw(conn *tls.Conn, c Conn, state *tls.ConnectionState) {
	u := s.upstream.Load()
	if u == nil || s.cfg.Clients != nil && !s.cfg.Clients.Strict { // a page cannot be shown here
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
		s.cfg.Log.Warn("no server for a connection", "client", from.Addr.String(), "tries", x.report.Tries, "error", err)
		_ = conn.Close()
		return
	}
	c.Served(by.server.Name())
	go relay(conn, server, by.server.Release)
}
