package l4

import (
	"cmp"
	"errors"
	"syscall"

	"culvert/l4/socket"
	"culvert/sniff"
)

// helloSlack is how much more than a whole hello one read may bring: early
// data that the client sent along.
const helloSlack = 4 << 10

// readHello reads until the hello is whole, rejected, or not there yet.
func (l *loop) readHello(c *conn) {
	e := &c.ends[client]
	for e.readable {
		n, errno := socket.Read(int(e.fd), l.buf[:l.helloRoom(c)])
		switch {
		case errno == syscall.EAGAIN:
			e.readable = false
		case errno != 0:
			l.clientBroken(c, errno)
			return
		case n == 0:
			l.finish(c, Client, ReasonHelloClosed)
			return
		default:
			e.readable = n == l.helloRoom(c) || e.fin || !e.shortMeansEmpty()
			if !l.moreHello(c, l.buf[:n]) {
				return
			}
		}
	}
	l.waitForHello(c)
}

// helloRoom is how many bytes may be read: the cap, and a little that may
// follow the hello.
func (l *loop) helloRoom(c *conn) int {
	room := c.maxHello() + helloSlack
	if c.search != nil {
		room -= len(c.search.hello)
	}
	return min(room, len(l.buf))
}

func (c *conn) maxHello() int { return cmp.Or(c.from.cfg.MaxHello, sniff.DefaultLimit) }

// moreHello looks at the bytes so far with b behind them and reports whether
// more are needed.
func (l *loop) moreHello(c *conn, b []byte) bool {
	if c.search == nil {
		c.search = l.newSearch()
		c.search.parser.Limit = c.maxHello()
	}
	a := c.search
	a.hello = appendBounded(a.hello, b, c.maxHello()+helloSlack)
	if !l.countHello(c) || c.header && !l.takeHeader(c) {
		return false
	}
	if c.header {
		return true // its sender is trusted, and many clients' one
	}
	if c.from.cfg.Table == nil {
		l.begin(c)
		return false
	}
	err := a.parser.Parse(a.hello, &l.hello)
	var reject *sniff.Reject
	switch {
	case err == nil:
		l.routeHello(c)
	case errors.Is(err, sniff.ErrNeedMore):
		return l.startWaiting(c)
	case errors.As(err, &reject):
		l.rejectHello(c, reject)
	}
	return false
}

// appendBounded is append with less memory: a hello that comes in one piece is
// allocated exactly, and one that grows never has more capacity than limit, the
// largest that it can get.
func appendBounded(dst, b []byte, limit int) []byte {
	if need := len(dst) + len(b); need > cap(dst) {
		dst = append(make([]byte, 0, min(max(need, 2*cap(dst)), limit)), dst...)
	}
	return append(dst, b...)
}

// startWaiting counts c among the waiting hellos, or ends it when its prefix
// has too many.
func (l *loop) startWaiting(c *conn) bool {
	if c.waits {
		return true
	}
	if !l.eng.waiting.Take(c.client.Addr()) {
		l.finish(c, Culvert, ReasonHelloLimit)
		return false
	}
	c.waits = true
	return true
}

// countHello counts a large hello, which is held until a server has answered,
// against the bound for all of them: half of that for buffered bytes. Small ones
// are bounded by the number of connections.
func (l *loop) countHello(c *conn) bool {
	size := cap(c.search.hello)
	if size <= spareHello {
		return true
	}
	if grown := size - c.search.counted; grown > 0 && !l.eng.hellos.TakeN(int64(grown)) {
		l.finish(c, Culvert, ReasonMemoryLimit)
		return false
	}
	c.search.counted = size
	return true
}

// waitForHello arms the deadline, which counts from accept and is absolute.
func (l *loop) waitForHello(c *conn) {
	if !c.header && !l.startWaiting(c) {
		return
	}
	if !l.watch(c, client) {
		l.noResources(c, syscall.ENOMEM)
		return
	}
	if c.timer.in == nil || c.from.cfg.Proxied {
		l.schedule(c)
	}
}

// helloDone ends the waiting.
func (l *loop) helloDone(c *conn) {
	if c.waits {
		c.waits = false
		l.eng.waiting.Release(c.client.Addr())
	}
}

// rejectHello ends a connection whose first bytes are not a good hello. Bytes
// that are not TLS at all may have a pool of their own.
func (l *loop) rejectHello(c *conn, r *sniff.Reject) {
	if r == sniff.ErrBadName {
		c.name = l.names.get(l.hello.RawName())
	}
	l.helloDone(c)
	if r.Alert != sniff.AlertNone {
		l.sendAlert(c, r.Alert, Reason(r.Reason))
		return
	}
	if c.from.cfg.Plaintext == nil || r != sniff.ErrNotTLS {
		l.finish(c, Culvert, Reason(r.Reason))
		return
	}
	c.pool = c.from.cfg.Plaintext
	l.startDial(c)
}
