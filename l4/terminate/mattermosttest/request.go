package mattermosttest

import (
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
)

// Request is what a node saw of a request.
type Request struct {
	Method     string
	Target     string // as on the request line
	Path       string // decoded
	Host       string
	Proto      string
	Header     http.Header
	ServerName string // of the TLS handshake, "" without
	HTTPS      bool   // whether it counts as https
	ClientIP   string // by TrustedProxyIPHeader, else the peer's
}

// Requests returns the newest requests, oldest first, each recorded before it
// was answered. Its length is bounded by Config.Recorded.
func (m *Handler) Requests() []Request { return m.log.all() }

func (m *Handler) describe(r *http.Request) Request {
	seen := Request{
		Method: r.Method, Target: r.RequestURI, Path: r.URL.Path, Host: r.Host, Proto: r.Proto,
		Header: r.Header.Clone(), HTTPS: isHTTPS(r), ClientIP: m.clientIP(r),
	}
	if r.TLS != nil {
		seen.ServerName = r.TLS.ServerName
	}
	return seen
}

// isHTTPS tells whether a request counts as https: the header has to be
// exactly that, or the node's own connection be TLS.
func isHTTPS(r *http.Request) bool {
	return r.TLS != nil || r.Header.Get("X-Forwarded-Proto") == "https"
}

// origin is the scheme and host the request was sent to, for all the node can
// tell.
func origin(r *http.Request) string {
	if isHTTPS(r) {
		return "https://" + r.Host
	}
	return "http://" + r.Host
}

// clientIP believes the first element of the first trusted header that has an
// address there.
func (m *Handler) clientIP(r *http.Request) string {
	for _, name := range m.cfg.TrustedProxyIPHeader {
		first, _, _ := strings.Cut(r.Header.Get(name), ",")
		if ip, err := netip.ParseAddr(strings.TrimSpace(first)); err == nil {
			return ip.String()
		}
	}
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

// requestLog keeps the newest requests.
type requestLog struct {
	limit int // above 0

	mu    sync.Mutex
	ring  []Request
	start int // the oldest, once the ring is full
}

func (l *requestLog) add(r Request) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.ring) < l.limit {
		l.ring = append(l.ring, r)
		return
	}
	l.ring[l.start] = r
	l.start = (l.start + 1) % l.limit
}

func (l *requestLog) all() []Request {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append(append([]Request{}, l.ring[l.start:]...), l.ring[:l.start]...)
}
