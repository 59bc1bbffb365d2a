package load

import (
	"context"
	"net"
)

// line is a connection of an exchange that is reopened when it breaks. A
// connection that failed in the middle of an answer must not be used again: the
// rest of the answer would be taken for that of the next request. A line must be
// used by one goroutine.
type line struct {
	client *client
	start  start
	conn   *net.TCPConn // nil: broken
	buf    []byte

	release func() // nil: not in use
}

// use prepares the line for use until ctx ends.
func (l *line) use(ctx context.Context) {
	if l.conn != nil {
		l.release = interrupt(ctx, l.conn)
	}
}

// leave undoes use.
func (l *line) leave() {
	if l.release != nil {
		l.release()
		l.release = nil
	}
}

// once makes one exchange, on a new connection if the last one broke.
func (l *line) once(ctx context.Context) error {
	if l.conn == nil {
		if err := l.reopen(ctx); err != nil {
			pause(ctx, errorPause)
			return err
		}
	}
	err := exchange(l.conn, l.buf, l.start.request, l.start.answer)
	if err != nil {
		l.close()
	}
	return err
}

func (l *line) reopen(ctx context.Context) (err error) {
	if l.conn, err = l.client.begin(ctx, l.start, l.buf); err != nil {
		return err
	}
	l.use(ctx)
	return nil
}

func (l *line) close() {
	l.leave()
	if l.conn != nil {
		l.conn.Close()
		l.conn = nil
	}
}
