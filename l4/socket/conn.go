package socket

import (
	"context"
	"net"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Conn makes a connected socket a net.Conn with o set, which is the caller's to
// close. fd is closed: the net.Conn has a descriptor of its own.
func Conn(fd int, o *Options) (net.Conn, error) {
	f := os.NewFile(uintptr(fd), "")
	defer f.Close()
	return fileConn(f, fd, o)
}

// fileConn makes f, whose descriptor is fd, a net.Conn. Options come last: Go
// has its own idea of keepalive, 15 s between probes, with which one that gets
// lost is the end of an idle connection after 30 s (TCP_USER_TIMEOUT).
func fileConn(f *os.File, fd int, o *Options) (net.Conn, error) {
	c, err := net.FileConn(f)
	if _, ok := c.(*net.TCPConn); ok {
		o.apply(fd, o.spread())
	}
	return c, err
}

// Ended reports what the peer of c has done at the end of what can be read, if
// that is all that can: 0 for a FIN, its errno for a reset. EAGAIN: nothing
// yet, or bytes are still to be read.
func Ended(c net.Conn) Errno {
	n, e := peek(c)
	if n > 0 {
		return syscall.EAGAIN
	}
	return e
}

// Quiet reports whether nothing is to be read from c: no byte, no end, no
// error. What is no socket is quiet.
func Quiet(c net.Conn) bool {
	_, e := peek(c)
	return e == syscall.EAGAIN
}

// peek looks at the next byte of c without waiting for it and without taking
// it: n is 1 if there is one. EAGAIN stands for what is no socket.
func peek(c net.Conn) (n int, e Errno) {
	sc, ok := c.(syscall.Conn)
	if !ok {
		return 0, syscall.EAGAIN
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return 0, syscall.EBADF
	}
	e = Errno(syscall.EBADF) // closed
	_ = raw.Control(func(fd uintptr) {
		var b [1]byte
		n, _, err = unix.Recvfrom(int(fd), b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
		e, _ = err.(Errno) // 0: none
	})
	return max(n, 0), e
}

// Connect is Dial that waits until the connection stands, fails, or ctx is
// done, and makes it a net.Conn of the caller's, with o set. An error of the
// kernel is an Errno, that of ctx is in the chain too.
func Connect(ctx context.Context, t *Target, how Dialing, o *Options) (net.Conn, error) {
	fd, done, e := Dial(t, how)
	if e != 0 {
		return nil, e
	}
	f := os.NewFile(uintptr(fd), "")
	defer f.Close()
	if !done {
		if err := awaitConnected(ctx, f); err != nil {
			return nil, err
		}
	}
	return fileConn(f, fd, o)
}

func awaitConnected(ctx context.Context, f *os.File) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = f.SetWriteDeadline(time.Unix(1, 0)) })
	defer stop()
	var e Errno
	err = raw.Write(func(fd uintptr) bool {
		if e = Err(int(fd)); e != 0 {
			return true
		}
		_, err := unix.Getpeername(int(fd))
		return err == nil
	})
	switch {
	case e != 0:
		return e
	case err != nil && ctx.Err() != nil:
		return ctx.Err()
	}
	return err
}
