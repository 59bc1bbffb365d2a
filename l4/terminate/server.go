package terminate

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

// Conn is a client's connection whose ClientHello has not been read yet. Close
// ends it; so does Refuse, with a reason.
type Conn interface {
	net.Conn

	// Leads reports whether a client that asks for host is served by the same
	// Server.
	Leads(host string) bool
	// Peer returns what servers may be told of the client. An empty Name is
	// taken from the handshake.
	Peer() Client
	// Served records the server of the pool that answered last.
	Served(server string)
	// Refuse closes the connection after a failed handshake.
	Refuse(err error)
}

// Config is the configuration of a Server. It must not be changed after New.
type Config struct {
	Certificates func() *Certificates // returns the current ones; nil: only those from ACME
	ACME         *ACME                // nil: none
	Profile      Profile              // "": Intermediate
	Handshakes   *HandshakeLimiter    // shared by all Servers of a process; nil: no limit

	// Raw relays the decrypted bytes without parsing HTTP.
	Raw bool

	Preauth     *Preauth    // nil: no secret is required
	Clients     *CertPolicy // nil: no certificate is requested
	CertHeaders HeaderNames

	HSTS          time.Duration // max-age of Strict-Transport-Security; 0: not sent
	StripRequest  []string      // request headers to remove; a trailing * matches any suffix
	StripResponse []string      // the same for responses

	Limits Limits
	Log    *slog.Logger   // failures at servers; nil: not logged
	Report func(*Request) // called at the end of each request; nil disables it
}

// Limits are the limits of one request. A zero field means the default.
type Limits struct {
	MaxBody         int64         // bytes; 0: DefaultMaxBody
	MaxHeader       int           // bytes of a request's headers; 0: DefaultMaxHeader
	MinBodyRate     int64         // bytes per second that a client must send of a body, after BodyTimeout; 0: DefaultMinBodyRate
	HeaderTimeout   time.Duration // until the headers of a request have been read; 0: DefaultHeaderTimeout
	BodyTimeout     time.Duration // between two reads of a body, and between two writes of a response; 0: DefaultBodyTimeout
	IdleTimeout     time.Duration // between two requests of a connection; 0: DefaultIdleTimeout
	ResponseTimeout time.Duration // until the server's response begins; 0: DefaultResponseTimeout
}

// Defaults for Limits. They follow Mattermost's guide for nginx, except for the
// body, whose 100 MB are increased by the overhead of a form, the headers, and
// the rate, which is that of Apache's mod_reqtimeout.
const (
	DefaultMaxBody         = 110 << 20
	DefaultMaxHeader       = 64 << 10
	DefaultMinBodyRate     = 500
	DefaultHeaderTimeout   = 10 * time.Second
	DefaultBodyTimeout     = 60 * time.Second
	DefaultIdleTimeout     = 75 * time.Second
	DefaultResponseTimeout = 600 * time.Second
)

// maxStreams is how many concurrent requests an HTTP/2 connection may have, the
// minimum that RFC 9113 section 6.5.2 recommends.
const maxStreams = 100

// Server serves the connections of one route. It is safe for concurrent use.
type Server struct {
	cfg       Config
	limits    Limits
	tls       *tls.Config
	front     atomic.Pointer[front]
	upstream  atomic.Pointer[Upstream]
	carrier   *carrier
	openConns openConns
}

// New returns a Server. It has no servers to forward to until SetUpstream.
func New(cfg Config) *Server {
	s := &Server{cfg: cfg, limits: cfg.Limits.withDefaults()}
	if s.cfg.Log == nil {
		s.cfg.Log = slog.New(slog.DiscardHandler)
	}
	s.tls = cfg.tlsConfig(cfg.certificateFor)
	s.carrier = newCarrier(&s.limits)
	s.front.Store(s.newFront())
	return s
}

// SetUpstream sets where requests are forwarded from now on; nil: nowhere. It is
// safe for concurrent use.
func (s *Server) SetUpstream(u *Upstream) { s.upstream.Store(u) }

