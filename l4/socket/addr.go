package socket

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Addr is where a socket listens or connects: an IP address and port, or the
// path of a unix stream socket. The zero Addr is invalid.
type Addr struct {
	ip   netip.AddrPort
	path string
}

// maxPath is the longest unix socket path: sun_path is 108 bytes with its
// final NUL (unix(7)).
const maxPath = 107

// IP returns the Addr of an IP address and port. An IPv4-mapped IPv6 address
// becomes the IPv4 address.
func IP(ap netip.AddrPort) Addr {
	return Addr{ip: netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())}
}

// Unix returns the Addr of a unix stream socket.
func Unix(path string) (Addr, error) {
	switch {
	case path == "":
		return Addr{}, errors.New("unix socket path is empty")
	case len(path) > maxPath:
		return Addr{}, fmt.Errorf("unix socket path is %d bytes long, at most %d fit", len(path), maxPath)
	case strings.IndexByte(path, 0) >= 0:
		return Addr{}, errors.New("unix socket path contains a NUL byte")
	}
	return Addr{path: path}, nil
}

// IsUnix reports whether a is a unix socket.
func (a Addr) IsUnix() bool { return a.path != "" }

// IsValid reports whether a names anything.
func (a Addr) IsValid() bool { return a.path != "" || a.ip.IsValid() }

// AddrPort returns the IP address and port; invalid for a unix socket.
func (a Addr) AddrPort() netip.AddrPort { return a.ip }

// Path returns the path of a unix socket, else "".
func (a Addr) Path() string { return a.path }

// String returns ip:port, or unix:path.
func (a Addr) String() string {
	if a.IsUnix() {
		return "unix:" + a.path
	}
	return a.ip.String()
}

// sockaddr is an address in the form the kernel reads: family first, ports
// in network order (ip(7), ipv6(7), unix(7)).
type sockaddr struct {
	raw    unix.RawSockaddrAny
	len    uint32
	domain int
}

// kernel converts a to the kernel's form.
func (a Addr) kernel() sockaddr {
	var s sockaddr
	switch {
	case a.IsUnix():
		sa := (*unix.RawSockaddrUnix)(unsafe.Pointer(&s.raw))
		sa.Family = unix.AF_UNIX
		for i := range len(a.path) {
			sa.Path[i] = int8(a.path[i])
		}
		s.len = uint32(unsafe.Offsetof(sa.Path)) + uint32(len(a.path)) + 1
	case a.ip.Addr().Is4():
		sa := (*unix.RawSockaddrInet4)(unsafe.Pointer(&s.raw))
		*sa = unix.RawSockaddrInet4{Family: unix.AF_INET, Port: swap16(a.ip.Port()), Addr: a.ip.Addr().As4()}
		s.len = unix.SizeofSockaddrInet4
	default:
		sa := (*unix.RawSockaddrInet6)(unsafe.Pointer(&s.raw))
		*sa = unix.RawSockaddrInet6{Family: unix.AF_INET6, Port: swap16(a.ip.Port()), Addr: a.ip.Addr().As16(), Scope_id: zoneIndex(a.ip.Addr())}
		s.len = unix.SizeofSockaddrInet6
	}
	s.domain = int(s.raw.Addr.Family)
	return s
}

// fromKernel is the reverse for peers of accepted connections. A unix peer
// has no address worth keeping and gives the zero AddrPort. An IPv4-mapped
// peer of a dual-stack listener is the IPv4 address.
func fromKernel(raw *unix.RawSockaddrAny) netip.AddrPort {
	switch raw.Addr.Family {
	case unix.AF_INET:
		sa := (*unix.RawSockaddrInet4)(unsafe.Pointer(raw))
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), swap16(sa.Port))
	case unix.AF_INET6:
		sa := (*unix.RawSockaddrInet6)(unsafe.Pointer(raw))
		return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr).Unmap(), swap16(sa.Port))
	}
	return netip.AddrPort{}
}

// swap16 turns a port from host to network order and back. The raw structs
// hold the port as the machine's integer: amd64 and arm64 are little endian.
func swap16(p uint16) uint16 { return p<<8 | p>>8 }

// zoneIndex is the interface index of a scoped address, 0 without one.
func zoneIndex(a netip.Addr) uint32 {
	if a.Zone() == "" {
		return 0
	}
	if ifi, err := net.InterfaceByName(a.Zone()); err == nil {
		return uint32(ifi.Index)
	}
	n, _ := strconv.ParseUint(a.Zone(), 10, 32)
	return uint32(n)
}
