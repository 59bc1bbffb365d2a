package socket

import (
	"fmt"
	"net/netip"
	"os"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Inherit makes a Listener of a descriptor that another process opened for a,
// with the options o. The Listener owns fd, unless there is an error: it is
// not a listening stream socket, or bound elsewhere.
func Inherit(fd int, a Addr, o ListenOptions) (*Listener, error) {
	at, err := Listening(fd)
	if err != nil {
		return nil, err
	}
	if !at.serves(a) {
		return nil, fmt.Errorf("listen on %s: the inherited socket is bound to %s", a, at)
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		return nil, fmt.Errorf("listen on %s: %w", a, err)
	}
	unix.CloseOnExec(fd)
	if err := startListening(fd, a, o); err != nil {
		return nil, fmt.Errorf("listen on %s: %w", a, err)
	}
	return &Listener{fd: fd, addr: localAddr(fd, a)}, nil
}

// Duplicate returns a second descriptor of what fd is, the caller's to close.
func Duplicate(fd int) (int, error) {
	d, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	return d, os.NewSyscallError("fcntl", err)
}

// Monotonic returns the time on the machine's clock that never jumps
// (CLOCK_MONOTONIC, clock_gettime(2)), which all processes share.
func Monotonic() time.Duration {
	var now unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &now)
	return time.Duration(now.Nano())
}

// serves reports whether a socket bound to at is one for the address a.
func (at Addr) serves(a Addr) bool {
	if at.IsUnix() || a.IsUnix() || a.ip.Port() == 0 {
		return at.path == a.path && (at.IsUnix() || at.ip.Addr() == a.ip.Addr())
	}
	// Where there is no IPv6 the wildcard is that of IPv4.
	wild := a.ip.Addr() == netip.IPv6Unspecified() && at.ip.Addr() == netip.IPv4Unspecified()
	return at.ip.Port() == a.ip.Port() && (wild || at.ip.Addr() == a.ip.Addr())
}

// Listening returns where the socket fd listens: an error if it is something
// else than a listening TCP or unix stream socket.
func Listening(fd int) (Addr, error) {
	kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	if err != nil {
		return Addr{}, fmt.Errorf("inherited descriptor %d: %w", fd, err)
	}
	domain, _ := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	protocol, _ := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PROTOCOL)
	listens, _ := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
	isUnix := domain == unix.AF_UNIX
	switch {
	case protocol == unix.IPPROTO_MPTCP:
		return Addr{}, fmt.Errorf("inherited descriptor %d is an MPTCP socket, which has no dead-peer settings: make it TCP", fd)
	case kind != unix.SOCK_STREAM || !isUnix && protocol != unix.IPPROTO_TCP:
		return Addr{}, fmt.Errorf("inherited descriptor %d is no TCP or unix stream socket", fd)
	case listens == 0:
		return Addr{}, fmt.Errorf("inherited descriptor %d does not listen", fd)
	case isUnix:
		return unixPath(fd)
	}
	return Addr{ip: boundTo(fd)}, nil
}

// unixPath returns the path that fd is bound to.
func unixPath(fd int) (Addr, error) {
	var raw unix.RawSockaddrUnix
	size := uint32(unsafe.Sizeof(raw))
	_, _, e := unix.RawSyscall(unix.SYS_GETSOCKNAME, uintptr(fd), uintptr(unsafe.Pointer(&raw)), uintptr(unsafe.Pointer(&size)))
	if e != 0 {
		return Addr{}, e
	}
	var path []byte
	for _, b := range raw.Path {
		if b == 0 {
			break
		}
		path = append(path, byte(b))
	}
	return Unix(string(path))
}
