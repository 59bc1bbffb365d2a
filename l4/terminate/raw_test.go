package terminate

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	"culvert/balancer"
	"culvert/l4/terminate/mattermosttest"
)

// Bytes are relayed unchanged in both directions, even if they look like HTTP.
func TestRawRelaysBytesUnchanged(t *testing.T) {
	const size = 8 << 20
	server := startScript(t, func(c net.Conn, r *bufio.Reader) { echo(c, r) })
	r := startRig(t, setting{Config: Config{Raw: true}}, server)
	conn := r.dial(r.tls())
	sent, got := sha256.New(), sha256.New()
	var both sync.WaitGroup
	both.Go(func() {
		_, _ = io.WriteString(io.MultiWriter(conn, sent), "GET / HTTP/1.1\r\nHost: "+elsewhere+"\r\nContent-Length: x\r\n\r\n\x16\x03\x01")
		_, _ = io.Copy(io.MultiWriter(conn, sent), mattermosttest.FileBody("a", size))
		_ = conn.CloseWrite()
	})
	n, err := io.Copy(got, conn)
	both.Wait()
	if n < size || err != nil || !bytes.Equal(sent.Sum(nil), got.Sum(nil)) {
		t.Errorf("got %d bytes, %v, or different bytes", n, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.served) != 1 || r.served[0] != server {
		t.Errorf("served by %v", r.served)
	}
}

// The end of one direction is passed on, and the other direction stays open.
func TestRawHalfClose(t *testing.T) {
	t.Run("by the client", func(t *testing.T) {
		server := startScript(t, func(c net.Conn, r *bufio.Reader) {
			b, _ := io.ReadAll(r)
			_, _ = c.Write(bytes.ToUpper(b))
		})
		r := startRig(t, setting{Config: Config{Raw: true}}, server)
		conn := r.dial(r.tls())
		_, _ = io.WriteString(conn, "hello")
		_ = conn.CloseWrite()
		if got, err := io.ReadAll(conn); string(got) != "HELLO" || err != nil {
			t.Errorf("got %q, %v", got, err)
		}
	})
	t.Run("by the server", func(t *testing.T) {
		got := make(chan string, 1)
		server := startScript(t, func(c net.Conn, r *bufio.Reader) {
			_, _ = io.WriteString(c, "hello")
			_ = c.(*net.TCPConn).CloseWrite()
			b, _ := io.ReadAll(r)
			got <- string(b)
		})
		r := startRig(t, setting{Config: Config{Raw: true}}, server)
		conn := r.dial(r.tls())
		if b, err := io.ReadAll(conn); string(b) != "hello" || err != nil {
			t.Errorf("the client got %q, %v", b, err)
		}
		_, _ = io.WriteString(conn, "bye")
		conn.Close()
		if b := within(t, "the server's side of the connection ends", got); b != "bye" {
			t.Errorf("the server got %q", b)
		}
	})
}

// The server may send first while the client waits.
func TestRawServerSpeaksFirst(t *testing.T) {
	server := startScript(t, func(c net.Conn, r *bufio.Reader) {
		_, _ = io.WriteString(c, "220 ready\r\n")
		_, _ = r.ReadString('\n')
	})
	r := startRig(t, setting{Config: Config{Raw: true}}, server)
	line, err := bufio.NewReader(r.dial(r.tls())).ReadString('\n')
	if line != "220 ready\r\n" || err != nil {
		t.Errorf("got %q, %v", line, err)
	}
}

// If all servers are down, the connection ends; if one is left, it is used.
func TestRawServerDown(t *testing.T) {
	for name, set := range map[string]setting{
		"refused": {},
		"down":    {pool: func(c *balancer.Config) { c.Servers[0].Down = true }},
		"none":    {upstream: func(u *Upstream) { u.Tries = 1 }},
	} {
		t.Run(name, func(t *testing.T) {
			set.Raw = true
			r := startRig(t, set, closedAddr(t))
			if name == "none" {
				r.SetUpstream(nil)
			}
			if got, err := io.ReadAll(r.dial(r.tls())); len(got) > 0 || err != nil {
				t.Errorf("got %q, %v; want EOF", got, err)
			}
		})
	}
	t.Run("the first", func(t *testing.T) {
		server := startScript(t, func(c net.Conn, r *bufio.Reader) { echo(c, r) })
		r := startRig(t, setting{Config: Config{Raw: true}, pool: func(c *balancer.Config) { c.Servers[1].Backup = true }}, closedAddr(t), server)
		conn := r.dial(r.tls())
		_, _ = io.WriteString(conn, "hello")
		got := make([]byte, 5)
		if _, err := io.ReadFull(conn, got); string(got) != "hello" || err != nil {
			t.Errorf("got %q, %v", got, err)
		}
	})
}

// The server is released when either the client or the server leaves.
func TestRawReleasesTheServer(t *testing.T) {
	for _, side := range []string{"client", "server"} {
		t.Run(side, func(t *testing.T) {
			servers := make(chan net.Conn, 1)
			server := startScript(t, func(c net.Conn, r *bufio.Reader) {
				servers <- c
				_, _ = io.Copy(io.Discard, r)
			})
			r := startRig(t, setting{Config: Config{Raw: true}}, server)
			conn := r.dial(r.tls())
			there := within(t, "the server has the connection", servers)
			if side == "client" {
				_ = netConn(conn).SetLinger(0)
				_ = netConn(conn).Close()
			} else {
				_ = there.(*net.TCPConn).SetLinger(0)
				there.Close()
				_, _ = io.ReadAll(conn)
				conn.Close()
			}
			eventually(t, "the server has no active connection", func() bool { return r.pool.Servers()[0].Active() == 0 })
		})
	}
}

// A client without an acceptable certificate does not reach a server, whether
// the handshake refuses it or a page would have been needed.
func TestRawRequiresCertificates(t *testing.T) {
	reached := make(chan bool, 9)
	server := startScript(t, func(c net.Conn, r *bufio.Reader) {
		reached <- true
		echo(c, r)
	})
	root := newRoot(t, "clients")
	authorities := mustLoad(t, pemOf(root))
	good, bad := root.newClient(t, "alice").tls(), newRoot(t, "others").newClient(t, "alice").tls()
	for _, tt := range []struct {
		name   string
		strict bool
		cert   *tls.Certificate
		want   bool
	}{
		{"strict, good", true, &good, true},
		{"strict, bad", true, &bad, false},
		{"strict, none", true, nil, false},
		{"page, bad", false, &bad, false},
		{"page, none", false, nil, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := startRig(t, setting{Config: Config{Raw: true, Clients: &CertPolicy{Authorities: func() *Authorities { return authorities }, Strict: tt.strict}}}, server)
			c := r.tls()
			c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
				if tt.cert == nil {
					return &tls.Certificate{}, nil
				}
				return tt.cert, nil
			}
			conn := r.dial(c) // with TLS 1.3 the refusal arrives later
			_, _ = io.WriteString(conn, "hello")
			got := make([]byte, 5)
			_, err := io.ReadFull(conn, got)
			if (err == nil) != tt.want {
				t.Errorf("got %q, %v; want data: %v", got, err, tt.want)
			}
			if !tt.want && len(reached) > 0 {
				t.Error("the server was reached")
			}
			for len(reached) > 0 {
				<-reached
			}
		})
	}
}

