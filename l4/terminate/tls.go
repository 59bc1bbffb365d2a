package terminate

import (
	"crypto/tls"
	"slices"
	"strings"
)

// Profile is a set of TLS versions and cipher suites.
type Profile string

// The profiles, after Mozilla's guidelines for servers (version 5.7).
const (
	Intermediate Profile = "intermediate" // TLS 1.2 and 1.3
	Modern       Profile = "modern"       // TLS 1.3
)

// aead are the TLS 1.2 cipher suites of Intermediate, with ephemeral keys and
// authenticated encryption. The suites of TLS 1.3 are chosen by crypto/tls.
var aead = []uint16{
	tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
	tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
	tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
}

// acmeProtocol is the ALPN protocol that a certificate authority offers in a
// TLS-ALPN-01 challenge (RFC 8737).
const acmeProtocol = "acme-tls/1"

// tlsConfig returns a configuration with its own ticket keys: a session of one
// Config cannot be resumed by another.
func (c *Config) tlsConfig(get func(*tls.ClientHelloInfo) (*tls.Certificate, error)) *tls.Config {
	t := &tls.Config{
		GetCertificate: get,
		MinVersion:     tls.VersionTLS12,
		CipherSuites:   slices.Clone(aead),
	}
	if !c.Raw {
		t.NextProtos = []string{"h2", "http/1.1"}
	}
	if c.Profile == Modern {
		t.MinVersion = tls.VersionTLS13
	}
	if c.ACME != nil {
		t.GetConfigForClient = forProof(t.Clone())
	}
	if c.Clients != nil {
		c.Clients.Configure(t)
	}
	return t
}

// forProof uses t for challenges of a certificate authority, which has no client
// certificate. t offers only the challenge protocol, which is offered to no
// other client: with Raw, a client could otherwise offer no other protocol.
func forProof(t *tls.Config) func(*tls.ClientHelloInfo) (*tls.Config, error) {
	t.NextProtos = []string{acmeProtocol}
	t.SessionTicketsDisabled = true
	return func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		if asksForProof(hello) {
			return t, nil
		}
		return nil, nil
	}
}

// asksForProof reports whether a ClientHello is a challenge of a certificate
// authority.
func asksForProof(hello *tls.ClientHelloInfo) bool {
	return len(hello.SupportedProtos) == 1 && hello.SupportedProtos[0] == acmeProtocol
}

// isProof reports whether a connection is a challenge of a certificate
// authority. Such a connection is closed after the handshake.
func isProof(state *tls.ConnectionState) bool {
	return strings.EqualFold(state.NegotiatedProtocol, acmeProtocol)
}
