package socket

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Target is a server's address made ready for connect(2), once, so that
// dialing converts nothing. It is immutable and safe for concurrent use.
type Target struct {
	addr Addr
	sa   sockaddr
}

// NewTarget prepares a.
func NewTarget(a Addr) Target { return Target{addr: a, sa: a.kernel()} }

// Addr returns the address.
func (t *Target) Addr() Addr { return t.addr }

// Dial opens a socket and starts to connect it. The caller owns fd unless the
// Errno is set. done reports that the connection is established already,
// which only unix sockets are that fast at; else its end is an OUT, ERR or
// HUP event, or the success of a write.
//
// EAGAIN of a unix socket means that the server's backlog is full.
func Dial(t *Target, o *Options) (fd int, done bool, _ Errno) {
	r, _, e := syscall.RawSyscall(unix.SYS_SOCKET, uintptr(t.sa.domain), unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if e != 0 {
		return -1, false, e
	}
	fd = int(r)
	if !t.addr.IsUnix() {
		o.apply(fd)
	}
	_, _, e = syscall.RawSyscall(unix.SYS_CONNECT, uintptr(fd), uintptr(unsafe.Pointer(&t.sa.raw)), uintptr(t.sa.len))
	switch e {
	case 0:
		return fd, true, 0
	case unix.EINPROGRESS, unix.EINTR:
		return fd, false, 0
	}
	Close(fd)
	return -1, false, e
}
