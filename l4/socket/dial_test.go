package socket

import (
	"io"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func TestDialFailures(t *testing.T) {
	refused := NewTarget(freeAddr(t))
	fd, done, e := Dial(&refused, Dialing{})
	if e == 0 {
		await(t, fd, unix.POLLOUT)
		e = Err(fd)
		Close(fd)
	}
	if done || e != syscall.ECONNREFUSED {
		t.Errorf("got done %v, %v, want %v", done, e, syscall.ECONNREFUSED)
	}
	missing := NewTarget(unixAddr(t))
	if fd, _, e := Dial(&missing, Dialing{}); e != syscall.ENOENT || fd != -1 {
		t.Errorf("got %d, %v, want -1 and %v", fd, e, syscall.ENOENT)
	}
}

func TestProbeFindsWhoListens(t *testing.T) {
	l := listenAt(t, IP(netip.MustParseAddrPort("127.0.0.1:0")), ListenOptions{ReusePort: true})
	if err := Probe(l.Addr()); err == nil || !strings.Contains(err.Error(), l.Addr().String()) {
		t.Errorf("got %v, want an error that names %s", err, l.Addr())
	}
	second, err := Listen(l.Addr(), ListenOptions{ReusePort: true})
	if err != nil {
		t.Fatalf("a second socket with SO_REUSEPORT: %v", err)
	}
	second.Close()
	if _, err := Listen(l.Addr(), ListenOptions{}); err == nil {
		t.Error("a second socket without SO_REUSEPORT was bound")
	}
	if err := Probe(freeAddr(t)); err != nil {
		t.Errorf("of a free port: %v", err)
	}
}

func TestPlainClientOfTheNetPackage(t *testing.T) {
	l := loopback(t)
	go func() {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			return
		}
		defer c.Close()
		_, _ = io.WriteString(c, "hello")
	}()
	fd, _ := accept(t, l)
	await(t, fd, unix.POLLIN)
	b := make([]byte, 10)
	if n, e := Read(fd, b); e != 0 || string(b[:n]) != "hello" {
		t.Errorf("got %q, %v", b[:n], e)
	}
}

// A socket that connects to a free port of its own range may be given that
// port and meet itself.
func TestDialNeverConnectsToItself(t *testing.T) {
	port := uint16(0)
	for port%2 != 0 || int(port) < firstEphemeralPort() { // connect(2) takes even ports first
		l, err := Listen(IP(netip.MustParseAddrPort("127.0.0.1:0")), ListenOptions{})
		if err != nil {
			t.Fatal(err)
		}
		port = l.Addr().AddrPort().Port()
		l.Close()
		if port%2 != 0 {
			port--
		}
	}
	target := NewTarget(IP(netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port)))
	for range 40_000 {
		fd, _, e := Dial(&target, Dialing{})
		if e != 0 {
			continue
		}
		if boundTo(fd) == target.addr.ip {
			t.Fatal("the socket is connected to itself")
		}
		Close(fd)
	}
}
