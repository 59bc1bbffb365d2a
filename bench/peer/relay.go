package peer

import (
	"context"
	"errors"
	"flag"
	"hash/fnv"
	"io"
	"net"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// relayPeer is the plain Go relay. It is the program at self, started as
// `self relay`.
func relayPeer(self string) Peer {
	return Peer{
		Name: "relay", Binary: self, Install: "make build",
		version: runtime.Version(),
		args: func(c config) []string {
			return []string{
				"relay", "-listen", c.Listen, "-servers", strings.Join(c.Servers, ","),
				"-half-close=" + strconv.FormatBool(c.HalfClose), "-connect-timeout", c.ConnectTimeout.String(),
			}
		},
		env:  func(c config) []string { return []string{"GOMAXPROCS=" + strconv.Itoa(c.Workers)} },
		quit: syscall.SIGTERM,
	}
}

// relay is a simple relay in Go without optimisations: one goroutine for each
// direction, and io.Copy. It reads no hello: the client's address picks the
// server. A connection takes up to six descriptors, because io.Copy holds a pipe
// for each direction while it waits, so the relay carries a third of the
// connections of the others.
type relay struct {
	servers   []string
	halfClose bool
	dialer    net.Dialer
}

// keepalive is the configuration of all peers.
func keepalive() net.KeepAliveConfig {
	return net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 5 * time.Second, Count: 3}
}

// relayTries is how many servers are tried for a connection.
const relayTries = 3

// RelayCommand is the relay as a command: it reads the flags -listen, -servers,
// -half-close and -connect-timeout from args, and serves until SIGTERM or
// SIGINT, when it returns without waiting for its connections.
func RelayCommand(args []string) error {
	flags := flag.NewFlagSet("relay", flag.ContinueOnError)
	listen := flags.String("listen", "", "`address` to serve")
	servers := flags.String("servers", "", "comma-separated `addresses` of the servers")
	r := &relay{dialer: net.Dialer{KeepAliveConfig: keepalive()}}
	flags.BoolVar(&r.halfClose, "half-close", true, "keep half-closed connections open")
	flags.DurationVar(&r.dialer.Timeout, "connect-timeout", 0, "longest wait for a server to accept; 0: the kernel's")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *listen == "" || *servers == "" {
		return errors.New("relay: -listen and -servers are needed")
	}
	r.servers = strings.Split(*servers, ",")
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	return r.run(ctx, *listen)
}

func (r *relay) run(ctx context.Context, listen string) error {
	lc := net.ListenConfig{KeepAliveConfig: keepalive()}
	ln, err := lc.Listen(ctx, "tcp", listen)
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { ln.Close() })()
	for {
		c, err := ln.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil { // such as out of descriptors, which may become free
			time.Sleep(10 * time.Millisecond)
			continue
		}
		go r.serve(c.(*net.TCPConn))
	}
}

func (r *relay) serve(client *net.TCPConn) {
	defer client.Close()
	server, err := r.dial(client.RemoteAddr().(*net.TCPAddr).IP)
	if err != nil {
		return
	}
	defer server.Close()
	var up sync.WaitGroup
	up.Go(func() { r.copy(server, client) })
	r.copy(client, server)
	up.Wait()
}

// dial tries the client's own server first and then those that follow it.
func (r *relay) dial(client net.IP) (c *net.TCPConn, err error) {
	h := fnv.New32a()
	h.Write(client)
	first := int(h.Sum32() % uint32(len(r.servers)))
	for i := range min(relayTries, len(r.servers)) {
		var conn net.Conn
		if conn, err = r.dialer.Dial("tcp", r.servers[(first+i)%len(r.servers)]); err == nil {
			return conn.(*net.TCPConn), nil
		}
	}
	return nil, err
}

// copy copies one direction until it ends; io.Copy splices. An error ends both
// directions, and so does EOF unless half-closed connections are kept.
func (r *relay) copy(dst, src *net.TCPConn) {
	if _, err := io.Copy(dst, src); err != nil || !r.halfClose {
		dst.Close()
		src.Close()
		return
	}
	_ = dst.CloseWrite()
}
