package terminate

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"
)

// proxy asks a server and passes its response on.
func (s *Server) proxy(x *exchange, r *http.Request, leaf *x509.Certificate) {
	if r.ContentLength > s.limits.MaxBody {
		x.refuse(http.StatusRequestEntityTooLarge, "body")
		return
	}
	var b *body
	if r.ContentLength != 0 { // HTTP/2 has a Body even if there is none
		b = x.bodyOf(r)
	}
	var got *http.Response
	defer func() {
		if got != nil {
			_ = got.Body.Close() // ReverseProxy does not always
		}
	}()
	var p *httputil.ReverseProxy
	p = &httputil.ReverseProxy{
		Rewrite: func(pr *httputil.ProxyRequest) { s.rewrite(pr, leaf, b) },
		Transport: roundTripper(func(out *http.Request) (_ *http.Response, err error) {
			got, err = s.trip(x, r, out, b)
			return got, err
		}),
		FlushInterval: -1, // what a server says is for its client at once
		BufferPool:    buffers,
		ModifyResponse: func(res *http.Response) error {
			if !x.streams && res.ContentLength >= 0 {
				// One write for all of it, or for each buffer full: what has a
				// length is there, or nearly. It costs a tenth less.
				p.FlushInterval = 0
			}
			return s.modify(res)
		},
		ErrorHandler: func(_ http.ResponseWriter, _ *http.Request, err error) { s.failed(x, err) },
		ErrorLog:     quiet,
	}
	p.ServeHTTP(x, r)
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// quiet is for what net/http says beside what is reported.
var quiet = log.New(io.Discard, "", 0)

// rewrite makes the request that the server gets.
func (s *Server) rewrite(pr *httputil.ProxyRequest, leaf *x509.Certificate, b *body) {
	out := pr.Out
	out.Host = pr.In.Host
	out.Trailer = nil // headers that nobody has looked at
	out.URL = target(pr.In)
	s.setHeaders(out.Header, pr.In, leaf)
	if b == nil {
		out.Body = http.NoBody
		return
	}
	out.Body = b
}

// target is the path and the query of r as the client wrote them.
func target(r *http.Request) *url.URL {
	u := &url.URL{Path: r.URL.Path, RawPath: r.URL.RawPath, RawQuery: r.URL.RawQuery, ForceQuery: r.URL.ForceQuery}
	if path, err := rawPath(r); err == nil && !strings.HasPrefix(path, "//") {
		u.Opaque = path // Go would escape what it thinks should be
	}
	return u
}

// setHeaders removes from h, a copy of the headers of in, what a server must
// not get, and sets what it must. ReverseProxy has removed those that
// Connection lists from its own copy; they go by what the client sent.
func (s *Server) setHeaders(h http.Header, in *http.Request, leaf *x509.Certificate) {
	if listed := in.Header["Connection"]; len(listed) > 0 {
		h["Connection"] = listed
	}
	cleanRequest(h, s.cfg.CertHeaders, s.cfg.StripRequest)
	if host, _, err := net.SplitHostPort(in.RemoteAddr); err == nil {
		h.Set("X-Forwarded-For", host)
		h.Set("X-Real-IP", host)
	}
	h.Set("X-Forwarded-Proto", "https")
	if _, ok := h["User-Agent"]; !ok {
		h["User-Agent"] = nil // or Go would send one of its own
	}
	if leaf == nil {
		return
	}
	if err := setCertHeaders(h, s.cfg.CertHeaders, leaf); err != nil {
		s.cfg.Log.Warn("the subject of a client certificate is not passed on", "client", in.RemoteAddr, "serial", leaf.SerialNumber.String(), "error", err)
	}
}

// trip tries servers until one has answered.
func (s *Server) trip(x *exchange, in, out *http.Request, b *body) (res *http.Response, err error) {
	u := s.upstream.Load()
	if u == nil {
		return nil, errNoServer
	}
	err = u.route(x, clientOf(in), func(a *attempt) (bool, error) {
		res, err = s.carrier.trip(out, a)
		if err == nil {
			connOf(in.Context()).Served(a.server.Name())
			return true, nil
		}
		if in.Context().Err() != nil || !mayRepeat(in.Method, b, err) {
			a.server.Release()
			return true, err
		}
		return false, err
	})
	return res, err
}

func clientOf(r *http.Request) Client { return peerOf(connOf(r.Context()), r.TLS) }

// peerOf returns the client of a connection whose handshake is over.
func peerOf(conn Conn, state *tls.ConnectionState) Client {
	c := conn.Peer()
	c.Name = cmp.Or(c.Name, state.ServerName)
	return c
}

// modify makes the response that the client gets.
func (s *Server) modify(res *http.Response) error {
	cleanResponse(res.Header, s.cfg.StripResponse)
	cleanResponse(res.Trailer, s.cfg.StripResponse) // announced
	if res.ContentLength < 0 {
		res.Body = &trailed{res.Body, func() { cleanResponse(res.Trailer, s.cfg.StripResponse) }}
	}
	if s.cfg.HSTS > 0 {
		res.Header.Set("Strict-Transport-Security", "max-age="+strconv.Itoa(int(s.cfg.HSTS/time.Second)))
	}
	return nil
}

// trailed is a body after which there may be trailers.
type trailed struct {
	io.ReadCloser
	ended func()
}

// Read is io.Reader's.
func (t *trailed) Read(b []byte) (int, error) {
	n, err := t.ReadCloser.Read(b)
	if err == io.EOF {
		t.ended()
	}
	return n, err
}

// failed answers when no server did.
func (s *Server) failed(x *exchange, err error) {
	if x.body != nil {
		if failed := x.body.failed.Load(); failed != nil { // net/http cancels the request as well
			s.badBody(x, errors.Join(failed, err))
			return
		}
	}
	status := http.StatusBadGateway
	switch {
	case errors.Is(err, context.Canceled):
		x.abandon()
	case errors.Is(err, errNoServer):
		status = http.StatusServiceUnavailable
	case timedOut(err):
		status = http.StatusGatewayTimeout
	}
	s.cfg.Log.Warn("no answer for a request", "client", x.report.Client, "method", x.report.Method, "host", x.report.Host,
		"server", x.report.Server, "tries", x.report.Tries, "status", status, "error", err)
	x.answer(status)
}

// badBody answers when the client did not send the body that it promised.
func (s *Server) badBody(x *exchange, err error) {
	var network net.Error
	switch {
	case tooLarge(err):
		x.refuse(http.StatusRequestEntityTooLarge, "body")
	case timedOut(err):
		x.refuse(http.StatusRequestTimeout, "slow_body")
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, context.Canceled), errors.As(err, &network):
		x.abandon()
	default:
		x.refuse(http.StatusBadRequest, "body")
	}
}

func timedOut(err error) bool {
	var t interface{ Timeout() bool }
	return errors.As(err, &t) && t.Timeout()
}

// buffers are for copying responses.
var buffers = &bufferPool{sync.Pool{New: func() any { return new([bufferSize]byte) }}}

const bufferSize = 32 << 10

type bufferPool struct{ sync.Pool }

func (p *bufferPool) Get() []byte  { return p.Pool.Get().(*[bufferSize]byte)[:] }
func (p *bufferPool) Put(b []byte) { p.Pool.Put((*[bufferSize]byte)(b)) }
