package terminate

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"time"
)

// KeyPair names the PEM files of a certificate, including its chain, and of its
// private key.
type KeyPair struct{ Certificate, Key string }

// Certificates are the certificates of a route. They are immutable.
type Certificates struct{ pairs []tls.Certificate }

// LoadCertificates reads key pairs. A certificate and a key that do not match
// are an error.
func LoadCertificates(files []KeyPair) (*Certificates, error) {
	if len(files) == 0 {
		return nil, errors.New("no certificate")
	}
	c := &Certificates{}
	for _, f := range files {
		pair, err := loadPair(f)
		if err != nil {
			return nil, err
		}
		c.pairs = append(c.pairs, pair)
	}
	return c, nil
}

func loadPair(f KeyPair) (tls.Certificate, error) {
	cert, err := os.ReadFile(f.Certificate)
	if err != nil {
		return tls.Certificate{}, err
	}
	key, err := os.ReadFile(f.Key)
	if err != nil {
		return tls.Certificate{}, err
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err == nil && bytes.Count(cert, []byte("-----BEGIN CERTIFICATE-----")) != len(pair.Certificate) {
		err = errors.New("a certificate of the chain is malformed")
	}
	if err != nil {
		return pair, fmt.Errorf("%s with %s: %w", f.Certificate, f.Key, err)
	}
	return pair, nil
}

// filesOf returns the names of all files of the pairs.
func filesOf(pairs []KeyPair) (all []string) {
	for _, p := range pairs {
		all = append(all, p.Certificate, p.Key)
	}
	return all
}

// For returns the first certificate that matches the name that the client asks
// for and the algorithms that it supports, or the first of all. The error is
// always nil.
func (c *Certificates) For(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	for i := range c.pairs {
		if hello.SupportsCertificate(&c.pairs[i]) == nil {
			return &c.pairs[i], nil
		}
	}
	return &c.pairs[0], nil
}

// Leaves returns the certificates without their chains.
func (c *Certificates) Leaves() (all []*x509.Certificate) {
	for _, p := range c.pairs {
		all = append(all, p.Leaf)
	}
	return all
}

// Expires returns when the first of the certificates expires.
func (c *Certificates) Expires() time.Time {
	var first time.Time
	for _, leaf := range c.Leaves() {
		if first.IsZero() || leaf.NotAfter.Before(first) {
			first = leaf.NotAfter
		}
	}
	return first
}

// LoadRoots reads a PEM file with the CAs that certificates of servers are
// verified against.
func LoadRoots(file string) (*x509.CertPool, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%s contains no PEM certificate", file)
	}
	return pool, nil
}

// First returns the first certificate.
func (c *Certificates) First() *tls.Certificate { return &c.pairs[0] }

// FollowCertificates is like LoadCertificates and reloads the files when they
// change.
func FollowCertificates(pairs []KeyPair) (*Followed[*Certificates], error) {
	return Follow(filesOf(pairs), func() (*Certificates, error) { return LoadCertificates(pairs) })
}
