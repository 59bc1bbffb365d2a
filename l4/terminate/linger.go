package terminate

import "time"

// For how long a client is heard out that still sends when its connection is
// closed: between two reads, and in all. They are nginx's, lingering_timeout
// and lingering_time.
const (
	lingerIdle = 5 * time.Second
	lingerAll  = 30 * time.Second
)

// linger closes a connection whose client may still be sending a body that
// nobody wants. A socket that is closed while bytes come answers them with a
// reset, and that takes the response away from a client that has not read it
// yet. So there is a FIN, then what comes is read, as it is: TLS is over.
func (c *clientConn) linger() {
	defer c.Conn.Close()
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
	b := buffers.Get()
	defer buffers.Put(b)
	for end := time.Now().Add(lingerAll); ; {
		until := time.Now().Add(lingerIdle)
		if until.After(end) {
			until = end
		}
		_ = c.Conn.SetReadDeadline(until)
		if _, err := c.Conn.Read(b); err != nil {
			return
		}
	}
}
