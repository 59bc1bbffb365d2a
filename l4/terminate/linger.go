package terminate

import "time"

// Timeouts of a lingering close, between two reads and in total. They are those
// of nginx, lingering_timeout and lingering_time.
const (
	lingerIdle  = 5 * time.Second
	lingerTotal = 30 * time.Second
)

// linger closes a connection whose client may still be sending a body that will
// not be read. Closing a socket while data arrives causes a reset, which makes a
// client lose a response that it has not read yet. So linger sends a FIN and
// then reads and discards what arrives, without decrypting it.
func (c *clientConn) linger() {
	defer c.Conn.Close()
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
	b := buffers.Get()
	defer buffers.Put(b)
	for end := time.Now().Add(lingerTotal); ; {
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
