package peer

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"time"
)

// ServerName is the name that every peer has a route for.
const ServerName = "chat.example.com"

// EndedName is the name whose TLS ends in the peer, where Setup.HTTP has servers
// for it.
const EndedName = "apps.example.com"

// RouteName is the i-th of the extra names of Setup.Routes, from 0.
func RouteName(i int) string { return fmt.Sprintf("route-%06d.example.net", i) }

// ErrNoReload is returned by Running.Reload where the peer cannot take a new
// configuration without a restart.
var ErrNoReload = errors.New("has no reload")

// ErrNoProcess is returned by Running.Restart where nothing was started.
var ErrNoProcess = errors.New("has no process")

// Setup is what a peer is to serve. All peers of a comparison get the same.
type Setup struct {
	Servers []string // ip:port, at least one
	Workers int      // loops, workers or threads; 0: one a processor
	// HalfClose keeps a connection whose one side has ended. Only nginx,
	// culvert and the relay can be told; HAProxy and Envoy always keep it.
	HalfClose bool
	// Routes is how many names there are beside ServerName, all for the same
	// servers. The relay reads no name and ignores it.
	Routes int
	// HTTP are servers of plain HTTP/1.1, ip:port. With any, TLS for EndedName
	// ends in the peer, and requests that have Secret go to them. Only culvert,
	// nginx and HAProxy can; the others ignore it.
	HTTP []string
	// Unprivileged runs the peer as nobody when the caller is root.
	Unprivileged bool
	// ConnectTimeout bounds one attempt to connect to a server; 0: the proxy's
	// own default, and 5 s for HAProxy, which has none (Debian's file says 5 s).
	ConnectTimeout time.Duration
	// FirstByte bounds how long a server may say nothing at first; 0: the
	// proxy's own default. Only culvert has such a bound. HAProxy's "timeout
	// server" and nginx's proxy_timeout would cut idle sessions too.
	FirstByte time.Duration
}

// Peer is a proxy that can be measured. Known returns the valid ones.
type Peer struct {
	Name     string
	Binary   string // name in PATH, or path; "": nothing is started
	Install  string // what to do when it is missing
	Optional bool   // measured only where it is found

	versionArgs []string          // print the version; nil: version is known
	version     string            // a pattern with one group, or the version itself
	apart       bool              // TLS that ends in it has a port of its own
	files       map[string]string // file name to template, executed with a config
	args        func(config) []string
	env         func(config) []string                           // added to the caller's; nil: none
	quit        syscall.Signal                                  // asks for the end without cutting connections
	reload      func(context.Context, *Running, *process) error // given the serving process; nil: ErrNoReload
}

// Known returns the peers, those that are always measured first. self is the
// path of culvert-bench, which serves as the relay, and beside which culvert
// is looked for before PATH is.
func Known(self string) []Peer {
	return []Peer{culvert(self), direct(), nginx(), haproxy(), relayPeer(self), envoy(), traefik(), sniproxy()}
}

// WithBinary returns the peer with another program to run, which then has to
// be there.
func (p Peer) WithBinary(path string) Peer {
	p.Binary = path
	p.Optional = false
	return p
}

// direct is the servers without a proxy before them.
func direct() Peer { return Peer{Name: "direct"} }

func culvert(self string) Peer {
	binary := "culvert"
	if beside := filepath.Join(filepath.Dir(self), binary); executable(beside) {
		binary = beside
	}
	return Peer{
		Name: "culvert", Binary: binary, Install: "make build",
		versionArgs: []string{"version"}, version: `culvert (\S+)`,
		files: map[string]string{"culvert.yaml": culvertConfig},
		args:  func(config) []string { return []string{"run", "culvert.yaml"} },
		quit:  syscall.SIGTERM, reload: reloadCulvert,
	}
}

func executable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}

// workers is how many the peer gets.
func (s Setup) workers() int {
	if s.Workers > 0 {
		return s.Workers
	}
	return runtime.NumCPU()
}

func (s Setup) check() error {
	if len(s.Servers) == 0 {
		return errors.New("no servers to serve")
	}
	return nil
}
