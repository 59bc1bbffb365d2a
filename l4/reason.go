package l4

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"culvert/balancer"
	"culvert/l4/socket"
)

// pickReason words an error of Pick.
func pickReason(c *conn, err error) Reason {
	switch {
	case errors.Is(err, balancer.ErrAllDown):
		return ReasonNoServerUp
	case errors.Is(err, balancer.ErrAllFull):
		return ReasonServersFull
	}
	return ReasonTriesExhausted
}

func connectReason(e socket.Errno) Reason {
	switch e {
	case syscall.ECONNREFUSED, syscall.ENOENT:
		return ReasonRefused
	case syscall.EHOSTUNREACH, syscall.ENETUNREACH, syscall.EHOSTDOWN, syscall.ENETDOWN, syscall.EACCES, syscall.EPERM:
		return ReasonUnreachable
	case syscall.EADDRNOTAVAIL:
		return ReasonNoPorts
	case syscall.EAFNOSUPPORT, socket.NotAllowed:
		return ReasonNoSource
	case syscall.ETIMEDOUT:
		return ReasonConnectTimeout
	case syscall.ECONNRESET, syscall.EPIPE:
		return ReasonResetEarly
	}
	return ReasonConnectFailed
}

// exhausted reports whether the machine or the process has run out of what
// every connection needs: no server's fault, and no other server would do.
func exhausted(e socket.Errno) bool {
	return e == syscall.EMFILE || e == syscall.ENFILE || e == syscall.ENOBUFS || e == syscall.ENOMEM
}

func brokenReason(e socket.Errno) Reason {
	if e == syscall.ETIMEDOUT || e == syscall.EHOSTUNREACH || e == syscall.ENETUNREACH {
		return ReasonStalled
	}
	return ReasonReset
}

// ConnectTimeoutError says that a Dialer had no connection within its pool's
// ConnectTimeout. It is a context.DeadlineExceeded.
type ConnectTimeoutError struct{ After time.Duration }

func (e *ConnectTimeoutError) Error() string { return fmt.Sprintf("no connection within %s", e.After) }

// Is makes it a context.DeadlineExceeded.
func (e *ConnectTimeoutError) Is(target error) bool { return target == context.DeadlineExceeded }

// Timeout reports true, as that of a context.DeadlineExceeded.
func (e *ConnectTimeoutError) Timeout() bool { return true }

// DialReason returns the Reason of a Dialer's error; "" for nil.
func DialReason(err error) Reason {
	var e socket.Errno
	switch {
	case err == nil:
		return ""
	case errors.Is(err, context.DeadlineExceeded):
		return ReasonConnectTimeout
	case errors.As(err, &e):
		return connectReason(e)
	}
	return ReasonConnectFailed
}
