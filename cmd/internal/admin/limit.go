package admin

import (
	"net"
	"net/http"
	"sync"
)

// limitRequests answers at most n requests at a time and refuses others: a
// scrape formats every counter, on the processors that the loops need.
func limitRequests(n int, next http.HandlerFunc) http.Handler {
	slots := make(chan struct{}, n)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case slots <- struct{}{}:
		default:
			http.Error(w, "too many requests at a time", http.StatusServiceUnavailable)
			return
		}
		defer func() { <-slots }()
		next(w, r)
	})
}

// limitListener accepts only while fewer than a number of its connections
// are open, so that they cannot use up the process's descriptors.
type limitListener struct {
	net.Listener
	slots chan struct{}
}

func newLimitListener(ln net.Listener, n int) *limitListener {
	return &limitListener{ln, make(chan struct{}, n)}
}

// Accept waits for a connection to end before it accepts one too many. Who
// closes the listener closes its connections as well, so that wait ends.
func (l *limitListener) Accept() (net.Conn, error) {
	l.slots <- struct{}{}
	conn, err := l.Listener.Accept()
	if err != nil {
		<-l.slots
		return nil, err
	}
	return &limitedConn{Conn: conn, release: func() { <-l.slots }}, nil
}

// limitedConn gives its place back when it is closed the first time.
type limitedConn struct {
	net.Conn
	once    sync.Once
	release func()
}

func (c *limitedConn) Close() error {
	err := c.Conn.Close()
	c.once.Do(c.release)
	return err
}
