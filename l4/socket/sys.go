package socket

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Errno is the kernel's error number; 0 is success. The calls of this package
// that a loop makes return it bare, because wrapping costs an allocation.
type Errno = syscall.Errno

// Every call below is made on a non-blocking descriptor, returns at once, and
// therefore goes through RawSyscall: telling Go's scheduler about it costs
// more than the call. The pointers are converted in the call expression
// itself, as unsafe.Pointer's rules ask.

// Read reads into p. (0, 0) is the end of the stream.
func Read(fd int, p []byte) (int, Errno) {
	for {
		n, _, e := syscall.RawSyscall(unix.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)))
		if e == 0 {
			return int(n), 0
		}
		if e != unix.EINTR {
			return 0, e
		}
	}
}

// Peek is Read, but leaves the bytes in the socket.
func Peek(fd int, p []byte) (int, Errno) {
	for {
		n, _, e := syscall.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)),
			unix.MSG_PEEK, 0, 0)
		if e == 0 {
			return int(n), 0
		}
		if e != unix.EINTR {
			return 0, e
		}
	}
}

// Skip takes len(p) bytes that Peek showed out of the socket; p is
// overwritten.
func Skip(fd int, p []byte) {
	for len(p) > 0 {
		n, e := Read(fd, p)
		if e != 0 || n == 0 {
			return
		}
		p = p[n:]
	}
}

// Write writes p, or the part of it that fits. It raises no SIGPIPE.
func Write(fd int, p []byte) (int, Errno) { return send(fd, p, unix.MSG_NOSIGNAL) }

// WriteLast is Write for bytes behind which the caller ends the stream at once:
// the last segment waits (MSG_MORE, send(2)) for ShutdownWrite or Close, which
// put the FIN into it. A segment less, for both sides. Without an end that
// follows, the kernel holds the bytes back for 200 ms.
func WriteLast(fd int, p []byte) (int, Errno) { return send(fd, p, unix.MSG_NOSIGNAL|unix.MSG_MORE) }

func send(fd int, p []byte, flags uintptr) (int, Errno) {
	for {
		n, _, e := syscall.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)),
			flags, 0, 0)
		if e == 0 {
			return int(n), 0
		}
		if e != unix.EINTR {
			return 0, e
		}
	}
}

// ShutdownWrite sends a FIN after the data that is queued (shutdown(2)).
func ShutdownWrite(fd int) Errno {
	_, _, e := syscall.RawSyscall(unix.SYS_SHUTDOWN, uintptr(fd), unix.SHUT_WR, 0)
	return e
}

// Close closes fd. Queued data and a FIN are still sent, unless input was
// left unread: that turns the FIN into a reset.
func Close(fd int) {
	_, _, _ = syscall.RawSyscall(unix.SYS_CLOSE, uintptr(fd), 0, 0)
}

// Abort closes fd with a reset and drops what is queued (SO_LINGER of 0,
// socket(7)).
func Abort(fd int) {
	linger := unix.Linger{Onoff: 1}
	_, _, _ = syscall.RawSyscall6(unix.SYS_SETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_LINGER,
		uintptr(unsafe.Pointer(&linger)), unsafe.Sizeof(linger), 0)
	Close(fd)
}

// Err returns and clears the pending error of a socket (SO_ERROR).
func Err(fd int) Errno {
	var v int32
	size := uint32(unsafe.Sizeof(v))
	_, _, e := syscall.RawSyscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_ERROR,
		uintptr(unsafe.Pointer(&v)), uintptr(unsafe.Pointer(&size)), 0)
	if e != 0 {
		return e
	}
	return Errno(v)
}

// Unacked returns how many bytes of the send queue the peer has not
// acknowledged yet (SIOCOUTQ, tcp(7)), 0 on error.
func Unacked(fd int) int {
	var v int32
	_, _, _ = syscall.RawSyscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCOUTQ, uintptr(unsafe.Pointer(&v)))
	return int(v)
}

// setInt sets an integer option. Errors are ignored: each caller sets options
// that some kernels lack and that no correctness rests on.
func setInt(fd, level, opt, v int) { _ = trySetInt(fd, level, opt, v) }

// trySetInt is setInt for callers that depend on the option.
func trySetInt(fd, level, opt, v int) Errno {
	value := int32(v)
	_, _, e := syscall.RawSyscall6(unix.SYS_SETSOCKOPT, uintptr(fd), uintptr(level), uintptr(opt),
		uintptr(unsafe.Pointer(&value)), unsafe.Sizeof(value), 0)
	return e
}
