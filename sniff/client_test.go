package sniff

import (
	"bytes"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// sample is the first flight of a real client and what the client was configured
// to request.
type sample struct {
	name       string
	wire       []byte
	serverName string
	alpn       []string
	ech, psk   bool
}

// goSamples returns hellos that crypto/tls makes.
func goSamples(t testing.TB) []sample {
	const name = "chat.example.com"
	protos := []string{"h2", "http/1.1"}
	config := func(change func(*tls.Config)) *tls.Config {
		c := &tls.Config{ServerName: name, NextProtos: protos}
		change(c)
		return c
	}
	return []sample{
		{name: "post-quantum", serverName: name, alpn: protos,
			wire: firstFlight(t, config(func(*tls.Config) {}))},
		{name: "X25519 only", serverName: name, alpn: protos,
			wire: firstFlight(t, config(func(c *tls.Config) { c.CurvePreferences = []tls.CurveID{tls.X25519} }))},
		{name: "TLS 1.2", serverName: name, alpn: protos,
			wire: firstFlight(t, config(func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }))},
		{name: "TLS 1.0", serverName: name, alpn: protos,
			wire: firstFlight(t, config(func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS10 }))},
		{name: "no name, no ALPN",
			wire: firstFlight(t, &tls.Config{InsecureSkipVerify: true})},
		{name: "ECH", serverName: "public.example.org", alpn: protos, ech: true,
			wire: firstFlight(t, config(func(c *tls.Config) { c.EncryptedClientHelloConfigList = echConfigList(t) }))},
		{name: "resumption", serverName: name, psk: true, wire: resumption(t, nil)},
		{name: "resumption with a 12 KiB ticket", serverName: name, psk: true,
			wire: resumption(t, bytes.Repeat([]byte("ticket"), 2048))},
	}
}

// fileSamples returns the captures in testdata. They were taken with a
// listener that keeps the first bytes, on Debian 12:
//
//	openssl s_client -connect 127.0.0.1:PORT -servername chat.example.com -alpn h2,http/1.1
//	openssl s_client -connect 127.0.0.1:PORT -noservername -tls1_2
//	curl -k --resolve chat.example.com:PORT:127.0.0.1 https://chat.example.com:PORT/
func fileSamples(t testing.TB) []sample {
	const name = "chat.example.com"
	samples := []sample{
		{name: "openssl-3.0-tls13", serverName: name, alpn: []string{"h2", "http/1.1"}},
		{name: "openssl-3.0-tls12-noname"},
		{name: "curl-7.88", serverName: name, alpn: []string{"h2", "http/1.1"}},
	}
	for i, s := range samples {
		wire, err := os.ReadFile(filepath.Join("testdata", s.name+".bin"))
		if err != nil {
			t.Fatal(err)
		}
		samples[i].wire = wire
	}
	return samples
}

func allSamples(t testing.TB) []sample { return append(goSamples(t), fileSamples(t)...) }

// firstFlight returns what a crypto/tls client sends before it receives
// anything.
func firstFlight(t testing.TB, config *tls.Config) []byte {
	t.Helper()
	client, server := net.Pipe()
	defer server.Close()
	go func() {
		tls.Client(client, config).Handshake()
		client.Close()
	}()
	return read(t, server)
}

// read returns what one Write on the other end of a net.Pipe carries.
func read(t testing.TB, c net.Conn) []byte {
	t.Helper()
	buf := make([]byte, 64<<10)
	n, err := c.Read(buf)
	if err != nil {
		t.Fatalf("read the hello: %v", err)
	}
	return buf[:n]
}

// resumption returns the hello of a client that resumes a session. If ticket is
// not nil the server issues it as the session's ticket.
func resumption(t testing.TB, ticket []byte) []byte {
	t.Helper()
	serverConfig := &tls.Config{Certificates: []tls.Certificate{selfSigned(t)}}
	if ticket != nil {
		serverConfig.WrapSession = func(tls.ConnectionState, *tls.SessionState) ([]byte, error) { return ticket, nil }
	}
	clientConfig := &tls.Config{
		ServerName:         "chat.example.com",
		InsecureSkipVerify: true,
		ClientSessionCache: tls.NewLRUClientSessionCache(1),
	}
	l, err := net.Listen("tcp", "127.0.0.1:0") // net.Pipe has no buffer for the tickets
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	done := make(chan error, 1)
	go func() {
		conn, err := l.Accept()
		if err == nil {
			defer conn.Close()
			_, err = tls.Server(conn, serverConfig).Write([]byte("x"))
		}
		done <- err
	}()
	conn, err := tls.Dial("tcp", l.Addr().String(), clientConfig)
	if err != nil {
		t.Fatalf("first handshake: %v", err)
	}
	defer conn.Close()
	if _, err := conn.Read(make([]byte, 1)); err != nil { // the ticket precedes the byte
		t.Fatalf("first handshake: %v", err)
	}
	if err := <-done; err != nil {
		t.Fatalf("server of the first handshake: %v", err)
	}
	return firstFlight(t, clientConfig)
}

func selfSigned(t testing.TB) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// echConfigList returns a list of one ECH configuration whose public name is
// public.example.org, with X25519, HKDF-SHA256 and AES-128-GCM.
func echConfigList(t testing.TB) []byte {
	t.Helper()
	key, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	contents := append([]byte{1}, u16list(0x0020)...) // config id, KEM
	contents = append(contents, vec16(key.PublicKey().Bytes())...)
	contents = append(contents, vec16(u16list(1, 1))...) // KDF, AEAD
	contents = append(contents, 32)                      // longest name
	contents = append(contents, vec8([]byte("public.example.org"))...)
	contents = append(contents, vec16(nil)...)
	return vec16(ext(extECH, contents))
}
