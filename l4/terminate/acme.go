package terminate

import (
	"crypto/tls"
	"errors"

	"golang.org/x/crypto/acme/autocert"
)

// ACME obtains certificates from a certificate authority such as Let's Encrypt.
// The proof of control over the name is given on the port of the route itself
// (TLS-ALPN-01, RFC 8737). Routes of the same account share a Manager.
type ACME struct {
	Manager *autocert.Manager
}

var errNoCertificate = errors.New("no certificate for this name")

// certificateFor returns the certificate for a client. Certificates from files
// take precedence over those from ACME.
func (c *Config) certificateFor(hello *tls.ClientHelloInfo) (cert *tls.Certificate, err error) {
	if c.Certificates != nil && !asksForProof(hello) {
		return c.Certificates().For(hello)
	}
	if c.ACME == nil {
		return nil, errNoCertificate
	}
	client, ok := hello.Conn.(*clientConn)
	if !ok {
		return c.ACME.Manager.GetCertificate(hello)
	}
	// The authority checks the proof in handshakes that need slots, too.
	if e := client.withoutSlot(func() { cert, err = c.ACME.Manager.GetCertificate(hello) }); e != nil {
		return nil, e
	}
	return cert, err
}