// Full buffers in one direction do not block the other one.
func TestRawDirectionsAreIndependent(t *testing.T) {
	took := make(chan string, 1)
	server := startScript(t, func(c net.Conn, r *bufio.Reader) {
		go func() { _, _ = io.Copy(c, strings.NewReader(strings.Repeat("x", 64<<20))) }() // the client does not read it
		line, _ := r.ReadString('\n')
		took <- line
	})
	r := startRig(t, setting{Config: Config{Raw: true}}, server)
	conn := r.dial(r.tls())
	_, _ = io.WriteString(conn, "hello\n")
	if got := within(t, "the server gets a line", took); got != "hello\n" {
		t.Errorf("got %q", got)
	}
}

// Attempts to connect end with the connect timeout.
func TestRawConnectTimeout(t *testing.T) {
	r := startRig(t, setting{Config: Config{Raw: true}, upstream: func(u *Upstream) {
		u.ConnectTimeout = shortTimeout
		u.Dial = func(ctx context.Context, _ *balancer.Server, _ Client) (net.Conn, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}
	}}, "192.0.2.1:1")
	if got, err := io.ReadAll(r.dial(r.tls())); len(got) > 0 || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if all := r.outcomes["192.0.2.1:1"]; len(all) != 1 || !errors.Is(all[0], context.DeadlineExceeded) {
		t.Errorf("got the outcomes %v", all)
	}
}
