package l4

import (
	"errors"
	"fmt"
	"net/netip"
	"sync/atomic"
	"syscall"
	"time"

	"culvert/l4/socket"
)

// bind opens listener i: a socket for each loop, or one that all share where
// the kernel cannot have several.
func (e *Engine) bind(i int, ln *Listener) error {
	socks, err := e.sockets(ln)
	if err != nil {
		return err
	}
	e.addrs = append(e.addrs, socks[0].Addr())
	for n, l := range e.loops {
		a := &accepter{cfg: ln, id: i, index: len(l.accepters), sock: socks[n], flags: socket.In, shared: e.listeners[i]}
		if ln.Address.IsUnix() {
			a.flags |= socket.Exclusive
		}
		l.accepters = append(l.accepters, a)
		if errno := l.watchAccepter(a); errno != 0 {
			return fmt.Errorf("watch %s: %w", ln.Address, errno)
		}
	}
	return nil
}

func (e *Engine) sockets(ln *Listener) ([]*socket.Listener, error) {
	opt := socket.ListenOptions{Options: ln.TCP, ReusePort: !ln.Address.IsUnix(), Backlog: ln.Backlog}
	if ln.Table != nil {
		opt.DeferAccept = time.Second
	}
	first, err := e.firstSocket(ln.Address, opt)
	if err != nil {
		return nil, err
	}
	socks := []*socket.Listener{first}
	for range e.loops[1:] {
		var next *socket.Listener
		if ln.Address.IsUnix() {
			next, err = first.Share()
		} else {
			next, err = socket.Listen(first.Addr(), opt)
		}
		if err != nil {
			for _, s := range socks {
				s.Close()
			}
			return nil, err
		}
		socks = append(socks, next)
	}
	return socks, nil
}

// firstSocket binds an address that nobody else listens on. Where the kernel
// has no IPv6 the wildcard is that of IPv4.
func (e *Engine) firstSocket(a socket.Addr, opt socket.ListenOptions) (*socket.Listener, error) {
	err := socket.Probe(a)
	if errors.Is(err, syscall.EAFNOSUPPORT) && a.AddrPort().Addr() == netip.IPv6Unspecified() {
		a = socket.IP(netip.AddrPortFrom(netip.IPv4Unspecified(), a.AddrPort().Port()))
		err = socket.Probe(a)
	}
	if err != nil {
		return nil, err
	}
	return socket.Listen(a, opt)
}

// accepter is one loop's socket of a listener. Its events are level-triggered:
// what one turn leaves in the queue is reported again.
type accepter struct {
	cfg    *Listener
	id     int // index of the listener in the engine
	index  int // in the loop
	sock   *socket.Listener
	flags  uint32
	shared *listenerState
	paused bool
	closed bool // an event of the same batch may still come
}

// close frees the socket.
func (a *accepter) close() {
	if !a.closed {
		a.closed = true
		a.sock.Close()
	}
}

func (l *loop) watchAccepter(a *accepter) socket.Errno {
	return l.poll.Add(a.sock.FD(), a.flags, acceptGen<<32|uint64(a.index))
}

// listenerState is what the loops share about a listener.
type listenerState struct {
	max    int64 // 0: no limit of its own
	active atomic.Int64
	paused atomic.Int64 // loops in which it does not accept
	spell  spell
}
