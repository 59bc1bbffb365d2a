package origin

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"time"
)

// orderTimeout bounds how long a client may take to send its hello and order.
const orderTimeout = 30 * time.Second

// maxSize is the maximum of a message or response in bytes, so that a client
// cannot make the server allocate all memory.
const maxSize = 16 << 20

var errOrder = errors.New("unknown order")

var block = make([]byte, 256<<10)

// service carries out the orders of clients.
type service struct {
	taken atomic.Int64 // bytes received for Take
}

// serve carries out the order of the client of c, and closes c.
func (s *service) serve(c net.Conn) error {
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(orderTimeout))
	o, err := readOrder(c)
	if err != nil {
		return err
	}
	_ = c.SetDeadline(time.Time{})
	if o.Size > maxSize {
		return fmt.Errorf("order of %d bytes", o.Size)
	}
	switch o.Op {
	case Reply:
		err = reply(c, int(o.Size))
	case Echo:
		err = exchange(c, int(o.Size), int(o.Size))
	case Respond:
		err = exchange(c, RequestSize, int(o.Size))
	case Send:
		err = send(c)
	case Take:
		err = s.take(c)
	default:
		err = errOrder
	}
	return err
}

// readOrder skips the hello, which is one TLS record (RFC 8446, section 5.1),
// and reads the order after it.
func readOrder(r io.Reader) (Order, error) {
	var head [5]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return Order{}, err
	}
	rest := make([]byte, int(binary.BigEndian.Uint16(head[3:]))+orderSize)
	if _, err := io.ReadFull(r, rest); err != nil {
		return Order{}, err
	}
	return parseOrder(rest[len(rest)-orderSize:]), nil
}

// exchange answers each message of in bytes with out bytes. If in and out are
// equal it echoes the message.
func exchange(c net.Conn, in, out int) error {
	buf := make([]byte, max(in, out))
	for {
		if _, err := io.ReadFull(c, buf[:in]); err != nil {
			return err
		}
		if _, err := c.Write(buf[:out]); err != nil {
			return err
		}
	}
}

// reply sends size bytes.
func reply(c net.Conn, size int) error {
	for size > 0 {
		n, err := c.Write(block[:min(size, len(block))])
		if err != nil {
			return err
		}
		size -= n
	}
	return nil
}

func send(c net.Conn) error {
	for {
		if _, err := c.Write(block); err != nil {
			return err
		}
	}
}

// take sends one byte first, as a TLS server has sent something before it
// receives an upload, and then counts the bytes received.
func (s *service) take(c net.Conn) error {
	if _, err := c.Write(block[:1]); err != nil {
		return err
	}
	buf := make([]byte, 256<<10)
	for {
		n, err := c.Read(buf)
		s.taken.Add(int64(n))
		if err != nil {
			return err
		}
	}
}
