package terminate

import (
	"crypto/tls"
	"errors"

	"golang.org/x/crypto/acme/autocert"
)

// ACME gets certificates from an authority such as Let's Encrypt, by proof
// over the port that the route is served on (TLS-ALPN-01, RFC 8737). Its
// Manager is shared by the routes of an account.
type ACME struct {
	Manager *autocert.Manager
}

var errNoCertificate = errors.New("no certificate for this name")

// certificateFor returns the certificate for a client: of the files if there
// are any, else of the authority.
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
