package origin

import "encoding/binary"

// Op is what a client wants of a server.
type Op byte

// The operations. Size is that of the order.
const (
	Reply   Op = iota + 1 // Size bytes, then the end
	Echo                  // each message of Size bytes comes back
	Respond               // each request of RequestSize bytes brings Size bytes
	Send                  // bytes without end, until the client leaves
	Take                  // one byte to begin with, then takes bytes until the client ends
)

// RequestSize is the length of a request to Respond.
const RequestSize = 64

// orderSize is the length of an order on the wire.
const orderSize = 8

// Order is what a client sends behind its hello.
type Order struct {
	Op   Op
	Size uint32
}

// Append appends the order as it is sent.
func (o Order) Append(b []byte) []byte {
	b = append(b, byte(o.Op), 0, 0, 0)
	return binary.BigEndian.AppendUint32(b, o.Size)
}

func parseOrder(b []byte) Order { return Order{Op(b[0]), binary.BigEndian.Uint32(b[4:])} }
