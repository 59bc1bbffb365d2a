// Package admin serves Prometheus metrics, a status page and a liveness check
// over HTTP on a TCP address of its own, which is read-only, and the control
// socket, which also accepts commands.
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

// Limits of the HTTP server. They are low because requests are small and the
// clients are a Prometheus server and a few browsers.
const (
	headerTimeout  = 5 * time.Second
	requestTimeout = 10 * time.Second
	idleTimeout    = 30 * time.Second
	maxHeader      = 16 << 10
	maxConnections = 64 // further ones wait in the kernel's accept queue
	maxRequests    = 4  // answered concurrently; further ones get status 503
)

// Source provides the data that is served. Stats must be set. The functions
// must be safe for concurrent use.
type Source struct {
	Stats    func() *l4.Stats
	Dropped  func() uint64    // access log records dropped; nil means 0
	Health   func() *Health   // of the servers; nil means that nothing is probed or ejected
	Requests func() *Requests // on routes that terminate TLS; nil means that there are none
	Draining func() bool      // whether the process accepts no new connections; nil means never
	Version  string           // of the program
	Commit   string           // that the program was built from; "" when unknown
	Log      *slog.Logger     // for errors of the HTTP server; nil disables it
}

// Health is the result of probes and ejections.
type Health struct {
	Checks    []health.Status                     // of the servers that are probed
	Changes   map[Change]uint64                   // how often each happened
	Ejections map[*balancer.Server]health.Ejected // remaining time and reason
}

// Requests are the counters of routes that terminate TLS.
type Requests struct {
	Answered map[Answer]uint64
	Refused  map[Denial]uint64
	Secrets  map[Secret]uint64
	Expires  map[RouteName]time.Time // earliest expiry of a route's certificates
}

// RouteName is a route of a listener.
type RouteName struct{ Listener, Route string }

// Answer is the HTTP status of an answer on a route; 0 means that there was no
// answer.
type Answer struct {
	RouteName
	Status int
}

// Denial is a reason why a route refused requests without contacting a server.
type Denial struct {
	RouteName
	Reason string
}

// Secret is a pre-auth secret of a route, by label.
type Secret struct {
	RouteName
	Label string
}

// Change is an event of a server.
type Change struct {
	Pool, Server string
	Event        string // a kind of notify.Event
}

// Server is an admin server. Listen binds it, so that an address in use is an
// error before anything else starts; it answers requests from Serve on.
type Server struct {
	http     *http.Server // nil before Serve
	socket   net.Listener
	listener net.Listener // socket with a limit of connections
	done     chan error
}

// Listen binds a TCP address. If inherited is not nil, Listen uses it instead,
// as a listening socket that another process has bound to the address, and
// closes it. Close releases the address.
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

// File returns a duplicate descriptor of the listening socket for a new
// process. The caller closes it.
func (s *Server) File() (*os.File, error) {
	if f, ok := s.socket.(interface{ File() (*os.File, error) }); ok {
		return f.File()
	}
	return nil, fmt.Errorf("admin: a %T has no descriptor", s.socket)
}

// Serve starts to answer requests, including those on connections made since
// Listen. It does not block, and must be called at most once.
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

// Addr returns the address that the server listens on, with the port chosen by
// the kernel if it was configured as 0.
func (s *Server) Addr() net.Addr { return s.listener.Addr() }

// Close stops accepting and waits for requests in progress. When ctx is done
// first it closes their connections and returns ctx's error.
func (s *Server) Close(ctx context.Context) error {
	if s.http == nil {
		return s.listener.Close()
	}
	return closeHTTP(ctx, s.http, s.done)
}

// closeHTTP waits for requests in progress until ctx is done, then closes their
// connections. served receives the result of s.Serve.
func closeHTTP(ctx context.Context, s *http.Server, served <-chan error) error {
	err := s.Shutdown(ctx)
	if err != nil {
		_ = s.Close()
	}
	<-served
	return err
}

// Handler serves exactly the paths / (status page), /metrics and /healthz.
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

// healthz answers 200 while the process accepts connections, and 503 while it
// drains, so that a load balancer before several instances uses another one.
func (src *Source) healthz(w http.ResponseWriter) {
	if src.Draining != nil && src.Draining() {
		http.Error(w, "draining", http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = w.Write([]byte("ok\n"))
}

// readOnly refuses every method but GET and HEAD. Its headers forbid caching,
// embedding and loading of resources.
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
