package bench

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
)

// The load and the origin share a tiny language: after the hello, the client
// says in 8 bytes what it wants.
const (
	opReply = iota + 1 // size bytes, then the end
	opEcho             // messages of size bytes, each returned
	opSend             // bytes without end, until the client leaves
	opTake             // take bytes until the client ends
)

// order is what a client sends behind its hello.
func order(op byte, size int) []byte {
	b := make([]byte, 8)
	binary.BigEndian.PutUint32(b[4:], uint32(size))
	b[0] = op
	return b
}

// origin is the server behind every proxy. It speaks no TLS: the proxies
// never look past the hello, and its cost would drown theirs.
type origin struct {
	ln    net.Listener
	hello int // bytes of the hello
	wg    sync.WaitGroup
}

func startOrigin(hello int) (*origin, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	o := &origin{ln: ln, hello: hello}
	o.wg.Go(o.run)
	return o, nil
}

func (o *origin) addr() string { return o.ln.Addr().String() }

func (o *origin) stop() {
	o.ln.Close()
	o.wg.Wait()
}

func (o *origin) run() {
	for {
		c, err := o.ln.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil {
			go o.serve(c)
		}
	}
}

func (o *origin) serve(c net.Conn) {
	defer c.Close()
	head := make([]byte, o.hello+8)
	if _, err := io.ReadFull(c, head); err != nil {
		return
	}
	size := int(binary.BigEndian.Uint32(head[o.hello+4:]))
	switch head[o.hello] {
	case opReply:
		_, _ = c.Write(make([]byte, size))
	case opEcho:
		echo(c, size)
	case opSend:
		send(c)
	case opTake:
		take(c)
	}
}

func echo(c net.Conn, size int) {
	buf := make([]byte, size)
	for {
		if _, err := io.ReadFull(c, buf); err != nil {
			return
		}
		if _, err := c.Write(buf); err != nil {
			return
		}
	}
}

var block = make([]byte, 256<<10)

func send(c net.Conn) {
	for {
		if _, err := c.Write(block); err != nil {
			return
		}
	}
}

// take counts what arrives; the wrapper keeps io.Copy from being clever.
func take(c net.Conn) int64 {
	n, _ := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{c}, make([]byte, 256<<10))
	return n
}
