package l4

import (
	"fmt"
	"net/netip"

	"culvert/l4/socket"
)

// announce puts a PROXY header before the bytes that the server gets, if it
// wants one: every server that is tried gets it whole. It comes right after the
// hello was parsed, and goes along with the hello into another process.
func (l *loop) announce(c *conn) {
	v := c.pool.proxyVersion(c.sendProxy())
	if v == ProxyOff {
		return
	}
	header, err := proxyHeader(v, l.caller(c))
	if err != nil { // of what? addresses and names are valid
		l.eng.log().Error("make a PROXY header", "error", err)
		return
	}
	c.search.hello = append(header, c.search.hello...)
}

// sendProxy is what c's route says of PROXY headers, if there is one.
func (c *conn) sendProxy() ProxyVersion {
	if c.route == nil {
		return ProxyInherit
	}
	return c.route.SendProxy
}

// caller is what c's server may be told. It is called before the loop parses
// another hello.
func (l *loop) caller(c *conn) Caller {
	x := Caller{Client: c.client, Local: c.localAddr(), Name: c.name, ID: l.eng.uniqueID(c.id)}
	if c.tls { // else the loop's hello is another connection's
		x.ALPN = string(l.hello.Offer().First())
	}
	return x
}

// uniqueID is the ID of a connection among those of all processes on all
// machines, as servers and their logs get it.
func (e *Engine) uniqueID(conn uint64) string { return fmt.Sprintf("%x-%d", e.start.UnixNano(), conn) }

// localAddr is the address that the client connected to, invalid when it has
// none.
func (c *conn) localAddr() netip.AddrPort {
	if c.local != nil {
		return *c.local
	}
	return socket.LocalAddr(int(c.ends[client].fd))
}
