package socket

import (
	"net/netip"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Target is a server's address made ready for connect(2), once, so that
// dialing converts nothing. It is immutable and safe for concurrent use.
type Target struct {
	addr Addr
	sa   sockaddr

	// own reports that the kernel may give a socket this very address: see
	// selfConnected.
	own bool
}

// NewTarget prepares a.
func NewTarget(a Addr) Target {
	return Target{addr: a, sa: a.kernel(), own: !a.IsUnix() && int(a.ip.Port()) >= firstEphemeralPort()}
}

// firstEphemeralPort is the lowest port that the kernel gives to a socket
// which asks for none (ip(7), ip_local_port_range).
func firstEphemeralPort() int { return sysctl("/proc/sys/net/ipv4/ip_local_port_range", 32768) }

// Addr returns the address.
func (t *Target) Addr() Addr { return t.addr }

// Dialing says how a Target is connected to. The zero value leaves everything
// to the kernel.
type Dialing struct {
	// TalksFirst is for a caller that writes as soon as the connection stands.
	// The acknowledgement that ends the handshake then waits for its bytes: a
	// segment less, and the server wakes up once instead of twice, which is 7 %
	// of a short connection's cost on loopback. (TCP_QUICKACK of 0, tcp(7); if
	// nothing is written the kernel sends it after 40 ms.)
	TalksFirst bool

	// Source is the socket's own address; the zero Addr is the kernel's
	// choice. Its port is chosen by connect, which can share it between
	// targets (IP_BIND_ADDRESS_NO_PORT, ip(7)).
	Source netip.Addr

	// Transparent allows a Source that is not the machine's own
	// (IP_TRANSPARENT, ip(7)): it takes CAP_NET_RAW or CAP_NET_ADMIN.
	Transparent bool
}

// Dial opens a socket and starts to connect it. The caller owns fd unless the
// Errno is set. done reports that the connection is established already,
// which only unix sockets are that fast at; else its end is an OUT, ERR or
// HUP event, or the success of a write.
//
// EAGAIN of a unix socket means that the server's backlog is full, and
// EADDRNOTAVAIL that the source has no port left for this target.
//
// The socket has TCP_NODELAY. What an accepted socket inherits has to be set
// on a dialed one with a call for each option, and none of Options matters in
// the first second: see Settle.
func Dial(t *Target, how Dialing) (fd int, done bool, _ Errno) {
	r, _, e := syscall.RawSyscall(unix.SYS_SOCKET, uintptr(t.sa.domain), unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if e != 0 {
		return -1, false, e
	}
	fd = int(r)
	if !t.addr.IsUnix() {
		if e := prepare(fd, t, &how); e != 0 {
			Close(fd)
			return -1, false, e
		}
	}
	_, _, e = syscall.RawSyscall(unix.SYS_CONNECT, uintptr(fd), uintptr(unsafe.Pointer(&t.sa.raw)), uintptr(t.sa.len))
	if e == unix.EINTR {
		e = unix.EINPROGRESS
	}
	if (e == 0 || e == unix.EINPROGRESS) && t.own && selfConnected(fd, t) {
		Abort(fd)
		return -1, false, unix.ECONNREFUSED
	}
	if e == 0 || e == unix.EINPROGRESS {
		return fd, e == 0, 0
	}
	Close(fd)
	return -1, false, e
}

// prepare does with a TCP socket what comes before connect.
func prepare(fd int, t *Target, how *Dialing) Errno {
	noDelay(fd)
	if how.TalksFirst {
		setInt(fd, unix.IPPROTO_TCP, unix.TCP_QUICKACK, 0)
	}
	if !how.Source.IsValid() {
		return 0
	}
	if how.Source.Is4() != (t.sa.domain == unix.AF_INET) {
		return unix.EAFNOSUPPORT
	}
	setInt(fd, unix.SOL_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
	if how.Transparent {
		if e := beTransparent(fd, t.sa.domain); e != 0 {
			return e
		}
	}
	sa := IP(netip.AddrPortFrom(how.Source, 0)).kernel()
	_, _, e := syscall.RawSyscall(unix.SYS_BIND, uintptr(fd), uintptr(unsafe.Pointer(&sa.raw)), uintptr(sa.len))
	return e
}

func beTransparent(fd, domain int) Errno {
	level, option := unix.SOL_IP, unix.IP_TRANSPARENT
	if domain == unix.AF_INET6 {
		level, option = unix.SOL_IPV6, unix.IPV6_TRANSPARENT
	}
	if trySetInt(fd, level, option, 1) != 0 {
		return NotAllowed
	}
	return 0
}

// NotAllowed is what Dial returns when the process has not the right to be
// Transparent: connect has errors of its own for what a firewall forbids.
const NotAllowed = unix.EPROTONOSUPPORT

// selfConnected reports whether the kernel gave the socket the port it
// connects to. When no process listens there, such a socket is connected to
// itself (simultaneous open, RFC 9293 section 3.5), and the client would get
// its own bytes for an answer.
func selfConnected(fd int, t *Target) bool { return boundTo(fd) == t.addr.ip }

// Settle sets o on a dialed socket. Done only for connections that live longer
// than a moment, it saves short ones five calls, 1.3 us.
func (t *Target) Settle(fd int, o *Options) {
	if !t.addr.IsUnix() {
		o.apply(fd, o.spread())
	}
}
