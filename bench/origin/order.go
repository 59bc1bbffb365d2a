package origin

import "encoding/binary"

// Op is the operation that a client requests.
type Op byte

// The operations. Size is Order.Size.
const (
	Reply   Op = iota + 1 // sends Size bytes, then closes
	Echo                  // echoes each message of Size bytes
	Respond               // answers each request of RequestSize bytes with Size bytes
	Send                  // sends bytes until the client closes
	Take                  // sends one byte, then reads bytes until the client closes
)

// RequestSize is the length of a request to Respond.
const RequestSize = 64

// orderSize is the length of an order on the wire.
const orderSize = 8

// Order is what a client sends after its hello.
type Order struct {
	Op   Op
	Size uint32
}

// Append appends the order in wire format.
func (o Order) Append(b []byte) []byte {
	b = append(b, byte(o.Op), 0, 0, 0)
	return binary.BigEndian.AppendUint32(b, o.Size)
}

func parseOrder(b []byte) Order { return Order{Op(b[0]), binary.BigEndian.Uint32(b[4:])} }
