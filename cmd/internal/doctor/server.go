package doctor

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"culvert/balancer"
	"culvert/l4"
)

// userAgent identifies the requests in the server's log.
const userAgent = "culvert-doctor"

// forwardedProto is the header that tells a server that the client uses TLS.
const forwardedProto = "X-Forwarded-Proto"

// A server is a server under examination. Later steps use the fields that
// earlier ones set; steps that run concurrently set different fields.
type server struct {
	site      *site
	member    *balancer.Server
	transport *http.Transport
	client    *http.Client
	lines     []*line

	reachable bool
	mistaken  bool // it does not accept what culvert sends, so that no further check is possible
	shown     []shown
	settings  map[string]string // nil: not read
	base      string            // the subpath that it serves, "" for none
	version   version
	healthy   bool
	skew      time.Duration // of its clock, if dated
	dated     bool
}

// shown is the certificate that a server presented for a name.
type shown struct {
	name string
	leaf *x509.Certificate
	rest []*x509.Certificate
	h2   bool
}

func (s *site) newServer(member *balancer.Server) *server {
	x := &server{site: s, member: member}
	x.transport = &http.Transport{
		DialContext:            func(ctx context.Context, _, _ string) (net.Conn, error) { return x.dial(ctx) },
		TLSClientConfig:        s.tlsConfig(s.sni, "http/1.1"), // WebSockets need it
		MaxResponseHeaderBytes: maxHeader, DisableCompression: true,
	}
	x.client = &http.Client{
		Transport:     x.transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return x
}

// dial connects as culvert does for connections of its own, with the pool's
// source addresses, PROXY header and connect timeout.
func (s *server) dial(ctx context.Context) (net.Conn, error) {
	return s.site.dialer.Dial(ctx, s.member, l4.Caller{})
}

func (s *server) whyAbsent() *line {
	l := newLine("reach")
	if a := s.site.Pool.Targets[s.member.Index()].Addr(); !a.IsUnix() && a.AddrPort().Addr().IsUnspecified() {
		l.wrong("check the name in the DNS, or correct it in the file", "its name %q has no address", s.member.Address())
		return l
	}
	l.see("down in the file, not examined")
	return l
}

// unvisited returns the line of a server that was not examined in time.
func (s *server) unvisited() *line {
	l := newLine("reach")
	l.wrong("fix the servers that do not answer, and examine again", "not examined within %s", MostTime)
	return l
}

// reach connects, and makes a TLS handshake if culvert sends TLS to the pool.
func (s *server) reach(ctx context.Context) *line {
	l := newLine("reach")
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	if !s.site.tls {
		conn, err := s.dial(ctx)
		if err != nil {
			s.unreachable(l, err)
			return l
		}
		_ = conn.Close()
		s.reachable = true
		l.see("TCP")
		return l
	}
	state, err := s.handshake(ctx, s.site.sni)
	if err != nil {
		s.unreachable(l, err)
		return l
	}
	s.reachable = true
	l.see("%s", tls.VersionName(state.Version))
	return l
}

func (s *server) unreachable(l *line, err error) {
	var plain tls.RecordHeaderError
	switch {
	case errors.As(err, &plain) && bytes.HasPrefix(plain.RecordHeader[:], []byte("HTTP")):
		l.wrong("make the server accept TLS (ConnectionSecurity: TLS), or terminate TLS on the routes",
			"the server expects plain HTTP, but culvert sends TLS")
	case errors.As(err, &plain):
		l.wrong("check what listens on that port", "the answer is not TLS, which culvert sends")
	default:
		l.wrong("start it, or check its address, its port and the firewalls before it; culvert drain keeps clients away from it meanwhile",
			"it cannot be reached: %s", reason(err))
	}
}

// handshake connects and makes a TLS handshake for a name. It does not verify
// the certificate.
func (s *server) handshake(ctx context.Context, name string) (tls.ConnectionState, error) {
	raw, err := s.dial(ctx)
	if err != nil {
		return tls.ConnectionState{}, err
	}
	defer raw.Close()
	conn := tls.Client(raw, s.site.tlsConfig(name, "h2", "http/1.1"))
	if err := conn.HandshakeContext(ctx); err != nil {
		return tls.ConnectionState{}, fmt.Errorf("TLS handshake: %w", err)
	}
	_ = conn.CloseWrite() // sends close_notify, without which servers log an error
	return conn.ConnectionState(), nil
}

// An answer is a response without its connection.
type answer struct {
	status int
	header http.Header
	body   []byte
	at     time.Time // local time, halfway between request and response
}

// get requests a path, with the headers of a terminating route if the pool has
// one, and otherwise as a client. It does not follow redirects.
func (s *server) get(ctx context.Context, path string) (*answer, error) {
	proto := ""
	if s.site.forwards {
		proto = "https"
	}
	return s.getAs(ctx, path, proto)
}

// getAs is get with proto in X-Forwarded-Proto; "" omits the header.
func (s *server) getAs(ctx context.Context, path, proto string) (*answer, error) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.target()+path, nil)
	if err != nil {
		return nil, err
	}
	req.Header = s.headers(proto)
	began := s.site.now()
	res, err := s.client.Do(req)
	if err != nil {
		return nil, errors.New(reason(err))
	}
	defer res.Body.Close()
	at := began.Add(s.site.now().Sub(began) / 2)
	body, err := io.ReadAll(io.LimitReader(res.Body, maxBody))
	if err != nil {
		return nil, fmt.Errorf("read the body: %s", reason(err))
	}
	return &answer{res.StatusCode, res.Header, body, at}, nil
}

func (s *server) headers(proto string) http.Header {
	h := http.Header{"User-Agent": {userAgent}, "Accept": {"*/*"}}
	if proto != "" {
		h.Set(forwardedProto, proto)
	}
	return h
}

// target returns the scheme and host of requests: the host is that of the site;
// the connection goes to this server.
func (s *server) target() string {
	scheme := "http"
	if s.site.tls {
		scheme = "https"
	}
	return (&url.URL{Scheme: scheme, Host: s.site.url.Host}).String()
}

// reason returns the text of err without the URL, and always the same text for
// the same cause.
func reason(err error) string {
	if e := (*url.Error)(nil); errors.As(err, &e) {
		err = e.Err
	}
	if e := (*l4.ConnectTimeoutError)(nil); errors.As(err, &e) {
		return e.Error()
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Sprintf("no answer within %s", probeTimeout)
	}
	return err.Error()
}
