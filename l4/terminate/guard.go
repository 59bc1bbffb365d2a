package terminate

import (
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// serveHTTP checks a request and forwards it to a server.
func (s *Server) serveHTTP(w http.ResponseWriter, r *http.Request) {
	x := s.newExchange(w, r)
	defer x.done()
	leaf, ok := s.admit(x, r)
	switch {
	case !ok:
	case isWebSocket(r):
		s.serveWebSocket(x, r, leaf)
	default:
		s.proxy(x, r, leaf)
	}
}

// admit checks a request. If it returns false, the request has been answered.
func (s *Server) admit(x *exchange, r *http.Request) (leaf *x509.Certificate, ok bool) {
	host, ok := hostname(r.Host)
	switch {
	case !ok:
		x.refuse(http.StatusBadRequest, "no_host")
		return nil, false
	case !connOf(r.Context()).Leads(host):
		// Browsers send requests for another name on a connection whose
		// certificate covers that name, but the route of that name may have
		// other rules (RFC 9110 section 15.5.20).
		x.refuse(http.StatusMisdirectedRequest, "misdirected")
		return nil, false
	case r.Method == http.MethodConnect || r.Method == http.MethodTrace:
		x.report.Refused = "method"
		x.answer(http.StatusMethodNotAllowed, "Allow", allowed)
		return nil, false
	}
	if _, err := rawPath(r); err != nil || malformed(r) {
		x.refuse(http.StatusBadRequest, "target")
		return nil, false
	}
	leaf, ok = s.certificateOf(x, r)
	return leaf, ok && s.preauthorised(x, r)
}

// allowed is the Allow header of a 405 (RFC 9110 section 15.5.6). Servers may
// support fewer methods.
const allowed = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"

// malformed reports whether an HTTP/2 request is malformed in a way that
// net/http accepts (RFC 9113 sections 8.1.1 and 8.3.1).
func malformed(r *http.Request) bool {
	if r.ProtoMajor < 2 {
		return false
	}
	for _, length := range r.Header["Content-Length"] {
		if n, err := strconv.ParseUint(length, 10, 63); err != nil || int64(n) != r.ContentLength {
			return true
		}
	}
	return !strings.HasPrefix(r.RequestURI, "/")
}

// certificateOf returns the client's certificate, or nil if none is required.
// If it returns false, the request has been answered.
func (s *Server) certificateOf(x *exchange, r *http.Request) (leaf *x509.Certificate, ok bool) {
	if s.cfg.Clients == nil {
		return nil, true
	}
	leaf, err := s.cfg.Clients.Refusal(r.TLS, time.Now())
	if err != nil {
		x.report.Refused = "client_certificate"
		s.cfg.Clients.Page(x, r, err)
		return nil, false
	}
	return leaf, true
}

func (s *Server) preauthorised(x *exchange, r *http.Request) bool {
	if s.cfg.Preauth == nil {
		return true
	}
	switch s.cfg.Preauth.Check(r) {
	case Pass, Exempt:
		return true
	case Malformed:
		x.refuse(http.StatusBadRequest, "target")
	case Refused:
		x.report.Refused = "preauth"
		Refuse(x, r)
	}
	return false
}

// hostname returns the host of a request without its port. ok is false if there
// is no host or the port is not a number: servers build URLs from the complete
// value, and with "a:b@c" such a URL does not point to a.
func hostname(host string) (name string, ok bool) {
	name, port, err := net.SplitHostPort(host)
	if err != nil {
		return host, host != ""
	}
	_, err = strconv.ParseUint(port, 10, 16)
	return name, name != "" && (err == nil || port == "")
}

// isWebSocket reports whether a request opens a WebSocket. Any other Upgrade is
// removed from what the server gets.
func isWebSocket(r *http.Request) bool {
	upgrade := r.Header["Upgrade"]
	return r.Method == http.MethodGet && r.ProtoMajor == 1 && r.ProtoAtLeast(1, 1) && r.ContentLength == 0 && len(upgrade) == 1 &&
		strings.EqualFold(upgrade[0], "websocket") && asksForUpgrade(r.Header["Connection"])
}

// tooLarge reports whether err is the limit on the size of a body.
func tooLarge(err error) bool {
	var e *http.MaxBytesError
	return errors.As(err, &e)
}
