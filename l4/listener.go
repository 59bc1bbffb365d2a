package l4

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync/atomic"
	"syscall"
	"time"

	"culvert/l4/limit"
	"culvert/l4/socket"
)

// bind opens a listener, with the sockets that there are already if any.
func (e *Engine) bind(ln *Listener, inherited []int) error {
	socks, err := e.sockets(ln, inherited)
	if err != nil {
		return err
	}
	e.catalog.bound(ln, socks.addr)
	for i, l := range e.loops {
		for _, sock := range socks.byLoop[i] {
			if errno := l.open(ln, sock); errno != 0 {
				return fmt.Errorf("watch %s: %w", ln.Address, errno)
			}
		}
	}
	return nil
}

// listening is the sockets of a listener, which no loop has yet.
type listening struct {
	addr   socket.Addr // where they are bound
	byLoop [][]*socket.Listener
}

func (x *listening) close() { closeAll(slices.Concat(x.byLoop...)) }

// listenOptions are those of the listener's sockets.
func (ln *Listener) listenOptions() socket.ListenOptions {
	opt := socket.ListenOptions{Options: ln.TCP, ReusePort: !ln.Address.IsUnix(), Backlog: ln.Backlog}
	if ln.Table != nil {
		opt.DeferAccept = time.Second
	}
	return opt
}

// sockets opens the sockets of ln, at least one for each loop, and changes
// nothing else. Each inherited socket gets a loop, because it has a queue of its
// own.
func (e *Engine) sockets(ln *Listener, inherited []int) (*listening, error) {
	opt := ln.listenOptions()
	socks, err := inherit(ln, inherited, opt)
	if err == nil && len(socks) == 0 {
		var first *socket.Listener
		if first, err = e.firstSocket(ln.Address, opt); err == nil {
			socks = append(socks, first)
		}
	}
	for err == nil && len(socks) < len(e.loops) {
		var next *socket.Listener
		if next, err = socks[0].Another(opt); err == nil {
			socks = append(socks, next)
		}
	}
	if err != nil {
		closeAll(socks)
		return nil, err
	}
	all := &listening{addr: socks[0].Addr(), byLoop: make([][]*socket.Listener, len(e.loops))}
	for i, sock := range socks {
		at := i % len(e.loops)
		all.byLoop[at] = append(all.byLoop[at], sock)
	}
	return all, nil
}

// inherit checks the descriptors that another process had for ln.
func inherit(ln *Listener, fds []int, opt socket.ListenOptions) (socks []*socket.Listener, err error) {
	for _, fd := range fds {
		sock, err := socket.Inherit(fd, ln.Address, opt)
		if err != nil {
			return socks, err
		}
		socks = append(socks, sock)
	}
	return socks, nil
}

// firstSocket binds an address that no other process listens on. Where the kernel
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
// what one iteration leaves in the queue is reported again.
type accepter struct {
	cfg    *Listener
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
	id     int          // in the counters
	addr   socket.Addr  // where it is bound
	active limit.Limit  // connections
	paused atomic.Int64 // loops in which it does not accept
	pauses pauses
}
