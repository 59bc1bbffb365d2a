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

// refusing returns an address on which no process listens. Its port stays bound,
// so that no other process can listen there either.
func refusing(p *ports) (string, error) {
	_, addr, err := p.bind()
	return addr, err
}

// blackHole returns an address whose SYNs get no answer: its accept queue is
// full, so the kernel drops them (listen(2)). The caller must keep the
// connections that fill it open.
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

// fillTimeout is how long a connect must remain without an answer until the
// queue is considered full.
const fillTimeout = 200 * time.Millisecond

// fill connects until a connect gets no answer, which means that the queue is
// full. Its connections stay open.
func fill(addr string) (kept []net.Conn, _ error) {
	for range 16 {
		c, err := net.DialTimeout("tcp", addr, fillTimeout)
		if t, ok := errors.AsType[net.Error](err); ok && t.Timeout() {
			return kept, nil
		}
		if err != nil { // refused, or out of descriptors: the queue is not full
			return kept, fmt.Errorf("fill the black hole: %w", err)
		}
		kept = append(kept, c)
	}
	return kept, errNotFull
}
