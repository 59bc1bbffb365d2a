package l4

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// origin is a server that handles each connection with serve, in a goroutine,
// and closes it afterwards.
type origin struct {
	addr     string
	accepted atomic.Int64
	ln       net.Listener
	wg       sync.WaitGroup
	mu       sync.Mutex
	conns    map[net.Conn]bool
}

func startOrigin(t testing.TB, serve func(net.Conn)) *origin {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return serveOrigin(t, ln, serve)
}

func serveOrigin(t testing.TB, ln net.Listener, serve func(net.Conn)) *origin {
	o := &origin{addr: ln.Addr().String(), ln: ln, conns: map[net.Conn]bool{}}
	o.wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			o.accepted.Add(1)
			o.mu.Lock()
			o.conns[c] = true
			o.mu.Unlock()
			o.wg.Go(func() {
				_ = c.SetDeadline(time.Now().Add(3 * patience))
				serve(c)
				c.Close()
				o.mu.Lock()
				delete(o.conns, c)
				o.mu.Unlock()
			})
		}
	})
	t.Cleanup(o.stop)
	return o
}

// stop closes the listener and every connection.
func (o *origin) stop() {
	o.ln.Close()
	o.mu.Lock()
	for c := range o.conns {
		c.Close()
	}
	o.mu.Unlock()
	o.wg.Wait()
}

// echo returns what it gets and ends when the client ends. The wrappers keep
// io.Copy from splicing: its pipes would outlive the connection.
func echo(c net.Conn) { _, _ = io.Copy(struct{ io.Writer }{c}, struct{ io.Reader }{c}) }

// tlsEcho is echo behind a TLS handshake.
func tlsEcho(t testing.TB) func(net.Conn) {
	cfg := &tls.Config{Certificates: []tls.Certificate{certificate(t)}, NextProtos: []string{"h2", "http/1.1"}}
	return func(c net.Conn) {
		s := tls.Server(c, cfg)
		_, _ = io.Copy(s, s)
		s.Close()
	}
}

// reset closes c so that the peer gets a reset.
func reset(c net.Conn) {
	_ = c.(*net.TCPConn).SetLinger(0)
	c.Close()
}

// refusedAddr is a loopback address on which nobody listens.
func refusedAddr(t testing.TB) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

var makeCertificate = sync.OnceValues(func() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	tpl := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"chat.example.com"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tpl, tpl, &key.PublicKey, key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
})

func certificate(t testing.TB) tls.Certificate {
	t.Helper()
	c, err := makeCertificate()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// helloFor returns the bytes of the first flight of a crypto/tls client.
func helloFor(t testing.TB, cfg *tls.Config) []byte {
	t.Helper()
	near, far := net.Pipe()
	defer near.Close()
	go func() { _ = tls.Client(far, cfg).Handshake(); far.Close() }()
	buf := make([]byte, 64<<10)
	n, err := near.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	return buf[:n]
}

// chatHello is the hello of a client that asks for chat.example.com.
func chatHello(t testing.TB) []byte {
	return helloFor(t, &tls.Config{ServerName: "chat.example.com", InsecureSkipVerify: true})
}
