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

// KeyPair names the files of a certificate, with its chain, and of its key,
// both in PEM.
type KeyPair struct{ Certificate, Key string }

// Certificates are those a route has. Immutable.
type Certificates struct{ pairs []tls.Certificate }

// LoadCertificates reads key pairs. A certificate and a key that do not belong
// together are an error.
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
		err = errors.New("a certificate of the chain cannot be read")
	}
	if err != nil {
		return pair, fmt.Errorf("%s with %s: %w", f.Certificate, f.Key, err)
	}
	return pair, nil
}

// filesOf lists the files of key pairs.
func filesOf(pairs []KeyPair) (all []string) {
	for _, p := range pairs {
		all = append(all, p.Certificate, p.Key)
	}
	return all
}

// For returns the first certificate that suits the client, by name and by what
// it can verify, or the first of all.
func (c *Certificates) For(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	for i := range c.pairs {
		if hello.SupportsCertificate(&c.pairs[i]) == nil {
			return &c.pairs[i], nil
		}
	}
	return &c.pairs[0], nil
}

// Leaves returns the certificates themselves.
func (c *Certificates) Leaves() (all []*x509.Certificate) {
	for _, p := range c.pairs {
		all = append(all, p.Leaf)
	}
	return all
}

// Expires returns when the first of them expires.
func (c *Certificates) Expires() time.Time {
	var first time.Time
	for _, leaf := range c.Leaves() {
		if first.IsZero() || leaf.NotAfter.Before(first) {
			first = leaf.NotAfter
		}
	}
	return first
}

// LoadRoots reads certificate authorities in PEM that servers are verified by.
func LoadRoots(file string) (*x509.CertPool, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%s has no certificate in PEM", file)
	}
	return pool, nil
}

// First returns the first certificate.
func (c *Certificates) First() *tls.Certificate { return &c.pairs[0] }

// FollowCertificates is LoadCertificates, again when the files change.
func FollowCertificates(pairs []KeyPair) (*Followed[*Certificates], error) {
	return Follow(filesOf(pairs), func() (*Certificates, error) { return LoadCertificates(pairs) })
}
