package config

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// termFiles makes what a terminating route names: a certificate that is its
// own authority, its key, and secrets.
var termFiles = sync.OnceValue(func() (dir string) {
	dir, err := os.MkdirTemp("", "culvert-config")
	if err != nil {
		panic(err)
	}
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ca"}, NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"a.example"},
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, SubjectKeyId: []byte{1},
	}
	cert := must(x509.CreateCertificate(rand.Reader, ca, ca, key.Public(), key))
	list := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: time.Now(), NextUpdate: time.Now().Add(time.Hour)}
	for name, text := range map[string][]byte{
		"cert.pem": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}),
		"key.pem":  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: must(x509.MarshalPKCS8PrivateKey(key))}),
		"ca.crl":   must(x509.CreateRevocationList(rand.Reader, list, ca, key)),
		"secrets":  []byte("current: 0123456789abcdef0123456789abcdef\n"),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			panic(err)
		}
	}
	return dir
})

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestMain(m *testing.M) {
	code := m.Run()
	_ = os.RemoveAll(termFiles())
	os.Exit(code)
}

func termFile(name string) string { return filepath.Join(termFiles(), name) }
