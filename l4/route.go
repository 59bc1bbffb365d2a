package l4

import "culvert/sniff"

// routeHello takes the facts of a whole hello and does what its route says.
func (l *loop) routeHello(c *conn) {
	l.helloDone(c)
	h := &l.hello
	c.tls = true
	c.helloAt = c.since(l.now)
	c.name = l.names.get(h.ServerName())
	if h.IPLiteral {
		c.name = l.names.get(h.RawName()) // for the record; it routes as no name
	}
	c.alpn = l.alpnOf(h)
	c.route = c.from.cfg.Table.Lookup(h.ServerName(), h).Route
	l.counters.took(c.route.id)
	switch c.route.Action {
	case Reject:
		l.sendAlert(c, sniff.AlertUnrecognizedName, ReasonNoRoute)
	case Close:
		l.finish(c, Culvert, ReasonClosedByRoute)
	case Handle:
		c.pool = c.route.Pool
		l.handle(c, c.route.Handler, h.Offer())
	case Forward:
		c.pool = c.route.Pool
		// Bytes behind the hello are early data, or expect the state of the
		// server that gets them: neither may go to two servers.
		c.search.replay = !h.EarlyData && !h.Trailing
		l.startDial(c)
	}
}

// alpnOf returns the text of a record for the offered protocols: as many as
// are worth keeping for the life of a connection, joined with commas. It is not
// for decisions, which need all of them.
func (l *loop) alpnOf(h *sniff.Hello) string {
	var list [64]byte
	b := list[:0]
	for p := range h.Protocols {
		before := len(b)
		if before > 0 {
			b = append(b, ',')
		}
		b = appendProtocol(b, p)
		if len(b) > maxInternedLen {
			b = b[:before]
			break
		}
	}
	if len(b) == 0 {
		return ""
	}
	return l.names.get(b)
}

// appendProtocol appends a protocol with the comma and the percent sign
// encoded, as RFC 7639 section 2.2 does: a list is split at commas.
func appendProtocol(b, protocol []byte) []byte {
	for _, x := range protocol {
		switch x {
		case ',':
			b = append(b, "%2C"...)
		case '%':
			b = append(b, "%25"...)
		default:
			b = append(b, x)
		}
	}
	return b
}
