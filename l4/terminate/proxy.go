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

// proxy sends a request to a server and its response to the client.
func (s *Server) proxy(x *exchange, r *http.Request, leaf *x509.Certificate) {
	if r.ContentLength > s.limits.MaxBody {
		x.refuse(http.StatusRequestEntityTooLarge, "body")
		return
	}
	var b *body
	if r.ContentLength != 0 { // for HTTP/2 Body is never nil
		b = x.bodyOf(r)
	}
	var got *http.Response
	defer func() {
		if got != nil {
			_ = got.Body.Close() // ReverseProxy does not close it in all cases
		}
	}()
	var p *httputil.ReverseProxy
	p = &httputil.ReverseProxy{
		Rewrite: func(pr *httputil.ProxyRequest) { s.rewrite(pr, leaf, b) },
		Transport: roundTripper(func(out *http.Request) (_ *http.Response, err error) {
			got, err = s.trip(x, r, out, b)
			return got, err
		}),
		FlushInterval: -1, // flush immediately
		BufferPool:    buffers,
		ModifyResponse: func(res *http.Response) error {
			if !x.streams && res.ContentLength >= 0 {
				// With a known length, most of the body arrives at once. Flushing
				// only full buffers takes a tenth less CPU.
				p.FlushInterval = 0
			}
			return s.modify(res)
		},
		ErrorHandler: func(_ http.ResponseWriter, _ *http.Request, err error) { s.failed(x, err) },
		ErrorLog:     discard,
	}
	p.ServeHTTP(x, r)
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// discard drops what net/http logs in addition to what culvert reports.
var discard = log.New(io.Discard, "", 0)

// rewrite prepares the request that is sent to the server.
func (s *Server) rewrite(pr *httputil.ProxyRequest, leaf *x509.Certificate, b *body) {
	out := pr.Out
	out.Host = pr.In.Host
	out.Trailer = nil // trailers are not checked like headers
	out.URL = target(pr.In)
	s.setHeaders(out.Header, pr.In, leaf)
	if b == nil {
		out.Body = http.NoBody
		return
	}
	out.Body = b
}

// target returns the path and the query of r as the client wrote them.
func target(r *http.Request) *url.URL {
	u := &url.URL{Path: r.URL.Path, RawPath: r.URL.RawPath, RawQuery: r.URL.RawQuery, ForceQuery: r.URL.ForceQuery}
	if path, err := rawPath(r); err == nil && !strings.HasPrefix(path, "//") {
		u.Opaque = path // otherwise net/url would change the escapes
	}
	return u
}

// setHeaders changes h, a copy of the headers of in, to what the server gets.
// ReverseProxy has already removed the headers listed by Connection from its
// copy, but cleanRequest needs the Connection header that the client sent.
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
		h["User-Agent"] = nil // otherwise net/http would send its own
	}
	if leaf == nil {
		return
	}
	if err := setCertHeaders(h, s.cfg.CertHeaders, leaf); err != nil {
		s.cfg.Log.Warn("cannot pass on the subject of a client certificate", "client", in.RemoteAddr, "serial", leaf.SerialNumber.String(), "error", err)
	}
}

// trip sends the request to one server after another until one answers.
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

// modify changes a response to what the client gets.
func (s *Server) modify(res *http.Response) error {
	cleanResponse(res.Header, s.cfg.StripResponse)
	cleanResponse(res.Trailer, s.cfg.StripResponse) // those announced by the Trailer header
	if res.ContentLength < 0 {
		res.Body = &trailed{res.Body, func() { cleanResponse(res.Trailer, s.cfg.StripResponse) }}
	}
	if s.cfg.HSTS > 0 {
		res.Header.Set("Strict-Transport-Security", "max-age="+strconv.Itoa(int(s.cfg.HSTS/time.Second)))
	}
	return nil
}

// trailed is a body that may be followed by trailers. ended is called when it
// has been read to its end.
type trailed struct {
	io.ReadCloser
	ended func()
}

// Read implements io.Reader.
func (t *trailed) Read(b []byte) (int, error) {
	n, err := t.ReadCloser.Read(b)
	if err == io.EOF {
		t.ended()
	}
	return n, err
}

// failed answers a request after all attempts have failed.
func (s *Server) failed(x *exchange, err error) {
	if x.body != nil {
		if failed := x.body.failed.Load(); failed != nil { // net/http also cancels the request, so err does not tell
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
	s.cfg.Log.Warn("no server answered a request", "client", x.report.Client, "method", x.report.Method, "host", x.report.Host,
		"server", x.report.Server, "tries", x.report.Tries, "status", status, "error", err)
	x.answer(status)
}

// badBody answers a request whose body could not be read from the client.
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

// buffers are used to copy bodies.
var buffers = &bufferPool{sync.Pool{New: func() any { return new([bufferSize]byte) }}}

const bufferSize = 32 << 10

type bufferPool struct{ sync.Pool }

func (p *bufferPool) Get() []byte  { return p.Pool.Get().(*[bufferSize]byte)[:] }
func (p *bufferPool) Put(b []byte) { p.Pool.Put((*[bufferSize]byte)(b)) }