// Serve takes ownership of a connection and returns before it ends. The
// handshake must end before deadline; the zero time means HeaderTimeout from
// now.
func (s *Server) Serve(c Conn, deadline time.Time) {
	if deadline.IsZero() {
		deadline = time.Now().Add(s.limits.HeaderTimeout)
	}
	conn, err := s.handshake(c, deadline)
	state := tls.ConnectionState{}
	if err == nil {
		state = conn.ConnectionState()
	}
	switch {
	case err != nil:
		c.Refuse(err)
	case isProof(&state):
		_ = conn.Close()
	case s.cfg.Raw:
		s.relayRaw(conn, c, &state)
	default:
		s.give(conn)
	}
}

// give passes a connection to the front. If Retire replaces the front in the
// meantime, give uses the new one; if the last one has shut down, it closes the
// connection.
func (s *Server) give(conn *tls.Conn) {
	for {
		f := s.front.Load()
		if f.take(conn) {
			return
		}
		if s.front.Load() == f {
			_ = conn.Close()
			return
		}
	}
}

// handshake performs the TLS handshake. It holds a slot of the limiter while
// there is something to compute.
func (s *Server) handshake(c Conn, deadline time.Time) (*tls.Conn, error) {
	ctx, cancel := context.WithDeadline(context.Background(), deadline)
	defer cancel()
	_ = c.SetDeadline(deadline)
	client := &clientConn{Conn: c, limiter: s.cfg.Handshakes, ctx: ctx}
	if err := client.beginHandshake(); err != nil {
		return nil, err
	}
	conn := tls.Server(client, s.tls)
	err := conn.Handshake()
	client.endHandshake()
	if err != nil {
		return nil, err
	}
	_ = c.SetDeadline(time.Time{})
	if !s.cfg.Raw {
		client.writeTimeout = s.limits.BodyTimeout
	}
	if s.cfg.Clients != nil {
		client.open = &s.openConns
		s.openConns.add(client, conn)
	}
	return conn, nil
}

// Retire is called when other Servers take over the route. Requests in progress
// finish, and clients are made to open new connections. Connections that still
// arrive are served for retireGrace. WebSockets and raw connections continue.
func (s *Server) Retire() {
	last := s.newFront()
	last.http.SetKeepAlivesEnabled(false)
	old := s.front.Swap(last)
	s.carrier.idle.close()
	go old.shutDown()
	time.AfterFunc(retireGrace, last.shutDown)
}

// retireGrace is how long connections may arrive after Retire: those with a slow
// ClientHello still use their old route.
const retireGrace = time.Minute

func (l Limits) withDefaults() Limits {
	set := func(d *time.Duration, usual time.Duration) {
		if *d == 0 {
			*d = usual
		}
	}
	set(&l.HeaderTimeout, DefaultHeaderTimeout)
	set(&l.BodyTimeout, DefaultBodyTimeout)
	set(&l.IdleTimeout, DefaultIdleTimeout)
	set(&l.ResponseTimeout, DefaultResponseTimeout)
	if l.MaxBody == 0 {
		l.MaxBody = DefaultMaxBody
	}
	if l.MinBodyRate == 0 {
		l.MinBodyRate = DefaultMinBodyRate
	}
	if l.MaxHeader == 0 {
		l.MaxHeader = DefaultMaxHeader
	}
	return l
}

// newHTTP returns the http.Server that reads the requests.
func (s *Server) newHTTP() *http.Server {
	return &http.Server{
		Handler:           http.HandlerFunc(s.serveHTTP),
		TLSConfig:         s.tls.Clone(), // a copy, because net/http changes it
		ReadHeaderTimeout: s.limits.HeaderTimeout,
		IdleTimeout:       s.limits.IdleTimeout,
		MaxHeaderBytes:    s.limits.MaxHeader,
		ErrorLog:          slog.NewLogLogger(s.cfg.Log.Handler(), slog.LevelDebug),
		ConnContext:       withConn,
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: maxStreams, WriteByteTimeout: s.limits.BodyTimeout},

		DisableGeneralOptionsHandler: true, // the guard refuses OPTIONS *
	}
}
