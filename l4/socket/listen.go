package socket

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ListenOptions say how a listening socket is made.
type ListenOptions struct {
	Options

	// ReusePort lets several sockets, one a loop, listen on the same
	// address; the kernel spreads connections over them (socket(7)).
	ReusePort bool

	// DeferAccept holds a connection back in the kernel until its first
	// byte arrives, or until this time passed (TCP_DEFER_ACCEPT, tcp(7)).
	// 0: off. Only for protocols in which the client speaks first.
	DeferAccept time.Duration

	// Backlog is the length of the accept queue. 0: the most that the
	// kernel allows, net.core.somaxconn.
	Backlog int
}

// Listener is a listening socket. One goroutine at a time may use it.
type Listener struct {
	fd     int
	addr   Addr
	shared bool
	peer   unix.RawSockaddrAny // where accept4 writes
	size   uint32
}

// Listen opens a listening socket at a.
func Listen(a Addr, o ListenOptions) (*Listener, error) {
	l, err := listen(a, o)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", a, err)
	}
	return l, nil
}

func listen(a Addr, o ListenOptions) (*Listener, error) {
	if a.IsUnix() {
		if err := RemoveStale(a); err != nil {
			return nil, err
		}
	}
	fd, err := bound(a, o)
	if err != nil {
		return nil, err
	}
	if err := startListening(fd, a, o); err != nil {
		Close(fd)
		return nil, err
	}
	return &Listener{fd: fd, addr: localAddr(fd, a)}, nil
}

// Probe reports an error when another process listens at a. Two processes that
// both use SO_REUSEPORT would share the port without a word, so the first
// socket of a process is preceded by a bind without it.
func Probe(a Addr) error {
	if a.IsUnix() || a.ip.Port() == 0 {
		return nil
	}
	fd, err := bound(a, ListenOptions{})
	if err != nil {
		return fmt.Errorf("listen on %s: %w", a, err)
	}
	Close(fd)
	return nil
}

// bound returns a socket bound to a. The wildcard IPv6 address takes IPv4
// connections as well.
func bound(a Addr, o ListenOptions) (int, error) {
	sa := a.kernel()
	fd, err := unix.Socket(sa.domain, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	if !a.IsUnix() {
		setInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	}
	if o.ReusePort {
		setInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
	}
	if sa.domain == unix.AF_INET6 {
		setInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, b2i(!a.ip.Addr().IsUnspecified()))
	}
	_, _, e := syscall.Syscall(unix.SYS_BIND, uintptr(fd), uintptr(unsafe.Pointer(&sa.raw)), uintptr(sa.len))
	if e != 0 {
		Close(fd)
		return -1, os.NewSyscallError("bind", e)
	}
	return fd, nil
}

// startListening sets what accepted sockets inherit, then listens.
func startListening(fd int, a Addr, o ListenOptions) error {
	if !a.IsUnix() {
		o.apply(fd, o.idle())
		setInt(fd, unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT, seconds(o.DeferAccept))
	}
	backlog := o.Backlog
	if backlog <= 0 {
		backlog = 1<<31 - 1 // listen(2) cuts it to somaxconn, readable or not
	}
	return os.NewSyscallError("listen", unix.Listen(fd, backlog))
}

// localAddr returns where fd is bound: port 0 has become a real one.
func localAddr(fd int, a Addr) Addr {
	if a.IsUnix() {
		return a
	}
	return Addr{ip: netip.AddrPortFrom(a.ip.Addr(), boundTo(fd).Port())}
}

// LocalAddr returns the address of fd's own end, an IPv4-mapped one as IPv4;
// the zero AddrPort for a unix socket.
func LocalAddr(fd int) netip.AddrPort { return boundTo(fd) }

// boundTo is the address of fd's own end, zero when it cannot be told.
func boundTo(fd int) netip.AddrPort {
	var raw unix.RawSockaddrAny
	size := uint32(unix.SizeofSockaddrAny)
	_, _, _ = syscall.RawSyscall(unix.SYS_GETSOCKNAME, uintptr(fd), uintptr(unsafe.Pointer(&raw)), uintptr(unsafe.Pointer(&size)))
	return fromKernel(&raw)
}

// RemoveStale removes the file of a unix socket that no process listens on any
// more. A live one, or a file of another kind, is an error.
func RemoveStale(a Addr) error {
	info, err := os.Lstat(a.path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode().Type() != os.ModeSocket {
		return errors.New("the path exists and is not a socket")
	}
	t := NewTarget(a)
	fd, _, e := Dial(&t, Dialing{})
	switch e {
	case unix.ECONNREFUSED:
		return os.Remove(a.path)
	case 0:
		Close(fd)
		return os.NewSyscallError("bind", unix.EADDRINUSE)
	}
	return os.NewSyscallError("connect", e)
}

// Addr returns where l is bound.
func (l *Listener) Addr() Addr { return l.addr }

// Apply sets o anew. ReusePort cannot change any more, and sockets that were
// accepted before keep what they inherited.
func (l *Listener) Apply(o ListenOptions) { _ = startListening(l.fd, l.addr, o) }

// FD returns the descriptor, which l keeps owning.
func (l *Listener) FD() int { return l.fd }

// Accept takes one connection off the queue: a non-blocking descriptor, the
// caller's to close, and the peer's address (zero for a unix peer).
func (l *Listener) Accept() (int, netip.AddrPort, Errno) {
	for {
		l.size = unix.SizeofSockaddrAny
		fd, _, e := syscall.RawSyscall6(unix.SYS_ACCEPT4, uintptr(l.fd), uintptr(unsafe.Pointer(&l.peer)), uintptr(unsafe.Pointer(&l.size)),
			unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0, 0)
		if e == 0 {
			return int(fd), fromKernel(&l.peer), 0
		}
		if e != unix.EINTR {
			return -1, netip.AddrPort{}, e
		}
	}
}

// Another returns a Listener for the same address and another goroutine: with
// a queue of its own where the kernel can have several (SO_REUSEPORT), which
// unix sockets and those of other programs may not, else the same socket.
func (l *Listener) Another(o ListenOptions) (*Listener, error) {
	if o.ReusePort && !l.shared && l.reusesPort() {
		return Listen(l.addr, o)
	}
	fd, err := Duplicate(l.fd)
	if err != nil {
		return nil, err
	}
	l.shared = true
	return &Listener{fd: fd, addr: l.addr, shared: true}, nil
}

func (l *Listener) reusesPort() bool {
	v, err := unix.GetsockoptInt(l.fd, unix.SOL_SOCKET, unix.SO_REUSEPORT)
	return err == nil && v != 0
}

// Shared reports whether another Listener has the same socket: both are to be
// watched with Exclusive, or every connection wakes all.
func (l *Listener) Shared() bool { return l.shared }

// Close closes the socket. The connections in its accept queue are reset,
// unless another Listener shares it.
func (l *Listener) Close() { Close(l.fd) }

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}
