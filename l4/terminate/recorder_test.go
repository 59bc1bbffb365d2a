package terminate

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

// seen is a request as a server received it.
type seen struct {
	Method, Target, Host, Proto, Body string
	Length                            int64
	Encoding                          []string
	Header                            http.Header
	Cut                               bool // the body ended early
}

// recorder is a server that records the requests it gets and answers them as
// they ask for.
type recorder struct {
	addr string
	mu   sync.Mutex
	all  []seen
	raw  bytes.Buffer // the received bytes
}

// startRecorder runs the server until the test ends. If handle is not nil, it
// answers the requests instead.
func startRecorder(t testing.TB, handle http.HandlerFunc) *recorder {
	t.Helper()
	r := &recorder{}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		b, err := io.ReadAll(q.Body)
		r.mu.Lock()
		r.all = append(r.all, seen{q.Method, q.RequestURI, q.Host, q.Proto, string(b), q.ContentLength, q.TransferEncoding, q.Header.Clone(), err != nil})
		r.mu.Unlock()
		if handle != nil {
			handle(w, q)
			return
		}
		w.Header().Set("Content-Type", "text/plain")
		fmt.Fprintf(w, "%s %s", q.Method, q.RequestURI)
	}))
	s.Config.DisableGeneralOptionsHandler = true
	s.Listener = &teeListener{s.Listener, r}
	s.Start()
	t.Cleanup(s.Close)
	r.addr = s.Listener.Addr().String()
	return r
}

type teeListener struct {
	net.Listener
	to *recorder
}

func (l *teeListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &teeConn{c, l.to}, nil
}

type teeConn struct {
	net.Conn
	to *recorder
}

func (c *teeConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.to.mu.Lock()
	defer c.to.mu.Unlock()
	if c.to.raw.Len() < 16<<20 {
		c.to.raw.Write(b[:n])
	}
	return n, err
}

// take returns the requests since the previous call.
func (r *recorder) take() []seen {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := r.all
	r.all = nil
	r.raw.Reset()
	return all
}

// wire returns the bytes received since the last take.
func (r *recorder) wire() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.raw.String()
}

// startScript runs a server that calls script for each connection and then
// closes it.
func startScript(t testing.TB, script func(c net.Conn, r *bufio.Reader)) (addr string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	var mu sync.Mutex
	var conns []net.Conn
	running.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns = append(conns, c)
			mu.Unlock()
			running.Go(func() {
				defer c.Close()
				script(c, bufio.NewReader(c))
			})
		}
	})
	t.Cleanup(func() {
		ln.Close()
		mu.Lock()
		for _, c := range conns {
			c.Close()
		}
		mu.Unlock()
		running.Wait()
	})
	return ln.Addr().String()
}

// readHead reads the headers of a request, without its body.
func readHead(r *bufio.Reader) (head string, err error) {
	var b strings.Builder
	for {
		line, err := r.ReadString('\n')
		b.WriteString(line)
		if err != nil || line == "\r\n" {
			return b.String(), err
		}
	}
}
