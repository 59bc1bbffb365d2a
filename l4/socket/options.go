package socket

import (
	"cmp"
	"math/rand/v2"
	"time"

	"golang.org/x/sys/unix"
)

// Options are the dead-peer settings of TCP sockets. The zero value means
// the defaults below; unix sockets ignore them.
type Options struct {
	// UserTimeout bounds how long sent data may stay unacknowledged, and
	// how long a peer may keep its window shut (TCP_USER_TIMEOUT, tcp(7)).
	// 0: DefaultUserTimeout; negative: off. Resolution 1 ms.
	UserTimeout time.Duration

	// KeepaliveIdle is the silence before the first keepalive probe, at most;
	// see spread. 0: DefaultKeepaliveIdle; negative: no keepalive. Resolution
	// 1 s.
	KeepaliveIdle time.Duration

	// KeepaliveInterval is the time between probes; 0: the default.
	KeepaliveInterval time.Duration

	// KeepaliveCount is how many unanswered probes end it; 0: the default.
	KeepaliveCount int
}

// Defaults for Options: a peer that vanished is noticed within 30 s whether
// it was idle (15 + 3*5) or data was in flight. Without them Linux takes two
// hours and a quarter of an hour.
const (
	DefaultUserTimeout       = 30 * time.Second
	DefaultKeepaliveIdle     = 15 * time.Second
	DefaultKeepaliveInterval = 5 * time.Second
	DefaultKeepaliveCount    = 3
)

// apply sets o on a TCP socket, with TCP_NODELAY and idle as the silence before
// the first probe. Errors are ignored: a kernel that refuses an option still
// serves.
func (o *Options) apply(fd int, idle time.Duration) {
	noDelay(fd)
	setInt(fd, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(max(0, cmp.Or(o.UserTimeout, DefaultUserTimeout))/time.Millisecond))
	setInt(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE, b2i(idle > 0))
	if idle < 0 {
		return
	}
	setInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, seconds(idle))
	setInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, seconds(cmp.Or(o.KeepaliveInterval, DefaultKeepaliveInterval)))
	setInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPCNT, cmp.Or(o.KeepaliveCount, DefaultKeepaliveCount))
}

// Spread gives a socket that has inherited o from its listener a first probe of
// its own; see spread.
func (o *Options) Spread(fd int) {
	if idle := o.spread(); idle != o.idle() {
		setInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, seconds(idle))
	}
}

func (o *Options) idle() time.Duration { return cmp.Or(o.KeepaliveIdle, DefaultKeepaliveIdle) }

// spread is KeepaliveIdle less some whole seconds, a third of it at most, by
// chance. Sockets that fall silent together, after a message to all clients, would
// else be probed together: the queue of the loopback and of containers holds a
// thousand packets (net.core.netdev_max_backlog), and of 5,000 connections every
// fifth had all its probes dropped, three times in a row.
func (o *Options) spread() time.Duration {
	idle := o.idle()
	if idle < 0 {
		return idle
	}
	return idle - time.Duration(rand.IntN(seconds(idle)/3+1))*time.Second
}

// noDelay turns Nagle's algorithm off: a relay writes when it has something to
// pass on, and must not wait for more.
func noDelay(fd int) { setInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1) }

// seconds rounds up: the kernel refuses 0.
func seconds(d time.Duration) int { return int((d + time.Second - 1) / time.Second) }
