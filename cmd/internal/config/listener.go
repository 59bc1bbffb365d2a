package config

import (
	"net/netip"
	"time"

	"culvert/l4"
	"culvert/l4/socket"
)

// A Listener is an address that accepts connections. It is one of three:
// with Routes or a Default it reads the hello and routes; with a Pool it is
// plain TCP; with a Redirect it answers plain HTTP.
type Listener struct {
	Source
	Address string // ":443", "ip:port" or "unix:/path"; required
	Name    string // in logs and metrics, unique; "": the Address as written

	Routes    []*Route
	Default   Target // of hellos that no route takes; unset: reject
	Plaintext Target // of bytes that are not TLS: close or a pool; unset: close
	Pool      Target // of a plain TCP listener: a pool
	Redirect  int    // the port that https is on; 0: this listener does not redirect

	MaxConnections int   // at a time; 0: no limit of its own
	MaxHello       int64 // bytes of a hello, record headers included; 0: sniff.DefaultLimit
	Backlog        int   // of each socket's accept queue; 0: the kernel's somaxconn

	ProxyProtocol *ProxyProtocol // PROXY headers that are required of clients; nil: none

	HelloTimeout       time.Duration // accept to route; 0: l4.DefaultHelloTimeout; l4.Off
	ProxyHeaderTimeout time.Duration // accept to PROXY header; 0: l4.DefaultProxyTimeout; l4.Off
	Session            Session       // what a pool does not say itself
	TCP                TCP           // towards clients
}

// ProxyProtocol says whose PROXY headers are required and believed.
type ProxyProtocol struct {
	From []netip.Prefix // proxies that may connect; none: any peer of a unix socket
}

// Session is what listeners and pools both say about established
// connections; a pool's values win. Its keys are those of the listener or the
// pool that it is part of.
type Session struct {
	IdleTimeout      time.Duration // no byte in either direction; 0: inherited, last l4.DefaultIdleTimeout; l4.Off
	HalfCloseTimeout time.Duration // no byte after one side has ended; 0: inherited, last l4.DefaultHalfCloseTimeout; l4.Off
	Lifetime         time.Duration // accept to end; 0: inherited, last l4.Off
	HalfClose        l4.Switch     // keep one direction open after the other has ended; 0: inherited, last on
}

// TCP is how peers that vanished are noticed.
type TCP struct {
	Source
	UserTimeout time.Duration // 0: socket.DefaultUserTimeout; l4.Off
	Keepalive   Keepalive
}

// Keepalive is what tcp(7) says of TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_KEEPCNT.
type Keepalive struct {
	Source
	Idle     time.Duration // 0: socket.DefaultKeepaliveIdle; l4.Off: no keepalive
	Interval time.Duration // 0: socket.DefaultKeepaliveInterval
	Count    int           // 0: socket.DefaultKeepaliveCount
}

// Options returns what sockets are given.
func (t *TCP) Options() socket.Options {
	return socket.Options{
		UserTimeout: t.UserTimeout, KeepaliveIdle: t.Keepalive.Idle,
		KeepaliveInterval: t.Keepalive.Interval, KeepaliveCount: t.Keepalive.Count,
	}
}

// A Target is where connections go: to a pool, or nowhere by an action. The
// zero value was not set.
type Target struct {
	Action Action
	Pool   Text // the name of a pool, for ToPool
}

// Action is what becomes of a connection.
type Action uint8

// The actions. Unset leaves the default in force.
const (
	Unset  Action = iota
	ToPool        // to the Target's Pool
	Reject        // with the TLS alert unrecognized_name
	Close         // silently
)

// To returns the Target of a pool, for configurations made in Go code.
func To(pool string) Target { return Target{ToPool, Text{Value: pool}} }

// A Route sends the hellos that it matches somewhere.
type Route struct {
	Source
	ServerNames []Text // exact, "*.suffix" or "~regexp" (RE2); one or more
	ALPN        []Text // protocols of which the hello must offer one; none: no condition
	Target      Target // ToPool, Reject or Close; required

	SendProxy l4.ProxyVersion // header that servers get; 0: as the pool says
	Terminate *Terminate      // how TLS ends in culvert; nil: it passes through
}
