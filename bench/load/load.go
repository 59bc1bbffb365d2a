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

// Load is a kind of work of clients.
type Load interface {
	// Run works until ctx ends, which is not an error. Units in progress at
	// that time may take endTimeout longer, unless ctx was cancelled.
	Run(ctx context.Context) (Outcome, error)
	// Close closes the connections.
	Close()
}

// Target is where clients connect to, and what they send first.
type Target struct {
	Addr       string       // ip:port
	Hello      []byte       // the first bytes sent
	ServerName string       // server name of a TLS client
	Sources    []netip.Addr // client addresses, used in rotation; none means the kernel's choice
}

// client connects to a Target. It is safe for concurrent use.
type client struct {
	Target
	next atomic.Uint32
}

// open connects and sends the hello and the order in one segment.
func (c *client) open(ctx context.Context, op origin.Op, size int) (*net.TCPConn, error) {
	conn, err := c.dial(ctx)
	if err != nil {
		return nil, err
	}
	first := origin.Order{Op: op, Size: uint32(size)}.Append(append([]byte(nil), c.Hello...))
	_ = conn.SetDeadline(ioDeadline(ctx))
	if _, err := conn.Write(first); err != nil {
		conn.Close()
		return nil, fmt.Errorf("send hello: %w", err)
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

// ipBindAddressNoPort makes connect and not bind choose the port, so that a port
// can be used once for each server (linux/in.h, ip(7)). Package syscall does not
// have it.
const ipBindAddressNoPort = 24

func latePort(_, _ string, raw syscall.RawConn) error {
	return raw.Control(func(fd uintptr) {
		_ = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_IP, ipBindAddressNoPort, 1) // if it fails there are fewer ports
	})
}

// Hello returns the hello of a crypto/tls client without a post-quantum key
// share, about 300 bytes for a short name.
func Hello(serverName string) ([]byte, error) {
	near, far := net.Pipe()
	defer near.Close()
	go func() {
		cfg := &tls.Config{ServerName: serverName, NextProtos: []string{"h2", "http/1.1"}, CurvePreferences: []tls.CurveID{tls.X25519}}
		_ = tls.Client(far, cfg).Handshake() // fails, because there is no answer
		far.Close()
	}()
	buf := make([]byte, 4096)
	n, err := near.Read(buf)
	return buf[:n], err
}
