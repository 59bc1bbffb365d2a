package peer

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
	"slices"
	"time"
)

// Secret is the pre-auth secret that requests for EndedName must have.
const Secret = "3b1f8ac2d94e4f0fa6c17d52e88b90e4"

// The files of a peer that terminates TLS.
const (
	certificateFile = "apps.crt"
	keyFile         = "apps.key"
	bothFile        = "apps.pem" // certificate and key in one file, for HAProxy
	secretFile      = "preauth"
)

// writeIdentity writes a new self-signed P-256 certificate, its key, and the
// secret.
func writeIdentity(dir string) error {
	certificate, key, err := makeIdentity()
	if err != nil {
		return err
	}
	for name, text := range map[string][]byte{
		certificateFile: certificate, keyFile: key, bothFile: slices.Concat(certificate, key), secretFile: []byte(Secret + "\n"),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			return err
		}
	}
	return nil
}

func makeIdentity() (certificate, key []byte, err error) {
	secret, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: EndedName}, DNSNames: []string{EndedName},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, secret.Public(), secret)
	if err != nil {
		return nil, nil, err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(secret)
	if err != nil {
		return nil, nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), nil
}
