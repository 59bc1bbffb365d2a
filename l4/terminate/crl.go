package terminate

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
	"time"
)

// Extensions of revocation lists that are interpreted, RFC 5280 section 5.2.
var (
	oidAuthorityKeyID = asn1.ObjectIdentifier{2, 5, 29, 35}
	oidCRLNumber      = asn1.ObjectIdentifier{2, 5, 29, 20}
	oidDeltaCRL       = asn1.ObjectIdentifier{2, 5, 29, 27}
	oidIssuingPoint   = asn1.ObjectIdentifier{2, 5, 29, 28}
)

// revocations is the content of one revocation list.
type revocations struct {
	serials    map[string]struct{} // big-endian bytes of the serial numbers
	number     *big.Int            // nil: the list has none
	thisUpdate time.Time
	nextUpdate time.Time // zero: the list never expires
	scope      string    // the issuing distribution point, "" for none
}

func (a *Authorities) revokes(ca, c *x509.Certificate) bool {
	for _, list := range a.revocations[issuerOf(ca)] {
		if _, ok := list.serials[string(c.SerialNumber.Bytes())]; ok {
			return true
		}
	}
	return false
}

func (a *Authorities) addLists(file string, cas []*x509.Certificate) error {
	text, err := readBounded(file)
	if err != nil {
		return err
	}
	blocks := [][]byte{text}
	if !isLongDER(text) {
		if blocks, err = pemBlocks(text, "X509 CRL"); err != nil {
			return err
		}
	}
	for i, der := range blocks {
		if err := a.addList(der, cas); err != nil {
			return fmt.Errorf("list %d: %w", i+1, err)
		}
	}
	return nil
}

// isLongDER reports whether data begins like a DER sequence of 128 bytes or
// more, as every revocation list in DER does and no text does.
func isLongDER(data []byte) bool {
	return len(data) > 1 && data[0] == 0x30 && data[1] >= 0x80
}

func (a *Authorities) addList(der []byte, cas []*x509.Certificate) error {
	crl, err := x509.ParseRevocationList(der)
	if err != nil {
		return err
	}
	if len(crl.Raw) != len(der) { // crypto/x509 ignores trailing data, for example a second list
		return errors.New("data after the list")
	}
	ca, err := signerOf(crl, cas)
	if err != nil {
		return err
	}
	list, err := readRevocations(crl)
	if err != nil {
		return fmt.Errorf("list of %q: %w", crl.Issuer, err)
	}
	by := issuerOf(ca)
	for i, other := range a.revocations[by] {
		if other.scope != list.scope {
			continue
		}
		if list.isNewer(other) {
			a.revocations[by][i] = list
		}
		return nil
	}
	a.revocations[by] = append(a.revocations[by], list)
	return nil
}

// signerOf returns the CA whose key signed a list. Names are not sufficient:
// see issuer.
func signerOf(crl *x509.RevocationList, cas []*x509.Certificate) (*x509.Certificate, error) {
	cause := errors.New("no CA has the name of the issuer")
	for _, ca := range cas {
		if !bytes.Equal(crl.RawIssuer, ca.RawSubject) {
			continue
		}
		if ca.KeyUsage != 0 && ca.KeyUsage&x509.KeyUsageCRLSign == 0 {
			cause = errors.New("key usage does not permit signing revocation lists")
			continue
		}
		if cause = crl.CheckSignatureFrom(ca); cause == nil {
			return ca, nil
		}
	}
	return nil, fmt.Errorf("list of %q: not signed by a CA of the CA file: %w", crl.Issuer, cause)
}

func (r *revocations) isNewer(than *revocations) bool {
	if r.number != nil && than.number != nil && r.number.Cmp(than.number) != 0 {
		return r.number.Cmp(than.number) > 0
	}
	return r.thisUpdate.After(than.thisUpdate)
}

func readRevocations(crl *x509.RevocationList) (*revocations, error) {
	r := &revocations{
		serials:    make(map[string]struct{}, len(crl.RevokedCertificateEntries)),
		number:     crl.Number,
		thisUpdate: crl.ThisUpdate,
		nextUpdate: crl.NextUpdate,
	}
	for _, e := range crl.Extensions {
		switch {
		case e.Id.Equal(oidDeltaCRL):
			return nil, errors.New("delta list, a complete one is required")
		case e.Id.Equal(oidIssuingPoint):
			if err := checkIssuingPoint(e.Value); err != nil {
				return nil, err
			}
			r.scope = string(e.Value)
		case e.Critical && !e.Id.Equal(oidAuthorityKeyID) && !e.Id.Equal(oidCRLNumber):
			return nil, fmt.Errorf("unknown critical extension %s", e.Id)
		}
	}
	for _, entry := range crl.RevokedCertificateEntries {
		for _, e := range entry.Extensions {
			if e.Critical { // for example the certificate issuer of an indirect list
				return nil, fmt.Errorf("unknown critical extension %s of an entry", e.Id)
			}
		}
		r.serials[string(entry.SerialNumber.Bytes())] = struct{}{}
	}
	return r, nil
}

// checkIssuingPoint refuses lists that do not cover the certificates of the CA
// that signed them: field 4 of the extension is indirectCRL, field 5 is
// onlyContainsAttributeCerts (RFC 5280 section 5.2.5).
func checkIssuingPoint(der []byte) error {
	var fields []asn1.RawValue
	if rest, err := asn1.Unmarshal(der, &fields); err != nil || len(rest) > 0 {
		return errors.New("malformed issuing distribution point")
	}
	for _, f := range fields {
		if isTrue := !bytes.Equal(f.Bytes, []byte{0}); !isTrue {
			continue
		}
		if f.Tag == 4 {
			return errors.New("indirect list, for certificates of several CAs")
		}
		if f.Tag == 5 {
			return errors.New("list of attribute certificates only")
		}
	}
	return nil
}
