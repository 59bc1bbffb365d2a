package l4

import (
	"cmp"
	"net/netip"
	"time"

	"culvert/balancer"
	"culvert/l4/limit"
	"culvert/l4/socket"
)

// Config says what an Engine serves. Start, Prepare and Reload copy it, with
// its listeners, tables, routes and pools: the owner may change it when they
// have returned, and give it to several Engines, or again to one. The copies
// share the handlers, and the balancer's pools: the limits and rates of a server
// hold for all Engines of the process together.
type Config struct {
	Listeners []*Listener
	Loops     int // event loops; 0: DefaultLoops
	Limits    Limits
}

// Limits bound the whole process. The zero value means the defaults.
type Limits struct {
	// Connections is the most connections served at once. 0: as many as
	// the fd limit carries. A larger value is cut to that.
	Connections int

	// HelloPerPrefix is the most connections whose hello is incomplete, per
	// client address (IPv4) or /64 (IPv6). 0: DefaultHelloPerPrefix;
	// negative: no limit.
	HelloPerPrefix int

	// BufferedBytes bounds the bytes held in user space for all connections that
	// wait for a slow peer or for the rest of their hello. 0: DefaultBufferedBytes.
	BufferedBytes int64
}

// Defaults for Limits.
const (
	DefaultHelloPerPrefix = 1024
	DefaultBufferedBytes  = 64 << 20
)

// Off turns a timeout off.
const Off time.Duration = -1

// Default timeouts. 0 in a configuration means these.
const (
	DefaultHelloTimeout     = 10 * time.Second
	DefaultConnectTimeout   = 3 * time.Second
	DefaultFirstByteTimeout = 10 * time.Second
	DefaultFailoverTimeout  = 15 * time.Second
	DefaultIdleTimeout      = 10 * time.Minute
	DefaultHalfCloseTimeout = 60 * time.Second
	DefaultDrainTimeout     = 30 * time.Second
	DefaultProxyTimeout     = 5 * time.Second // the specification asks for 3 at least
)

// DefaultTries is how many servers one connection tries when its pool does
// not say.
const DefaultTries = 3

// Listener is one address that accepts connections. With a Table it reads
// the hello and routes; without, it is plain TCP and dials Pool at accept.
type Listener struct {
	Name           string // label in logs and metrics; unique
	Address        socket.Addr
	Table          *Table  // routes by hello; nil: plain TCP
	Pool           *Pool   // for plain TCP only
	Handler        Handler // for plain TCP, instead of the Pool
	Plaintext      *Pool   // for bytes that are not TLS; nil: close
	MaxConnections int     // 0: no limit of its own
	MaxHello       int     // bytes; 0: sniff.DefaultLimit
	Backlog        int     // 0: the kernel's somaxconn

	// Proxied says that every connection begins with a PROXY header, version
	// 1 or 2, and comes from one of the addresses in ProxyFrom or over a unix
	// socket. The client is the one that the header names.
	Proxied      bool
	ProxyFrom    []netip.Prefix
	ProxyTimeout time.Duration // accept to the header; 0: default; Off allowed

	HelloTimeout time.Duration // accept to route decision; 0: default; Off allowed
	Session      Session       // what a pool does not set itself
	TCP          socket.Options
}

// Session holds the limits of an established connection. In a Pool, a zero
// field means the listener's value; in a Listener, the default.
type Session struct {
	IdleTimeout      time.Duration // no byte in either direction
	HalfCloseTimeout time.Duration // no byte after one side has ended
	Lifetime         time.Duration // accept to end; default Off

	// KeepHalfClose lets one direction go on after the other has ended. Off
	// ends both once the one that ended is flushed, as nginx does by default.
	// The default is On.
	KeepHalfClose Switch
}

// Switch is a boolean that can be left to an outer level. It is sent in a
// Handover: a value never changes its meaning.
type Switch uint8

// The values of a Switch.
const (
	Inherit   Switch = 0
	SwitchOn  Switch = 1
	SwitchOff Switch = 2
)

// Pool is a balancer's pool with what dialing its servers needs.
type Pool struct {
	Balancer *balancer.Pool
	Targets  []socket.Target // one for each of Balancer.Servers(), same order

	ConnectTimeout   time.Duration // one attempt; 0: default
	FirstByteTimeout time.Duration // hello written to first byte; 0: default; Off allowed
	FailoverTimeout  time.Duration // all attempts of a connection; 0: default; Off allowed
	Tries            int           // attempts in all; 0: DefaultTries; negative: as many as servers
	Session          Session
	TCP              socket.Options
	Sources          []netip.Addr // own addresses to dial from, in turn; none: the kernel's choice
	Transparent      bool         // dial from the client's address; takes CAP_NET_RAW, and routes that bring the answers back
	RetryBudget      float64      // attempts after a first one, as a share of the connections; 0: no bound
	SendProxy        ProxyVersion // the PROXY header that the servers get; 0: ProxyOff

	// Of an engine's own copy.
	budget *limit.Budget
	dialer *Dialer
	ids    []int // of its servers in the engine's counters
}

// Pools returns the pools that connections can get to, each once, in the order
// of the listeners and their routes.
func (c *Config) Pools() []*Pool {
	var all []*Pool
	seen := map[*Pool]bool{nil: true}
	add := func(p *Pool) {
		if !seen[p] {
			seen[p] = true
			all = append(all, p)
		}
	}
	for _, ln := range c.Listeners {
		add(ln.Pool)
		add(ln.Plaintext)
		if ln.Table == nil {
			continue
		}
		for _, r := range ln.Table.Routes() {
			add(r.Pool)
		}
	}
	return all
}

// MaxTries is how many servers one connection may try at most; 0 means all.
func (p *Pool) MaxTries() int {
	if p.Tries < 0 {
		return 0
	}
	return cmp.Or(p.Tries, DefaultTries)
}

// Action is what a route does with a connection.
type Action uint8

// The actions.
const (
	Forward Action = iota // to the route's Pool
	Reject                // with the alert unrecognized_name
	Close                 // silently
	Handle                // by the route's Handler, before its Pool if it has one
)

// Route sends the connections that match it somewhere.
type Route struct {
	// ServerName is an exact name, "*.suffix" for one or more labels before
	// the suffix, or "~" and a regular expression (RE2) over the normalised
	// name. Empty only in the default route.
	ServerName string

	// ALPN, when not empty, asks that the hello offers one of these values.
	ALPN []string

	Action  Action
	Pool    *Pool   // for Forward, and for Handle
	Handler Handler // for Handle

	SendProxy ProxyVersion // 0: as the Pool says

	label string // instead of the pattern, for routes that have none
	id    int    // of an engine's own copy: index in its counters
}
