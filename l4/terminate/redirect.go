package terminate

import (
	"net"
	"net/http"
	"strconv"
	"strings"
)

// Redirect sends every request to the same address with https. port is the one
// that https is served on; 0 is 443.
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
			status = http.StatusPermanentRedirect // 301 would turn it into a GET
		}
		w.Header().Set("Location", to)
		w.Header().Set("Cache-Control", "no-store")
		w.WriteHeader(status)
	})
}

// withPort is the authority of an address with https.
func withPort(host string, port int) string {
	host = strings.Trim(host, "[]") // an IPv6 address without a port still has them
	with := net.JoinHostPort(host, strconv.Itoa(port))
	if port == 0 || port == 443 {
		return with[:strings.LastIndexByte(with, ':')]
	}
	return with
}

// Redirector serves connections in clear text with Redirect.
type Redirector struct {
	port  int
	front *front
}

// NewRedirector returns one for a port that https is served on.
func NewRedirector(port int) *Redirector {
	limits := Limits{}.withDefaults()
	f := &front{conns: make(chan net.Conn), done: make(chan struct{}), http: &http.Server{
		Handler: Redirect(port), ReadHeaderTimeout: limits.HeaderTimeout, ReadTimeout: limits.HeaderTimeout, WriteTimeout: limits.HeaderTimeout,
		IdleTimeout: limits.HeaderTimeout, MaxHeaderBytes: limits.MaxHeader, ErrorLog: quiet,
		DisableGeneralOptionsHandler: true,
	}}
	go func() { _ = f.http.Serve(f) }() // ends with Retire
	return &Redirector{port, f}
}

// Port is the one that https is served on.
func (r *Redirector) Port() int { return r.port }

// Serve takes a connection, and returns before it ends.
func (r *Redirector) Serve(c net.Conn) {
	if !r.front.take(c) {
		_ = c.Close()
	}
}

// Retire lets requests under way finish; nothing more may be served.
func (r *Redirector) Retire() { go r.front.shutDown() }
