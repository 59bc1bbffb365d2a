package l4

import (
	"net/netip"
	"time"
)

// Record is the account of one connection, written once, when it ends.
// Strings that came from a peer (ServerName, ALPN) are validated or raw
// bytes: code that prints them must quote them.
type Record struct {
	ID         uint64 // unique in the process, never 0
	Start      time.Time
	Client     netip.AddrPort // zero for a unix peer
	Listener   string
	ServerName string // normalised; "" when the hello had none; an IP literal or a bad name as it was sent
	ALPN       string // offered values in order, joined by commas; a comma in a value is %2C, a percent sign %25. Cut at about 250 bytes
	Route      string // label of the route, "" when none was reached
	Pool       string
	Server     string // identity of the server that answered, or was tried last
	Tries      []Try  // the attempts that failed, in order

	BytesUp   uint64 // client to server, handed to the server's socket
	BytesDown uint64 // server to client, handed to the client's socket

	// Durations count from accept; negative when the step was not reached.
	Hello     time.Duration // the hello was complete and routed
	Connect   time.Duration // the server that answered was connected
	FirstByte time.Duration // its first byte arrived
	Total     time.Duration

	EndedBy Party
	Reason  Reason
}

// Try is one attempt at a server that did not succeed.
type Try struct {
	Server   string
	Reason   Reason
	Duration time.Duration // from the pick to the failure
}

// Party names the side that ended a connection. It is sent in a Handover: a
// value never changes its meaning.
type Party uint8

// The parties of a connection.
const (
	Culvert Party = 0 // a limit, a time-out, a rejection or a drain
	Client  Party = 1
	Server  Party = 2
)

// String returns the party as logs print it.
func (p Party) String() string { return [...]string{"culvert", "client", "server"}[p] }

// Reason says how a connection or an attempt ended. The set is closed: the
// values are metric labels.
type Reason string

// Relayed reports whether a connection that ended for this reason had found
// its server: everything else turned the client away.
func (r Reason) Relayed() bool {
	switch r {
	case ReasonClosed, ReasonReset, ReasonStalled, ReasonIdleTimeout, ReasonHalfCloseTimeout, ReasonLifetime, ReasonDrained:
		return true
	}
	return false
}

// ServersFault reports whether an attempt that failed for this reason says
// something about the server.
func (r Reason) ServersFault() bool {
	return r != ReasonRateLimited && r != ReasonNoPorts && r != ReasonNoSource
}

// How a connection ends, or an attempt at a server fails.
const (
	ReasonClosed           Reason = "closed"             // FIN from both sides
	ReasonReset            Reason = "reset"              // RST from EndedBy
	ReasonStalled          Reason = "stalled"            // TCP_USER_TIMEOUT or keepalive gave the peer up
	ReasonIdleTimeout      Reason = "idle_timeout"       // no byte either way
	ReasonHalfCloseTimeout Reason = "half_close_timeout" // one side ended, the other went silent
	ReasonLifetime         Reason = "lifetime"           // the listener's or pool's limit of age
	ReasonDrained          Reason = "drained"            // still open at the end of the drain

	ReasonProxyUntrusted Reason = "proxy_untrusted" // a PROXY header is required, and its sender is not trusted
	ReasonProxyHeader    Reason = "proxy_header"    // none, or a bad one

	ReasonHelloTimeout  Reason = "hello_timeout"    // no whole hello, or PROXY header, in time
	ReasonHelloClosed   Reason = "hello_closed"     // the client left before its hello was whole
	ReasonHelloLimit    Reason = "hello_limit"      // too many waiting connections from one prefix
	ReasonHandshake     Reason = "handshake_failed" // TLS that ends here did not come about
	ReasonMemoryLimit   Reason = "memory_limit"     // the bound on buffered bytes
	ReasonNoResources   Reason = "no_resources"     // the kernel has no descriptor or no memory
	ReasonNoRoute       Reason = "no_route"         // refused with unrecognized_name
	ReasonClosedByRoute Reason = "closed_by_route"  // closed silently, as configured

	ReasonNoServerUp      Reason = "no_server_up"     // every server of the pool is down
	ReasonServersFull     Reason = "servers_full"     // every server is at its max_conns
	ReasonTriesExhausted  Reason = "tries_exhausted"  // the last allowed attempt failed
	ReasonFailoverTimeout Reason = "failover_timeout" // the time for all attempts ran out
	ReasonRetryBudget     Reason = "retry_budget"     // too many of the pool's connections needed further attempts

	ReasonRateLimited      Reason = "rate_limited" // the server has no slot soon enough
	ReasonNoPorts          Reason = "no_ports"     // no port is left to dial the server from
	ReasonNoSource         Reason = "no_source"    // the source address is of another family than the server's, or not allowed
	ReasonRefused          Reason = "connect_refused"
	ReasonUnreachable      Reason = "connect_unreachable"
	ReasonConnectTimeout   Reason = "connect_timeout"
	ReasonConnectFailed    Reason = "connect_failed" // any other error of connect(2) or socket(2)
	ReasonFirstByteTimeout Reason = "first_byte_timeout"
	ReasonResetEarly       Reason = "reset_before_first_byte"
	ReasonClosedEarly      Reason = "closed_before_first_byte"
)
