package l4

import (
	"syscall"

	"culvert/l4/socket"
)

// dialFrom dials c's server from the address that the pool says: the client's
// own, or one of several in turn. When that one has no port left for this
// server, or is of another family, the next may do.
func (l *loop) dialFrom(c *conn) (fd int, done bool, e socket.Errno) {
	how := socket.Dialing{TalksFirst: len(c.search.hello) > 0}
	sources := c.pool.Sources
	switch {
	case c.pool.Transparent:
		how.Source, how.Transparent = c.client.Addr(), true
		fallthrough
	case len(sources) == 0:
		return socket.Dial(c.target(), how)
	}
	for range sources {
		l.sourceTurn++
		how.Source = sources[l.sourceTurn%uint32(len(sources))]
		fd, done, e = socket.Dial(c.target(), how)
		if e != syscall.EADDRNOTAVAIL && e != syscall.EAFNOSUPPORT {
			break
		}
	}
	return fd, done, e
}
