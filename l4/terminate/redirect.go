package terminate

import (
	"net"
	"net/http"
	"strconv"
	"strings"
)

// Redirect redirects every request to the same URL with https. port is the port
// of https; 0 means 443.
func Redirect(port int) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path, err := rawPath(r)
		host, ok := hostname(r.Host)
		if err != nil || !ok {
			http.Error(w, http.StatusText(http.StatusBadRequest), http.StatusBadRequest)
			return
		}
		to := "https://" + withPort(host, port) + path
		if q := r.URL.RawQuery; q != "" {
			to += "?" + q
		}
		status := http.StatusMovedPermanently
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			status = http.StatusPermanentRedirect // clients change POST to GET after a 301
		}
		w.Header().Set("Location", to)
		w.Header().Set("Cache-Control", "no-store")
		w.WriteHeader(status)
	})
}

// withPort returns the authority of an https URL.
func withPort(host string, port int) string {
	host = strings.Trim(host, "[]") // an IPv6 address without a port is still in brackets
	with := net.JoinHostPort(host, strconv.Itoa(port))
	if port == 0 || port == 443 {
		return with[:strings.LastIndexByte(with, ':')]
	}
	return with
}

// Redirector serves Redirect on plain-text connections.
type Redirector struct {
	port  int
	front *front
}

// NewRedirector returns a Redirector for the given port of https; 0 means 443.
func NewRedirector(port int) *Redirector {
	limits := Limits{}.withDefaults()
	f := &front{conns: make(chan net.Conn), done: make(chan struct{}), http: &http.Server{
		Handler: Redirect(port), ReadHeaderTimeout: limits.HeaderTimeout, ReadTimeout: limits.HeaderTimeout, WriteTimeout: limits.HeaderTimeout,
		IdleTimeout: limits.HeaderTimeout, MaxHeaderBytes: limits.MaxHeader, ErrorLog: discard,
		DisableGeneralOptionsHandler: true,
	}}
	go func() { _ = f.http.Serve(f) }() // ends with Retire
	return &Redirector{port, f}
}

// Port returns the port that NewRedirector was called with.
func (r *Redirector) Port() int { return r.port }

// Serve takes ownership of a connection and returns before it ends.
func (r *Redirector) Serve(c net.Conn) {
	if !r.front.take(c) {
		_ = c.Close()
	}
}

// Retire waits for requests in progress, in the background. Serve must not be
// called afterwards.
func (r *Redirector) Retire() { go r.front.shutDown() }
