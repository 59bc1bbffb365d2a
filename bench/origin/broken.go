package origin

import (
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"time"
)

// silence reads and never answers.
func silence(c net.Conn) error {
	defer c.Close()
	_, err := io.Copy(io.Discard, c)
	return err
}

// refusing is an address on which nobody listens, and nobody else can.
func refusing(p *ports) (string, error) {
	_, addr, err := p.bind()
	return addr, err
}

// blackHole is an address whose SYNs get no answer: its queue of accepted
// connections is full, so the kernel drops them (listen(2)). The caller keeps
// the connections that fill it.
func blackHole(p *ports) (addr string, held []net.Conn, _ error) {
	fd, addr, err := p.bind()
	if err != nil {
		return "", nil, err
	}
	if err := syscall.Listen(fd, 0); err != nil {
		return "", nil, err
	}
	held, err = fill(addr)
	return addr, held, err
}

var errNotFull = errors.New("the queue of the black hole does not fill up")

// fillTimeout is how long a connect may be without an answer until the queue
// counts as full.
const fillTimeout = 200 * time.Millisecond

// fill connects until the queue is full, which a connect that gets no answer
// shows. Its connections stay open.
func fill(addr string) (kept []net.Conn, _ error) {
	for range 16 {
		c, err := net.DialTimeout("tcp", addr, fillTimeout)
		if t, ok := errors.AsType[net.Error](err); ok && t.Timeout() {
			return kept, nil
		}
		if err != nil { // a refusal, or no descriptors: nothing is full
			return kept, fmt.Errorf("fill the black hole: %w", err)
		}
		kept = append(kept, c)
	}
	return kept, errNotFull
}
