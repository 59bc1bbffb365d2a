package terminate

import (
	"crypto/tls"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// smallBuffer is the size in bytes of the buffer of a direction with little
// traffic: WebSockets are mostly idle, and most of their messages are short.
// After a read that fills it, the next reads use a large buffer.
const smallBuffer = 512

// relay copies bytes between two connections until both directions have ended.
// It then closes both connections and calls ended.
func relay(client, server net.Conn, ended func()) {
	r := &relaying{}
	var both sync.WaitGroup
	both.Go(func() { r.pump(server, client) })
	r.pump(client, server)
	both.Wait()
	_ = client.Close()
	_ = server.Close()
	ended()
}

// relaying is the state that both directions of a relay share.
type relaying struct{ half atomic.Bool } // set when one direction has ended

// pump copies bytes until from ends, and then closes the write side of to. If a
// write fails, both connections are closed.
func (r *relaying) pump(to, from net.Conn) {
	var small [smallBuffer]byte
	for {
		n, err := r.move(to, from, small[:])
		if err == nil && n == smallBuffer {
			err = r.pumpBulk(to, from)
		}
		if err != nil {
			r.half.Store(true)
			closeWrite(to)
			return
		}
	}
}

// pumpBulk copies bytes through a large buffer as long as each read returns at
// least smallBuffer bytes. It returns the error of the read or the write.
func (r *relaying) pumpBulk(to, from net.Conn) error {
	b := buffers.Get()
	defer buffers.Put(b)
	for {
		n, err := r.move(to, from, b)
		if err != nil || n < smallBuffer {
			return err
		}
	}
}

// move reads once and writes the result.
func (r *relaying) move(to, from net.Conn, b []byte) (int, error) {
	n, err := from.Read(b)
	if n == 0 {
		return 0, err
	}
	if _, failed := to.Write(b[:n]); failed != nil {
		_, _ = from.Close(), to.Close()
		return n, failed
	}
	if r.half.Load() && err == nil {
		_ = from.SetReadDeadline(time.Now().Add(halfCloseTimeout))
	}
	return n, err
}

// halfCloseTimeout is how long the other direction may be silent after one has
// ended.
const halfCloseTimeout = 60 * time.Second

// closeWrite ends the direction to the peer of c, by a close_notify or a FIN. The
// peer then has halfCloseTimeout to send something or end its direction.
func closeWrite(c net.Conn) {
	_ = c.SetReadDeadline(time.Now().Add(halfCloseTimeout))
	switch c := c.(type) {
	case *tls.Conn:
		_ = c.CloseWrite()
	case interface{ CloseWrite() error }:
		_ = c.CloseWrite()
	default:
		_ = c.Close()
	}
}
