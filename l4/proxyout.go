package l4

import (
	"cmp"
	"fmt"
	"net/netip"

	"culvert/l4/socket"
)

// proxyVersion is which PROXY header c's server gets.
func (c *conn) proxyVersion() ProxyVersion {
	v := ProxyInherit
	if c.route != nil {
		v = c.route.SendProxy
	}
	return cmp.Or(v, c.pool.SendProxy, ProxyOff)
}

// announce puts a PROXY header before the bytes that the server gets, if it
// wants one: every server that is tried gets it whole. It comes right after the
// hello was parsed, and goes along with the hello into another process.
func (l *loop) announce(c *conn) {
	v := c.proxyVersion()
	if v == ProxyOff {
		return
	}
	says := announcement{c.client, c.localAddr()}
	x := values{authority: c.name, id: fmt.Sprintf("%x-%d", l.eng.start.UnixNano(), c.id)}
	if c.tls { // else the loop's hello is another connection's
		x.alpn = string(l.hello.Offer().First())
	}
	header, err := formatProxyHeader(v, says, x)
	if err != nil { // of what? addresses and names are valid
		l.eng.log().Error("make a PROXY header", "error", err)
		return
	}
	c.search.hello = append(header, c.search.hello...)
}

// localAddr is the address that the client connected to, invalid when it has
// none.
func (c *conn) localAddr() netip.AddrPort {
	if c.local != nil {
		return *c.local
	}
	return socket.LocalAddr(int(c.ends[client].fd))
}
