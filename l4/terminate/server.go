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

// Conn is a client's connection, with its hello still to be read. Close ends
// it; so does Refuse, which says why.
type Conn interface {
	net.Conn

	// Leads reports whether a client that had asked for host would be served
	// by the same Server.
	Leads(host string) bool
	// Peer returns what servers may be told of the client. An empty Name is
	// taken from the handshake.
	Peer() Client
	// Served notes which server of the pool answered last.
	Served(server string)
	// Refuse closes the connection, whose handshake failed.
	Refuse(err error)
}

// Config is what a Server is made of. It is not changed afterwards.
type Config struct {
	Certificates func() *Certificates // what holds now; nil: only what ACME gets
	ACME         *ACME                // nil: none
	Profile      Profile              // "": Intermediate
	Handshakes   *HandshakeLimiter    // shared by all Servers of a process

	// Raw relays what is inside TLS as it is, without looking for HTTP.
	Raw bool

	Preauth     *Preauth    // nil: no secret is asked for
	Clients     *CertPolicy // nil: no certificate is asked for
	CertHeaders HeaderNames

	HSTS          time.Duration // max-age of Strict-Transport-Security; 0: not sent
	StripRequest  []string      // headers of requests to remove; a trailing * is any rest
	StripResponse []string      // and of responses

	Limits Limits
	Log    *slog.Logger   // what goes wrong at servers; nil: nowhere
	Report func(*Request) // each request, when it is over; nil: nobody cares
}

// Limits bound what one request may take. A zero field means the default.
type Limits struct {
	MaxBody         int64         // bytes; 0: DefaultMaxBody
	MaxHeader       int           // bytes of a request's headers; 0: DefaultMaxHeader
	MinBodyRate     int64         // bytes a second that a client sends of a body, after BodyTimeout; 0: DefaultMinBodyRate
	HeaderTimeout   time.Duration // until a request's headers are there; 0: DefaultHeaderTimeout
	BodyTimeout     time.Duration // between two reads of a body, and two writes of a response; 0: DefaultBodyTimeout
	IdleTimeout     time.Duration // between two requests; 0: DefaultIdleTimeout
	ResponseTimeout time.Duration // until the server's response begins; 0: DefaultResponseTimeout
}

// Defaults for Limits. They are those that Mattermost's guide has for nginx,
// but for the body, to whose 100 MB a form adds some, for the headers, and for
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

// maxStreams is how many requests an HTTP/2 connection may have at once, the
// number that RFC 9113 section 6.5.2 recommends at least.
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

// New returns a Server, which has no servers behind it before SetUpstream.
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

// SetUpstream says what is behind the route from now on.
func (s *Server) SetUpstream(u *Upstream) { s.upstream.Store(u) }

// Serve takes a connection. The handshake has to be over at deadline; the zero
// time is no deadline but HeaderTimeout. It returns before the connection
// ends.
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

// give hands a connection to the front. One that was retired meanwhile has a
// successor, until that is over too.
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

// handshake ends TLS. A place at the gate is held while there is something to
// compute.
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

// Retire lets the requests under way finish and has clients come back on new
// connections, for a Server that others take the place of. What still arrives
// is served. WebSockets and raw connections go on.
func (s *Server) Retire() {
	last := s.newFront()
	last.http.SetKeepAlivesEnabled(false)
	old := s.front.Swap(last)
	s.carrier.idle.close()
	go old.shutDown()
	time.AfterFunc(lateness, last.shutDown)
}

// lateness is for how long connections may arrive at a Server that was
// retired: those whose hello was slow have had their old route.
const lateness = time.Minute

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

// newHTTP returns the server that reads requests.
func (s *Server) newHTTP() *http.Server {
	return &http.Server{
		Handler:           http.HandlerFunc(s.serveHTTP),
		TLSConfig:         s.tls.Clone(), // net/http changes it
		ReadHeaderTimeout: s.limits.HeaderTimeout,
		IdleTimeout:       s.limits.IdleTimeout,
		MaxHeaderBytes:    s.limits.MaxHeader,
		ErrorLog:          slog.NewLogLogger(s.cfg.Log.Handler(), slog.LevelDebug),
		ConnContext:       withConn,
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: maxStreams, WriteByteTimeout: s.limits.BodyTimeout},

		DisableGeneralOptionsHandler: true, // OPTIONS * is the guard's to refuse
	}
}
