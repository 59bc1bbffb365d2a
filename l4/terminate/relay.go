package terminate

import (
	"crypto/tls"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// firstRead is the buffer of a direction in which little moves, in bytes: a
// WebSocket is silent for most of its life, and most of its messages are
// short. When a read fills it the next ones get a large buffer.
const firstRead = 512

// relay moves bytes between two connections until both directions have ended,
// closes them and calls ended.
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

// relaying is what the directions of a relay know of each other.
type relaying struct{ half atomic.Bool } // one has ended

// pump moves bytes until from ends, and passes the end on. When to takes no
// more neither side is of use.
func (r *relaying) pump(to, from net.Conn) {
	var small [firstRead]byte
	for {
		n, err := r.move(to, from, small[:])
		if err == nil && n == firstRead {
			err = r.pumpMuch(to, from)
		}
		if err != nil {
			r.half.Store(true)
			shut(to)
			return
		}
	}
}

// pumpMuch moves bytes through a large buffer as long as reads fill a good
// part of it. Its error is from's end, or that of to.
func (r *relaying) pumpMuch(to, from net.Conn) error {
	b := buffers.Get()
	defer buffers.Put(b)
	for {
		n, err := r.move(to, from, b)
		if err != nil || n < firstRead {
			return err
		}
	}
}

// move reads once, and writes what came.
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
		_ = from.SetReadDeadline(time.Now().Add(halfClosedFor))
	}
	return n, err
}

// halfClosedFor is how long the other direction may be silent when one has
// ended.
const halfClosedFor = 60 * time.Second

// shut tells the peer of c that nothing more comes. It has a while to end.
func shut(c net.Conn) {
	_ = c.SetReadDeadline(time.Now().Add(halfClosedFor))
	switch c := c.(type) {
	case *tls.Conn:
		_ = c.CloseWrite()
	case interface{ CloseWrite() error }:
		_ = c.CloseWrite()
	default:
		_ = c.Close()
	}
}
