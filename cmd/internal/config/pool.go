package config

import (
	"net/netip"
	"time"

	"culvert/balancer"
	"culvert/health"
	"culvert/l4"
)

// A Pool is a set of servers that serve the same.
type Pool struct {
	Source         // the position is that of the name
	Name    string // unique, printable, without spaces, not "reject" or "close"; required
	Servers []*Server

	Policy      balancer.Policy // "": balancer.ClientAddress
	IPv6Prefix  int             // of client addresses, in bits; 0: the balancer's default, 64
	BoundedLoad float64         // most of a server, in terms of the mean; 0: no bound
	Panic       float64         // all servers are used when a smaller share is in service; 0: a third; negative: never
	SlowStart   time.Duration   // until a server that comes back has its full share; 0: at once

	Tries            int           // servers that one connection tries; 0: l4.DefaultTries; negative: all
	ConnectTimeout   time.Duration // of one attempt; 0: l4.DefaultConnectTimeout
	FirstByteTimeout time.Duration // hello written to first byte; 0: l4.DefaultFirstByteTimeout; l4.Off
	FailoverTimeout  time.Duration // of all attempts; 0: l4.DefaultFailoverTimeout; l4.Off
	RetryBudget      float64       // further attempts as a share of connections; 0: a fifth with ejection, else none; negative: no bound

	Session Session
	TCP     TCP // towards the servers

	Sources     []netip.Addr    // own addresses to dial from, in turn; none: the kernel's choice
	Transparent bool            // dial from the client's address
	SendProxy   l4.ProxyVersion // header that servers get; 0: none

	Health   *Health   // active checks; nil: none
	Ejection *Ejection // passive checks; nil: the defaults
	Sessions Sessions
	SiteURL  string // where users find this Mattermost, an https URL; "": not said
}

// A Server is a member of a pool.
type Server struct {
	Source
	Address string // "ip:port", "host:port", "srv:name" or "unix:/path"; required
	Name    string // what it is hashed and reported as; "": the address
	Weight  int    // 1 to 65535; 0: 1
	Backup  bool   // used only when no other server can be
	Down    bool   // out of service

	MaxConns int           // connections at a time; 0: no limit
	MaxRate  float64       // new connections a second; 0: no limit
	MaxWait  time.Duration // for a place under MaxRate; 0: a second
}

// Health is how servers are checked from outside.
type Health struct {
	Source
	Check HealthCheck // required

	Interval     time.Duration // begin to begin; 0: DefaultHealthInterval
	FastInterval time.Duration // while the state is in doubt; 0: a second, or Interval if that is less
	Timeout      time.Duration // of one check; 0: DefaultHealthTimeout; not more than Interval
	Rise         int           // checks in a row that must pass; 0: DefaultHealthRise
	Fall         int           // checks in a row that must fail; 0: DefaultHealthFall
	Initial      health.Initial
	Port         uint16 // 0: the server's own

	PlainText  bool                 // of a mattermost check: HTTP instead of HTTPS
	ServerName string               // SNI, and what the certificate is for; "": none
	Verify     Verify               // the certificate; the zero value does not
	Method     string               // of the request; "": GET
	Path       string               // "": /
	Host       string               // "": ServerName, else localhost
	Status     []health.StatusRange // none: 200 to 399
	Body       string               // what the answer contains: a text, or "~" and a regular expression; "": anything

	Deep         bool          // of a mattermost check: its database and file store, too
	DeepInterval time.Duration // 0: DefaultDeepInterval
}

// HealthCheck is a kind of check, as it is written.
type HealthCheck string

// The kinds.
const (
	CheckMattermost HealthCheck = "mattermost" // a preset of https
	CheckTCP        HealthCheck = "tcp"
	CheckTLS        HealthCheck = "tls"
	CheckHTTP       HealthCheck = "http"
	CheckHTTPS      HealthCheck = "https"
	CheckOff        HealthCheck = "off"
)

// Verify says by which authorities a certificate is verified.
type Verify struct {
	System bool   // by those of the machine
	File   string // by those of this PEM file, an absolute path; "": none
}

// Ejection is when servers are left alone because connections to them fail.
type Ejection struct {
	Source
	Off      bool          // never
	Failures int           // 0: DefaultEjectionFailures
	Window   time.Duration // in which they count; 0: those in a row
	Time     time.Duration // that the first ejection lasts; 0: DefaultEjectionTime
	MaxTime  time.Duration // that later ones grow to; 0: DefaultEjectionMaxTime; not less than Time
	Share    float64       // of the pool that is ejected at most, 0 to 1; 0: DefaultEjectionShare
}

// Sessions says what becomes of open connections when servers change, and how
// fast.
type Sessions struct {
	Source
	CloseDown    bool          // those of a server whose checks fail
	CloseRemoved bool          // those of a server or route that is not configured any more
	Rebalance    bool          // those of clients whose own server comes back
	Within       time.Duration // all are closed over this time; 0: DefaultSessionPace, unless PerSecond is set
	PerSecond    float64       // so many are closed a second; 0: see Within
}
