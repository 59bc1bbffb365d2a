package terminate

import (
	"context"
	"fmt"
	"io"
	"net/http"
)

// carrier sends requests to servers. net/http's Transport could do that, but it
// has two goroutines for each connection, and handing each request and response
// between them takes a fifth of the CPU of a request. HTTP itself is read and
// written by net/http here as well.
type carrier struct {
	idle   idleConns
	limits *Limits
}

func newCarrier(l *Limits) *carrier { return &carrier{limits: l} }

// trip sends a request to a server. Closing the body of the response releases
// the server; after an error the caller has to release it.
func (c *carrier) trip(r *http.Request, a *attempt) (*http.Response, error) {
	key := a.key()
	if conn := c.idle.take(key); conn != nil {
		res, err := c.roundTrip(conn, r, a)
		if err == nil || !conn.wasStale(r, err) {
			return res, err
		}
	}
	conn, err := c.dial(r.Context(), a)
	if err != nil {
		return nil, err
	}
	conn.free = func() { c.idle.put(key, conn) }
	return c.roundTrip(conn, r, a)
}

// dial opens a connection to the server of a.
func (c *carrier) dial(ctx context.Context, a *attempt) (*serverConn, error) {
	conn, err := connect(ctx, a)
	if err != nil {
		return nil, err
	}
	return newServerConn(conn, c.limits), nil
}

func (c *carrier) roundTrip(conn *serverConn, r *http.Request, a *attempt) (*http.Response, error) {
	res, err := conn.roundTrip(r)
	if err != nil {
		return nil, err
	}
	if res.StatusCode == http.StatusSwitchingProtocols { // not requested
		conn.settle(false)
		return nil, fmt.Errorf("unexpected status %d from the server", res.StatusCode)
	}
	body := &responseBody{body: res.Body, conn: conn, release: a.server.Release}
	if res.Body == http.NoBody {
		body.end(true)
	}
	res.Body = body
	return res, nil
}

// responseBody is the body of a response. Reading it to its end makes the
// connection available to other requests; Close also releases the server.
type responseBody struct {
	body    io.Reader
	conn    *serverConn
	ended   bool
	release func()
}

// Read implements io.Reader.
func (b *responseBody) Read(p []byte) (int, error) {
	if b.ended {
		return 0, io.EOF
	}
	n, err := b.body.Read(p)
	if err != nil {
		b.end(err == io.EOF)
	}
	return n, err
}

func (b *responseBody) end(ok bool) {
	if !b.ended {
		b.ended = true
		b.conn.settle(ok)
	}
}

// Close implements io.Closer.
func (b *responseBody) Close() error {
	b.end(false)
	if b.release != nil {
		b.release()
		b.release = nil
	}
	return nil
}
