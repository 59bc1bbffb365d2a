package origin

import (
	"errors"
	"net"
	"sync"
	"syscall"
	"time"
)

// server is a listener and its connections, which can die and come back
// together.
type server struct {
	addr  string
	wrap  func(net.Conn) net.Conn // TLS; nil: plain
	serve func(net.Conn) error

	mu    sync.Mutex
	ln    net.Listener // nil: killed
	conns map[net.Conn]bool
}

// start begins to serve on ln.
func (s *server) start(ln net.Listener) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ln, s.addr, s.conns = ln, ln.Addr().String(), make(map[net.Conn]bool)
	go s.accept(ln)
}

// revive serves again after a death, at the same address.
func (s *server) revive() error {
	s.mu.Lock()
	dead := s.ln == nil
	s.mu.Unlock()
	if !dead {
		return nil
	}
	ln, err := net.Listen("tcp", s.addr)
	if err != nil {
		return err
	}
	s.start(ln)
	return nil
}

func (s *server) accept(ln net.Listener) {
	for {
		c, err := ln.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // out of descriptors, for one
			time.Sleep(10 * time.Millisecond) // until connections end
			continue
		}
		go s.handle(ln, c)
	}
}

func (s *server) handle(ln net.Listener, c net.Conn) {
	s.mu.Lock()
	alive := s.ln == ln
	if alive {
		s.conns[c] = true
	}
	s.mu.Unlock()
	if !alive {
		abort(c)
		return
	}
	whole := c
	if s.wrap != nil {
		whole = s.wrap(c)
	}
	_ = s.serve(whole) // what clients do wrong, they will see
	s.mu.Lock()
	delete(s.conns, c)
	s.mu.Unlock()
}

// kill stops listening and resets every connection, as the kernel does for a
// process that dies with unread input.
func (s *server) kill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ln == nil {
		return
	}
	s.ln.Close()
	s.ln = nil
	for c := range s.conns {
		abort(c)
	}
}

// abort closes with a reset.
func abort(c net.Conn) {
	if tc, ok := c.(*net.TCPConn); ok {
		_ = tc.SetLinger(0)
	}
	c.Close()
}

// firstPort is where the servers' ports begin: below the ephemeral ones, as
// real servers' are, so that no client's port is in the way.
const firstPort = 20000

// ports gives out free ports of loopback, one after another. It belongs to one
// goroutine.
type ports struct{ last int }

// listen listens on the next free port.
func (p *ports) listen() (net.Listener, error) {
	p.last = max(p.last, firstPort)
	for {
		p.last++
		ln, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: p.last})
		if err == nil || !errors.Is(err, syscall.EADDRINUSE) || p.last > firstPort+5000 {
			return ln, err
		}
	}
}
