package mattermosttest

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"time"
)

// Timeouts of a node, as in Mattermost 9.9. The idle one is what upstream
// connections in a pool run into.
const (
	readTimeout  = 300 * time.Second
	writeTimeout = 300 * time.Second
	idleTimeout  = 60 * time.Second
)

// ServerConfig says where and how to listen.
type ServerConfig struct {
	// Address is where. Default: a free port of 127.0.0.1.
	Address string
	// Certificate makes the server speak TLS with it, HTTP/2 included.
	// Default: plain HTTP.
	Certificate *tls.Certificate
}

// Server serves a handler on a listener of its own until Close.
type Server struct {
	addr net.Addr
	tls  bool
	http *http.Server
	done chan error // closed after its value: Close may be called again
}

// NewServer listens and serves h, in the way of httptest.NewServer. The caller
// closes the server. Like Mattermost, its TLS does not offer X25519, so most
// clients have to send a second hello.
func NewServer(h http.Handler, cfg ServerConfig) (*Server, error) {
	ln, err := net.Listen("tcp", cmp.Or(cfg.Address, "127.0.0.1:0"))
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	s := &Server{addr: ln.Addr(), tls: cfg.Certificate != nil, done: make(chan error, 1)}
	s.http = &http.Server{
		Handler: h, ReadTimeout: readTimeout, WriteTimeout: writeTimeout, IdleTimeout: idleTimeout,
		ErrorLog: log.New(io.Discard, "", 0),
	}
	if !s.tls {
		go s.run(func() error { return s.http.Serve(ln) })
		return s, nil
	}
	s.http.TLSConfig = &tls.Config{
		Certificates: []tls.Certificate{*cfg.Certificate}, MinVersion: tls.VersionTLS12,
		CurvePreferences: []tls.CurveID{tls.CurveP521, tls.CurveP384, tls.CurveP256},
	}
	go s.run(func() error { return s.http.ServeTLS(ln, "", "") })
	return s, nil
}

func (s *Server) run(serve func() error) {
	s.done <- serve()
	close(s.done)
}

// Addr is where the server listens, as host:port.
func (s *Server) Addr() string { return s.addr.String() }

// URL is the server's address with its scheme, without a path.
func (s *Server) URL() string {
	if s.tls {
		return "https://" + s.Addr()
	}
	return "http://" + s.Addr()
}

// Close ends the listener and every connection but WebSockets.
func (s *Server) Close() {
	_ = s.http.Close()
	<-s.done
}

// Node is a Handler with a Server of its own.
type Node struct {
	*Handler
	*Server
}

// NewNode builds a node and serves it. The caller closes it.
func NewNode(cfg Config, srv ServerConfig) (*Node, error) {
	m, err := NewHandler(cfg)
	if err != nil {
		return nil, fmt.Errorf("build node %q: %w", cfg.Node, err)
	}
	s, err := NewServer(m, srv)
	if err != nil {
		return nil, err
	}
	return &Node{m, s}, nil
}

// Close ends the node as abruptly as Mattermost ends: neither clients nor probes
// get a warning.
func (n *Node) Close() {
	n.Server.Close()
	n.Handler.Close()
}

// Cluster is the nodes of one site.
type Cluster []*Node

// NewCluster starts count nodes that share a Database. Their names are
// cfg.Node, by default "node", with -1, -2 and so on; each listens on a port
// of its own, so srv has no Address. The caller closes the cluster.
func NewCluster(count int, cfg Config, srv ServerConfig) (Cluster, error) {
	if srv.Address != "" {
		return nil, errors.New("the nodes of a cluster cannot share an address")
	}
	cfg.Database = cmp.Or(cfg.Database, &Database{})
	var cluster Cluster
	for i := range count {
		one := cfg
		one.Node = fmt.Sprintf("%s-%d", cmp.Or(cfg.Node, "node"), i+1)
		node, err := NewNode(one, srv)
		if err != nil {
			cluster.Close()
			return nil, err
		}
		cluster = append(cluster, node)
	}
	return cluster, nil
}

// Close closes every node.
func (c Cluster) Close() {
	for _, n := range c {
		n.Close()
	}
}
