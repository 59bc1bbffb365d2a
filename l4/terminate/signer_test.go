package terminate

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
	"os"
	"path/filepath"
	"testing"
	"time"
)

// A signer is a CA that exists only in memory, or a client with its key.
type signer struct {
	*x509.Certificate
	key *ecdsa.PrivateKey
}

// certChange changes a certificate before it is signed.
type certChange func(*x509.Certificate)

func validFrom(from, to time.Duration) certChange {
	return func(c *x509.Certificate) { c.NotBefore, c.NotAfter = time.Now().Add(from), time.Now().Add(to) }
}

func withSerial(n int64) certChange {
	return func(c *x509.Certificate) { c.SerialNumber = big.NewInt(n) }
}

func withUsage(u ...x509.ExtKeyUsage) certChange {
	return func(c *x509.Certificate) { c.ExtKeyUsage = u }
}

func withKeyUsage(u x509.KeyUsage) certChange { return func(c *x509.Certificate) { c.KeyUsage = u } }

func withSubject(der []byte) certChange { return func(c *x509.Certificate) { c.RawSubject = der } }

func asCA(c *x509.Certificate) {
	c.IsCA, c.BasicConstraintsValid = true, true
	c.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	c.ExtKeyUsage = nil
}

// newRoot returns a self-signed CA, valid from a day ago until in a day.
func newRoot(t testing.TB, name string, changes ...certChange) *signer {
	t.Helper()
	return signCert(t, nil, nil, name, append([]certChange{asCA, validFrom(-24*time.Hour, 24*time.Hour)}, changes...))
}

func (s *signer) newCA(t testing.TB, name string, changes ...certChange) *signer {
	t.Helper()
	return signCert(t, s, nil, name, append([]certChange{asCA, validFrom(-24*time.Hour, 24*time.Hour)}, changes...))
}

// newClient returns a client certificate, valid from an hour ago until in an
// hour.
func (s *signer) newClient(t testing.TB, name string, changes ...certChange) *signer {
	t.Helper()
	return signCert(t, s, nil, name, changes)
}

// signCert returns a certificate for key, signed by by. A nil key means a new
// one, a nil signer means self-signed.
func signCert(t testing.TB, by *signer, key *ecdsa.PrivateKey, name string, changes []certChange) *signer {
	t.Helper()
	if key == nil {
		key = newKey(t)
	}
	number, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 100))
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: number,
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(time.Hour),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	for _, c := range changes {
		c(template)
	}
	if by == nil {
		by = &signer{template, key}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, by.Certificate, &key.PublicKey, by.key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &signer{cert, key}
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// tls returns what a client sends: its certificate and intermediates.
func (s *signer) tls(between ...*signer) tls.Certificate {
	c := tls.Certificate{Certificate: [][]byte{s.Raw}, PrivateKey: s.key}
	for _, ca := range between {
		c.Certificate = append(c.Certificate, ca.Raw)
	}
	return c
}

// A crl describes a revocation list. The zero value is number 1, valid from an
// hour ago until in an hour, and revokes nothing.
type crl struct {
	number     int64
	from, to   time.Duration // from now
	revoked    []*signer
	extensions []pkix.Extension
	ofEntries  []pkix.Extension
}

func (s *signer) crl(t testing.TB, want crl) []byte {
	t.Helper()
	if want.from == 0 && want.to == 0 {
		want.from, want.to = -time.Hour, time.Hour
	}
	list := &x509.RevocationList{
		Number:          big.NewInt(max(want.number, 1)),
		ThisUpdate:      time.Now().Add(want.from),
		NextUpdate:      time.Now().Add(want.to),
		ExtraExtensions: want.extensions,
	}
	for _, c := range want.revoked {
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries, x509.RevocationListEntry{
			SerialNumber: c.SerialNumber, RevocationTime: time.Now().Add(-time.Minute), ReasonCode: 1, ExtraExtensions: want.ofEntries,
		})
	}
	der, err := x509.CreateRevocationList(rand.Reader, list, s.Certificate, s.key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func asPEM(kind string, ders ...[]byte) []byte {
	var text []byte
	for _, der := range ders {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})...)
	}
	return text
}

func pemOf(cas ...*signer) []byte {
	var text []byte
	for _, ca := range cas {
		text = append(text, asPEM("CERTIFICATE", ca.Raw)...)
	}
	return text
}

func tempFile(t testing.TB, name string, text []byte) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "culvert") // not t.TempDir, whose path contains the test name and would be in errors
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	file := filepath.Join(dir, name)
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// tryLoad loads CAs in PEM and lists in PEM or DER, each from a file of its own.
func tryLoad(t testing.TB, cas []byte, crls ...[]byte) (*Authorities, error) {
	t.Helper()
	var files []string
	for i, text := range crls {
		files = append(files, tempFile(t, fmt.Sprintf("%d.crl", i), text))
	}
	return LoadAuthorities(tempFile(t, "ca.pem", cas), files)
}

func mustLoad(t testing.TB, cas []byte, crls ...[]byte) *Authorities {
	t.Helper()
	a, err := tryLoad(t, cas, crls...)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func chainOf(certs ...*signer) []*x509.Certificate {
	var chain []*x509.Certificate
	for _, c := range certs {
		chain = append(chain, c.Certificate)
	}
	return chain
}
