// Package authority issues short-lived certificates for the demo and for tests.
// The authority exists in memory only: it has no revocation, and no certificate
// outlives a day.
package authority

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"time"
)

// certificateLife is how long certificates are valid, the authority's own
// included: longer than any test or demo runs.
const certificateLife = 24 * time.Hour

// CA is a certificate authority that exists in memory only. It is safe for
// concurrent use.
type CA struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
}

// New makes an authority.
func New() (*CA, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("generate CA key: %w", err)
	}
	ca := &CA{key: key, cert: unsigned("culvert short-lived CA")}
	ca.cert.IsCA, ca.cert.BasicConstraintsValid, ca.cert.MaxPathLenZero = true, true, true
	ca.cert.KeyUsage = x509.KeyUsageCertSign
	der, err := x509.CreateCertificate(rand.Reader, ca.cert, ca.cert, &key.PublicKey, key)
	if err != nil {
		return nil, fmt.Errorf("sign CA certificate: %w", err)
	}
	ca.cert, err = x509.ParseCertificate(der)
	return ca, err
}

func unsigned(name string) *x509.Certificate {
	serial, _ := rand.Int(rand.Reader, big.NewInt(1<<62)) // crypto/rand does not fail
	now := time.Now()
	return &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(certificateLife),
	}
}

// Certificate issues a server's certificate for the names, which may be IP
// addresses.
func (ca *CA) Certificate(names ...string) (*tls.Certificate, error) {
	return ca.CertificateOf("culvert", names...)
}

// CertificateOf is Certificate with a common name. The certificate is good for a
// server and for a client.
func (ca *CA) CertificateOf(commonName string, names ...string) (*tls.Certificate, error) {
	cert := unsigned(commonName)
	cert.KeyUsage = x509.KeyUsageDigitalSignature
	cert.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			cert.IPAddresses = append(cert.IPAddresses, ip)
			continue
		}
		cert.DNSNames = append(cert.DNSNames, name)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("generate key: %w", err)
	}
	der, err := x509.CreateCertificate(rand.Reader, cert, ca.cert, &key.PublicKey, ca.key)
	if err != nil {
		return nil, fmt.Errorf("sign certificate for %q: %w", names, err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}

// Pool returns a pool with the authority's certificate alone.
func (ca *CA) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(ca.cert)
	return pool
}

// PEM returns the authority's certificate for programs that read it from a file.
func (ca *CA) PEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.cert.Raw})
}
