package load

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"sync/atomic"
	"syscall"

	"culvert/bench/origin"
)

// Load is work that clients can be made to do.
type Load interface {
	// Run works until ctx ends, which is not an error. What is under way then
	// may still take endTimeout, unless ctx was cancelled.
	Run(ctx context.Context) (Outcome, error)
	// Close ends the connections.
	Close()
}

// Target is where clients connect to, and how they begin.
type Target struct {
	Addr       string       // ip:port
	Hello      []byte       // what is said first
	ServerName string       // what a TLS client asks for
	Sources    []netip.Addr // client addresses, used in turn; none: the kernel's choice
}

// client connects to a Target. It is safe for concurrent use.
type client struct {
	Target
	next atomic.Uint32
}

// open connects and says the hello and the order in one segment, as a client
// that has something to say does.
func (c *client) open(ctx context.Context, op origin.Op, size int) (*net.TCPConn, error) {
	conn, err := c.dial(ctx)
	if err != nil {
		return nil, err
	}
	first := origin.Order{Op: op, Size: uint32(size)}.Append(append([]byte(nil), c.Hello...))
	_ = conn.SetDeadline(ioDeadline(ctx))
	if _, err := conn.Write(first); err != nil {
		conn.Close()
		return nil, fmt.Errorf("say hello: %w", err)
	}
	return conn, nil
}

func (c *client) dial(ctx context.Context) (*net.TCPConn, error) {
	d := net.Dialer{Timeout: dialTimeout, KeepAlive: -1}
	if n := uint32(len(c.Sources)); n > 0 {
		d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(c.Sources[c.next.Add(1)%n], 0))
		d.Control = latePort
	}
	conn, err := d.DialContext(ctx, "tcp", c.Addr)
	if err != nil {
		return nil, err
	}
	return conn.(*net.TCPConn), nil
}

// ipBindAddressNoPort lets connect choose the port of a bound address, for each
// server anew (linux/in.h, ip(7)); package syscall does not have it.
const ipBindAddressNoPort = 24

func latePort(_, _ string, raw syscall.RawConn) error {
	return raw.Control(func(fd uintptr) {
		_ = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_IP, ipBindAddressNoPort, 1) // else ports are fewer
	})
}

// Hello is what a crypto/tls client without a post-quantum key share says
// first, about 300 bytes for a short name.
func Hello(serverName string) ([]byte, error) {
	near, far := net.Pipe()
	defer near.Close()
	go func() {
		cfg := &tls.Config{ServerName: serverName, NextProtos: []string{"h2", "http/1.1"}, CurvePreferences: []tls.CurveID{tls.X25519}}
		_ = tls.Client(far, cfg).Handshake() // fails: nobody answers
		far.Close()
	}()
	buf := make([]byte, 4096)
	n, err := near.Read(buf)
	return buf[:n], err
}
