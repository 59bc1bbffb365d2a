package l4

import (
	"net/netip"
	"syscall"

	"culvert/l4/socket"
)

// eachSource calls dial with one source address after the other, beginning
// with the next in the rotation, until one has a port left for the server and
// is of its family. A client's own address is the only one for it; without a
// client there is none, and the kernel chooses.
func (d *Dialer) eachSource(client netip.Addr, dial func(socket.Dialing) socket.Errno) {
	sources := d.pool.Sources
	switch {
	case d.pool.Transparent && client.IsValid():
		dial(socket.Dialing{Source: client, Transparent: true})
		return
	case len(sources) == 0:
		dial(socket.Dialing{})
		return
	}
	first := uint64(d.next.Add(1) - 1)
	for i := range uint64(len(sources)) {
		source := sources[(first+i)%uint64(len(sources))]
		if e := dial(socket.Dialing{Source: source}); e != syscall.EADDRNOTAVAIL && e != syscall.EAFNOSUPPORT {
			return
		}
	}
}

// dialFrom starts to connect to c's server, as its pool's Dialer says.
func (l *loop) dialFrom(c *conn) (fd int, done bool, e socket.Errno) {
	c.pool.dialer.eachSource(c.client.Addr(), func(how socket.Dialing) socket.Errno {
		how.TalksFirst = len(c.search.hello) > 0
		fd, done, e = socket.Dial(c.target(), how)
		return e
	})
	return fd, done, e
}
