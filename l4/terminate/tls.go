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

// aead are the suites of TLS 1.2 that Intermediate has: ephemeral keys and
// authenticated encryption. Those of TLS 1.3 are Go's to choose.
var aead = []uint16{
	tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
	tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
	tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
}

// acmeProtocol is what a certificate authority offers that asks for the proof
// of TLS-ALPN-01 (RFC 8737).
const acmeProtocol = "acme-tls/1"

// tlsConfig returns a configuration of its own ticket keys: a session of one
// Config is never resumed by another.
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

// forProof chooses t for an authority, which has no certificate of its own to
// show. Its protocol is for nobody else: with Raw a client could otherwise not
// offer another one.
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

// asksForProof reports whether a hello is an authority's that asks for proof.
func asksForProof(hello *tls.ClientHelloInfo) bool {
	return len(hello.SupportedProtos) == 1 && hello.SupportedProtos[0] == acmeProtocol
}

// isProof reports whether the client is a certificate authority that asks for
// proof, and nothing else.
func isProof(state *tls.ConnectionState) bool {
	return strings.EqualFold(state.NegotiatedProtocol, acmeProtocol)
}
