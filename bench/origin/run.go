package origin

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
)

// Addresses are where the servers listen, ip:port each.
type Addresses struct {
	Plain     []string
	TLS       []string
	HTTP      []string // HTTP/1.1 in clear text
	Refused   string   // refuses connections
	BlackHole string   // does not answer SYNs
	Silent    string   // accepts and reads, but sends nothing
}

// command and answer are a line of JSON each, on standard input and output.
type command struct {
	Do     string
	Server int
}

type answer struct {
	Error string
	Taken int64
}

// Command runs the process of the servers: `origin -servers N`. It returns when
// standard input ends.
func Command(args []string) error {
	fs := flag.NewFlagSet("origin", flag.ContinueOnError)
	n := fs.Int("servers", 2, "how many plain servers")
	if err := fs.Parse(args); err != nil {
		return err
	}
	return run(*n, os.Stdin, os.Stdout)
}

func run(n int, in io.Reader, out io.Writer) error {
	s := &servers{}
	if err := s.start(n); err != nil {
		return err
	}
	enc := json.NewEncoder(out)
	if err := enc.Encode(s.addresses); err != nil {
		return err
	}
	for dec := json.NewDecoder(in); ; {
		var c command
		if err := dec.Decode(&c); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("read a command: %w", err)
		}
		if err := enc.Encode(s.obey(c)); err != nil {
			return err
		}
	}
}

// servers are all that the process runs.
type servers struct {
	service
	ports     ports
	addresses Addresses
	plain     []*server
	held      []net.Conn // what fills the black hole
}

func (s *servers) start(n int) error {
	for range n {
		p, err := s.serveOn(s.serve, nil)
		if err != nil {
			return err
		}
		s.plain = append(s.plain, p)
		s.addresses.Plain = append(s.addresses.Plain, p.addr)
	}
	cfg, err := tlsConfig()
	if err != nil {
		return err
	}
	login, err := s.serveOn(logIn, func(c net.Conn) net.Conn { return tls.Server(c, cfg) })
	if err != nil {
		return err
	}
	s.addresses.TLS = []string{login.addr}
	web, err := s.serveOn(serveHTTP, nil)
	if err != nil {
		return err
	}
	s.addresses.HTTP = []string{web.addr}
	return s.startBroken()
}

// startBroken starts the servers that never work.
func (s *servers) startBroken() error {
	silent, err := s.serveOn(silence, nil)
	if err != nil {
		return err
	}
	s.addresses.Silent = silent.addr
	if s.addresses.Refused, err = refusing(&s.ports); err != nil {
		return err
	}
	s.addresses.BlackHole, s.held, err = blackHole(&s.ports)
	return err
}

func (s *servers) serveOn(serve func(net.Conn) error, wrap func(net.Conn) net.Conn) (*server, error) {
	ln, err := s.ports.listen()
	if err != nil {
		return nil, err
	}
	p := &server{serve: serve, wrap: wrap}
	p.start(ln)
	return p, nil
}

func (s *servers) obey(c command) answer {
	if c.Do != "taken" && (c.Server < 0 || c.Server >= len(s.plain)) {
		return answer{Error: fmt.Sprintf("there is no server %d", c.Server)}
	}
	switch c.Do {
	case "taken":
		return answer{Taken: s.taken.Load()}
	case "kill":
		s.plain[c.Server].kill()
		return answer{}
	case "revive":
		if err := s.plain[c.Server].revive(); err != nil {
			return answer{Error: err.Error()}
		}
		return answer{}
	}
	return answer{Error: "unknown command"}
}
