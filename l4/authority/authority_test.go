package authority

import (
	"crypto/x509"
	"testing"
)

// A certificate is good for its names, and no authority.
func TestAuthorityIsTrustedForItsNamesOnly(t *testing.T) {
	ca, err := New()
	if err != nil {
		t.Fatal(err)
	}
	cert, err := ca.CertificateOf("chat-1", "chat.culvert.test")
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(cert.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca.PEM()) {
		t.Fatal("the PEM is not a certificate")
	}
	for name, ok := range map[string]bool{"chat.culvert.test": true, "other.culvert.test": false} {
		_, err := leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: name})
		if (err == nil) != ok {
			t.Errorf("%s: %v", name, err)
		}
	}
	if leaf.IsCA {
		t.Error("a server's certificate can sign")
	}
}
