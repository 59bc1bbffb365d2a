package origin

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"math/big"
	"net"
	"time"
)

// LoginReply is the size in bytes of the reply to a request over TLS.
const LoginReply = 2000

// logIn answers one request over TLS and closes the connection.
func logIn(c net.Conn) error {
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(orderTimeout))
	buf := make([]byte, LoginReply)
	if _, err := io.ReadFull(c, buf[:RequestSize]); err != nil {
		return err
	}
	_, err := c.Write(buf)
	return err
}

// tlsConfig returns a configuration with a new certificate and without
// resumption, so that every handshake is a full one.
func tlsConfig() (*tls.Config, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "culvert-bench"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		Certificates:           []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}},
		SessionTicketsDisabled: true,
	}, nil
}
