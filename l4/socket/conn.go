package socket

import (
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// Conn makes a socket a net.Conn, which is the caller's to close. fd is closed:
// the net.Conn has a descriptor of its own.
func Conn(fd int) (net.Conn, error) {
	f := os.NewFile(uintptr(fd), "")
	defer f.Close()
	return net.FileConn(f)
}

// Ended reports what the peer of c has done at the end of what can be read, if
// that is all that can: 0 for a FIN, its errno for a reset. EAGAIN: nothing
// yet, or bytes are still to be read.
func Ended(c net.Conn) Errno {
	sc, ok := c.(syscall.Conn)
	if !ok {
		return syscall.EAGAIN
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return syscall.EAGAIN
	}
	e := Errno(syscall.EAGAIN)
	_ = raw.Control(func(fd uintptr) {
		n, _, err := unix.Recvfrom(int(fd), make([]byte, 1), unix.MSG_PEEK|unix.MSG_DONTWAIT)
		switch {
		case err != nil:
			e, _ = err.(Errno)
		case n == 0:
			e = 0
		}
	})
	return e
}
