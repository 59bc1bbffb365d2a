package l4

import (
	"errors"

	"culvert/sniff"
)

// trusted reports whether PROXY headers of a peer are believed. Access to a unix
// socket is decided by the permissions of its file.
func (c *conn) trusted() bool {
	if c.ends[client].unix {
		return true
	}
	for _, p := range c.from.cfg.ProxyFrom {
		if p.Contains(c.client.Addr().WithZone("")) {
			return true
		}
	}
	return false
}

// takeHeader looks for the PROXY header among the first bytes, and takes it
// away when it is whole. It reports whether c goes on: with more bytes to come
// when c.header is still set.
func (l *loop) takeHeader(c *conn) bool {
	n, err := sniff.ProxyHeader(c.search.hello)
	if errors.Is(err, sniff.ErrNeedMore) {
		return true
	}
	var says announcement
	if err == nil {
		says, err = parseProxyHeader(c.search.hello[:n])
	}
	if err != nil {
		l.finish(c, Culvert, ReasonProxyHeader)
		return false
	}
	c.header = false
	c.search.hello = c.search.hello[:copy(c.search.hello, c.search.hello[n:])]
	if says.client.IsValid() {
		c.client = says.client
		c.local = &says.local
	}
	return true
}
