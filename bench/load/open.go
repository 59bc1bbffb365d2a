package load

import (
	"context"
	"io"
	"net"
	"sync"
	"sync/atomic"

	"culvert/bench/origin"
)

// openers is how many connections are opened concurrently: fewer than the
// smallest default of a listen queue (128).
const openers = 64

// start describes the start of a connection: the order, and the exchange after
// it, if any. Until the server has sent something a proxy may have to use
// another server, so such a connection costs more than others.
type start struct {
	op              origin.Op
	size            int
	request, answer int // bytes of the exchange; request may be 0; answer 0 means no exchange
}

// openAll opens n connections. After the first failure it opens no more, closes
// the open ones, and returns the error.
func (c *client) openAll(ctx context.Context, n int, s start) ([]*net.TCPConn, error) {
	return openEach(n, func() (*net.TCPConn, error) {
		return c.begin(ctx, s, make([]byte, max(s.request, s.answer)))
	})
}

// openEach opens n connections, several concurrently. After the first failure it
// opens no more, closes the open ones, and returns the error.
func openEach[C conn](n int, open func() (C, error)) ([]C, error) {
	conns := make([]C, n)
	errs := make(chan error, openers)
	var next atomic.Int64
	var wg sync.WaitGroup
	for range min(n, openers) {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				c, err := open()
				if err != nil {
					errs <- err
					next.Store(int64(n))
					return
				}
				conns[i] = c
			}
		})
	}
	wg.Wait()
	select {
	case err := <-errs:
		closeAll(conns)
		return nil, err
	default:
		return conns, nil
	}
}

// begin opens a connection and makes the exchange of s.
func (c *client) begin(ctx context.Context, s start, buf []byte) (*net.TCPConn, error) {
	conn, err := c.open(ctx, s.op, s.size)
	if err != nil || s.answer == 0 {
		return conn, err
	}
	if err := exchange(conn, buf, s.request, s.answer); err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

// conn is a connection that may be nil.
type conn interface {
	comparable
	io.Closer
}

// closeAll closes those that are not nil.
func closeAll[C conn](conns []C) {
	var missing C
	for _, c := range conns {
		if c != missing {
			c.Close()
		}
	}
}
