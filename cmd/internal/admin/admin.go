// Package admin shows what the process does: Prometheus metrics, a status
// page and a liveness check, over HTTP on an address of its own. It only
// reads; nothing that it serves changes anything.
package admin

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/net/netutil"

	"culvert/balancer"
	"culvert/health"
	"culvert/l4"
)

// The limits of the HTTP server: requests are a line and a few headers, and
// those who ask are a scraper and a few people.
const (
	headerTimeout  = 5 * time.Second
	requestTimeout = 10 * time.Second
	idleTimeout    = 30 * time.Second
	maxHeader      = 16 << 10
	maxConnections = 64 // more wait in the kernel's queue
	maxRequests    = 4  // answered at a time; more get 503
)

// Source is where the numbers come from. Stats must be set.
type Source struct {
	Stats    func() *l4.Stats // safe for concurrent use
	Dropped  func() uint64    // access log records dropped; nil: none
	Health   func() *Health   // of the servers; nil: nobody asks
	Requests func() *Requests // on routes that terminate TLS; nil: nobody asks
	Draining func() bool      // the process takes no new connections; nil: never
	Version  string           // of the program
	Commit   string           // it was built from; "" when unknown
	Log      *slog.Logger     // complaints of the HTTP server; nil: none
}

// Health is what was found out about the servers.
type Health struct {
	Checks    []health.Status                     // of the servers that are probed
	Changes   map[Change]uint64                   // how often each happened
	Ejections map[*balancer.Server]health.Ejected // for how much longer, and why
}

// Requests is what happened on routes that terminate TLS.
type Requests struct {
	Answered map[Answer]uint64
	Refused  map[Denial]uint64
	Secrets  map[Secret]uint64
	Expires  map[RouteName]time.Time // the first of a route's certificates
}

// RouteName is a route of a listener.
type RouteName struct{ Listener, Route string }

// Answer is a status that requests of a route were answered with; 0: none was.
type Answer struct {
	RouteName
	Status int
}

// Denial is why a route asked no server, in a word.
type Denial struct {
	RouteName
	Reason string
}

// Secret is a pre-auth secret of a route, by label.
type Secret struct {
	RouteName
	Label string
}

// Change is something that happened to a server.
type Change struct {
	Pool, Server string
	Event        string // a kind of notify.Event
}

// Server is an admin server: bound by Listen, so that an address in use is
// known before anything else starts, and answering from Serve on.
type Server struct {
	http     *http.Server // nil before Serve
	socket   net.Listener
	listener net.Listener // the same, with a limit
	done     chan error
}

// Listen binds a TCP address, or takes a socket that another process has bound
// to it, if it is not nil. Close releases it.
func Listen(address string, inherited *os.File) (*Server, error) {
	ln, err := open("tcp", address, inherited)
	if err != nil {
		return nil, fmt.Errorf("admin: %w", err)
	}
	return &Server{socket: ln, listener: netutil.LimitListener(ln, maxConnections), done: make(chan error, 1)}, nil
}

func open(network, address string, inherited *os.File) (net.Listener, error) {
	if inherited == nil {
		return net.Listen(network, address)
	}
	defer inherited.Close()
	return net.FileListener(inherited)
}

// File returns a second descriptor of the listening socket, the caller's to
// close, for a process that takes over.
func (s *Server) File() (*os.File, error) {
	if f, ok := s.socket.(interface{ File() (*os.File, error) }); ok {
		return f.File()
	}
	return nil, fmt.Errorf("admin: a %T has no descriptor", s.socket)
}

// Serve starts to answer, also those who connected since Listen. It returns
// at once.
func (s *Server) Serve(src Source) {
	s.http = newHTTP(src)
	go func() { s.done <- s.http.Serve(s.listener) }()
}

func newHTTP(src Source) *http.Server {
	log := src.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &http.Server{
		Handler:           Handler(src),
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       requestTimeout,
		WriteTimeout:      requestTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}

// Addr returns where the server listens: a port given as 0 has become a real
// one.
func (s *Server) Addr() net.Addr { return s.listener.Addr() }

// Close lets the requests under way finish until ctx is done, then cuts them.
func (s *Server) Close(ctx context.Context) error {
	if s.http == nil {
		return s.listener.Close()
	}
	return closeHTTP(ctx, s.http, s.done)
}

// closeHTTP lets the requests under way finish until ctx is done, then cuts
// them; served yields once s serves no more.
func closeHTTP(ctx context.Context, s *http.Server, served <-chan error) error {
	err := s.Shutdown(ctx)
	if err != nil {
		_ = s.Close()
	}
	<-served
	return err
}

// Handler serves / (status page), /metrics and /healthz, and nothing under
// or near these paths.
func Handler(src Source) http.Handler {
	metrics := promhttp.HandlerFor(NewRegistry(src), promhttp.HandlerOpts{})
	page := &statusPage{src: src, now: time.Now}
	return readOnly(limitRequests(maxRequests, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/":
			page.ServeHTTP(w, r)
		case "/metrics":
			metrics.ServeHTTP(w, r)
		case "/healthz":
			src.healthz(w)
		default:
			http.NotFound(w, r)
		}
	}))
}

// healthz answers 200 as long as the process takes connections, and 503 once
// it drains, so that who balances between several of them can look elsewhere.
func (src *Source) healthz(w http.ResponseWriter) {
	if src.Draining != nil && src.Draining() {
		http.Error(w, "draining", http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = w.Write([]byte("ok\n"))
}

// readOnly refuses every method but GET and HEAD, and tells browsers to keep
// and embed nothing.
func readOnly(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Cache-Control", "no-store")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'")
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			h.Set("Allow", "GET, HEAD")
			http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
			return
		}
		next.ServeHTTP(w, r)
	})
}
