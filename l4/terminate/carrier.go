package terminate

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"
)

// Connections to servers that wait for the next request.
const (
	idlePerServer = 256              // at most, as the guide for clusters has it
	idleServer    = 45 * time.Second // the server closes its end after 60 s
)

// maxResponseHeader bounds the headers of a response, in bytes.
const maxResponseHeader = 256 << 10

// carrier takes requests to servers.
type carrier struct{ transport *http.Transport }

func newCarrier(response time.Duration) *carrier {
	return &carrier{&http.Transport{
		DialContext:            connect,
		DisableCompression:     true,
		MaxIdleConns:           4 * idlePerServer,
		MaxIdleConnsPerHost:    idlePerServer,
		IdleConnTimeout:        idleServer,
		ResponseHeaderTimeout:  response,
		ExpectContinueTimeout:  time.Second,
		MaxResponseHeaderBytes: maxResponseHeader,
		WriteBufferSize:        4 << 10,
		ReadBufferSize:         4 << 10,
		Protocols:              http1(),
	}}
}

func http1() *http.Protocols {
	p := new(http.Protocols)
	p.SetHTTP1(true)
	return p
}

func (c *carrier) close() { c.transport.CloseIdleConnections() }

// trip sends a request to a server. The server is released when the body of
// the response is closed.
func (c *carrier) trip(r *http.Request, a *attempt) (*http.Response, error) {
	out := r.WithContext(context.WithValue(r.Context(), attemptKey{}, a))
	u := *r.URL
	u.Scheme, u.Host = "http", a.authority() // TLS, if any, is connect's
	out.URL = &u
	res, err := c.transport.RoundTrip(out)
	if err != nil {
		return nil, err
	}
	if res.StatusCode < 200 { // also 101, which nobody asked for
		_ = res.Body.Close()
		return nil, fmt.Errorf("the server answers with status %d", res.StatusCode)
	}
	res.Body = &leased{ReadCloser: res.Body, release: sync.OnceFunc(a.server.Release)}
	return res, nil
}

// leased is a response's body. Closing it gives the server's place back.
type leased struct {
	io.ReadCloser
	release func()
}

func (l *leased) Close() error {
	l.release()
	return l.ReadCloser.Close()
}
