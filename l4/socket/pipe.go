package socket

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Pipe is a kernel buffer between two splices. Len bytes wait in it.
type Pipe struct {
	r, w int
	size int
	Len  int
}

// NewPipe opens a pipe that holds size bytes. The kernel may give less, as
// it does to a user whose pipes hold fs.pipe-user-pages-soft pages already
// (pipe(7)): Size tells.
func NewPipe(size int) (*Pipe, Errno) {
	var fds [2]int32
	_, _, e := syscall.RawSyscall(unix.SYS_PIPE2, uintptr(unsafe.Pointer(&fds)), unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if e != 0 {
		return nil, e
	}
	p := &Pipe{r: int(fds[0]), w: int(fds[1])}
	_, _, _ = syscall.RawSyscall(unix.SYS_FCNTL, uintptr(p.w), unix.F_SETPIPE_SZ, uintptr(size))
	got, _, e := syscall.RawSyscall(unix.SYS_FCNTL, uintptr(p.w), unix.F_GETPIPE_SZ, 0)
	if e != 0 {
		p.Close()
		return nil, e
	}
	p.size = int(got)
	return p, 0
}

// Size returns how many bytes the pipe holds.
func (p *Pipe) Size() int { return p.size }

// Close closes both ends; what is in the pipe is lost.
func (p *Pipe) Close() {
	Close(p.r)
	Close(p.w)
}

// Fill moves at most one pipeful from the socket fd into p, which must be
// empty. (0, 0) is the end of the stream, except after urgent data, when it
// means nothing. Less than is queued may be moved: only EAGAIN says that the
// socket is empty.
func (p *Pipe) Fill(fd int) (int, Errno) {
	n, e := splice(fd, p.w, p.size)
	p.Len += n
	return n, e
}

// Drain moves what it can from p to the socket fd.
func (p *Pipe) Drain(fd int) (int, Errno) {
	n, e := splice(p.r, fd, p.Len)
	p.Len -= n
	return n, e
}

// Read takes bytes out of p into memory.
func (p *Pipe) Read(b []byte) (int, Errno) {
	n, e := Read(p.r, b)
	p.Len -= n
	return n, e
}

// splice moves bytes without copying them (splice(2)). SPLICE_F_MORE is never
// given: it corks short messages for 200 ms.
func splice(from, to, n int) (int, Errno) {
	for {
		r, _, e := syscall.RawSyscall6(unix.SYS_SPLICE, uintptr(from), 0, uintptr(to), 0, uintptr(n), unix.SPLICE_F_MOVE|unix.SPLICE_F_NONBLOCK)
		if e == 0 {
			return int(r), 0
		}
		if e != unix.EINTR {
			return 0, e
		}
	}
}
