package origin

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"syscall"
	"time"
)

// server is a listener and its connections, which can be killed and revived
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

// revive serves again after kill, at the same address.
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
		if err != nil { // such as out of descriptors
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
	_ = s.serve(whole) // the clients report errors
	s.mu.Lock()
	delete(s.conns, c)
	s.mu.Unlock()
}

// kill stops listening and resets every connection, as the kernel does for a
// process that ends with unread input.
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

// The servers' ports are below the ephemeral ones, as those of real servers, so
// that they do not collide with ports of clients. Two origins begin at different
// ports.
const (
	firstPort = 20000
	portRange = 4000
)

// ports returns free ports of loopback, one after another. It must be used by
// one goroutine.
type ports struct{ last int }

// listen listens on the next free port.
func (p *ports) listen() (net.Listener, error) {
	var ln net.Listener
	err := p.next(func(port int) (err error) {
		ln, err = net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port})
		return err
	})
	return ln, err
}

// bind returns a socket that is bound to the next free port and does not listen.
// It stays open until the process ends.
func (p *ports) bind() (fd int, addr string, _ error) {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, "", err
	}
	err = p.next(func(port int) error {
		addr = fmt.Sprintf("127.0.0.1:%d", port)
		return syscall.Bind(fd, &syscall.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}})
	})
	return fd, addr, err
}

// next tries one port after another until one is free.
func (p *ports) next(try func(port int) error) error {
	if p.last == 0 {
		p.last = firstPort + rand.IntN(portRange/2)
	}
	for range portRange {
		p.last = firstPort + (p.last+1-firstPort)%portRange
		if err := try(p.last); !errors.Is(err, syscall.EADDRINUSE) {
			return err
		}
	}
	return fmt.Errorf("no free port from %d to %d", firstPort, firstPort+portRange-1)
}
