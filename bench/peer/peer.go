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

// ServerName is the name for which every peer has a route.
const ServerName = "chat.example.com"

// EndedName is the name for which the peer terminates TLS, if Setup.HTTP has
// servers.
const EndedName = "apps.example.com"

// RouteName is the i-th of the extra names of Setup.Routes, from 0.
func RouteName(i int) string { return fmt.Sprintf("route-%06d.example.net", i) }

// ErrNoReload is returned by Running.Reload where the peer cannot take a new
// configuration without a restart.
var ErrNoReload = errors.New("has no reload")

// ErrNoProcess is returned by Running.Restart where nothing was started.
var ErrNoProcess = errors.New("has no process")

// Setup is the configuration of a peer. All peers of a comparison have the same.
type Setup struct {
	Servers []string // ip:port, at least one
	Workers int      // loops, workers or threads; 0 means one per processor
	// HalfClose keeps half-closed connections open. Only nginx, culvert and
	// the relay have such a setting; HAProxy and Envoy always keep them.
	HalfClose bool
	// Routes is the number of names besides ServerName, all for the same
	// servers. The relay reads no names and ignores it.
	Routes int
	// HTTP are servers of plain HTTP/1.1, ip:port. If there are any, the peer
	// terminates TLS for EndedName and sends requests with Secret to them.
	// Only culvert, nginx and HAProxy support it; the others ignore it.
	HTTP []string
	// Unprivileged runs the peer as user nobody if the caller is root.
	Unprivileged bool
	// ConnectTimeout bounds one attempt to connect to a server. 0 means the
	// proxy's default, and 5 s for HAProxy, which has none (Debian's
	// configuration has 5 s).
	ConnectTimeout time.Duration
	// FirstByte bounds the time to the first byte of a server. 0 means the
	// proxy's default. Only culvert has such a timeout: HAProxy's "timeout
	// server" and nginx's proxy_timeout would close idle sessions too.
	FirstByte time.Duration
}

// Peer is a proxy that can be measured. Known returns the valid ones.
type Peer struct {
	Name     string
	Binary   string // name in PATH, or path; "" means that nothing is started
	Install  string // how to install it
	Optional bool   // measured only if it is installed

	versionArgs []string          // print the version; nil: version is known
	version     string            // a pattern with one group, or the version itself
	apart       bool              // terminated TLS has a port of its own
	files       map[string]string // file name to template, executed with a config
	args        func(config) []string
	env         func(config) []string                           // added to the caller's; nil: none
	quit        syscall.Signal                                  // signal of a graceful shutdown
	reload      func(context.Context, *Running, *process) error // given the serving process; nil: ErrNoReload
}

// Known returns all peers; those that are always measured come first. self is
// the path of culvert-bench, which also runs as the relay. culvert is searched
// for in the same folder, then in PATH.
func Known(self string) []Peer {
	return []Peer{culvert(self), direct(), nginx(), haproxy(), relayPeer(self), envoy(), traefik(), sniproxy()}
}

// WithBinary returns the peer with another program to run, which must exist.
func (p Peer) WithBinary(path string) Peer {
	p.Binary = path
	p.Optional = false
	return p
}

// direct is the servers without a proxy.
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

// workers returns the number of the peer's workers.
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
