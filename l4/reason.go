package l4

import (
	"errors"
	"syscall"

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
