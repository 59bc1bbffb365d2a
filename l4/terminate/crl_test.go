package terminate

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"math/big"
	"testing"
	"time"
)

func staleCRL(t *testing.T, s *signer) []byte {
	t.Helper()
	return s.crl(t, crl{from: -2 * time.Hour, to: -time.Second})
}

func TestNewestCRLApplies(t *testing.T) {
	root := newRoot(t, "root")
	alice := root.newClient(t, "alice")
	revoked := []*signer{alice}
	first := root.crl(t, crl{number: 1, from: -3 * time.Hour, to: time.Hour})
	second := root.crl(t, crl{number: 2, from: -2 * time.Hour, to: time.Hour, revoked: revoked})
	third := root.crl(t, crl{number: 3, from: -time.Hour, to: time.Hour})
	sameNumber := root.crl(t, crl{number: 2, from: -time.Hour, to: time.Hour})
	backdated := root.crl(t, crl{number: 4, from: -4 * time.Hour, to: time.Hour, revoked: revoked})
	partA := root.crl(t, crl{number: 5, extensions: []pkix.Extension{issuingPoint(t, "a")}, revoked: revoked})
	partB := root.crl(t, crl{number: 6, extensions: []pkix.Extension{issuingPoint(t, "b")}})
	partA7 := root.crl(t, crl{number: 7, extensions: []pkix.Extension{issuingPoint(t, "a")}})

	tests := []struct {
		name string
		crls [][]byte
		want error
	}{
		{name: "revoked by the second list", crls: [][]byte{first, second}, want: ErrRevoked},
		{name: "revoked by the second list, other order", crls: [][]byte{second, first}, want: ErrRevoked},
		{name: "not revoked by the third list", crls: [][]byte{first, second, third}},
		{name: "not revoked by the third list, other order", crls: [][]byte{third, second, first}},
		{name: "one number, newer date", crls: [][]byte{second, sameNumber}},
		{name: "one number, newer date, other order", crls: [][]byte{sameNumber, second}},
		{name: "the number takes precedence over the date", crls: [][]byte{third, backdated}, want: ErrRevoked},
		{name: "in one file", crls: [][]byte{asPEM("X509 CRL", third, first, second)}},
		{name: "all parts apply", crls: [][]byte{partA, partB}, want: ErrRevoked},
		{name: "all parts apply, other order", crls: [][]byte{partB, partA}, want: ErrRevoked},
		{name: "a newer part replaces the older one", crls: [][]byte{partA, partB, partA7}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := mustLoad(t, pemOf(root), tt.crls...).Verify(chainOf(alice), time.Now())
			if !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
		})
	}
}

// issuingPoint returns the extension of a list that is one part of several. name
// is the path of its URI.
func issuingPoint(t testing.TB, name string) pkix.Extension {
	t.Helper()
	uri := asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 6, Bytes: []byte("http://crl.example/" + name)}
	fullName := asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 0, IsCompound: true, Bytes: marshalDER(t, uri)}
	point := asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 0, IsCompound: true, Bytes: marshalDER(t, fullName)}
	return pkix.Extension{Id: oidIssuingPoint, Critical: true, Value: marshalDER(t, []asn1.RawValue{point})}
}

// issuingFlag returns the extension with one of its booleans set.
func issuingFlag(t testing.TB, tag int) pkix.Extension {
	t.Helper()
	flag := asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: tag, Bytes: []byte{0xff}}
	return pkix.Extension{Id: oidIssuingPoint, Critical: true, Value: marshalDER(t, []asn1.RawValue{flag})}
}

func marshalDER(t testing.TB, v any) []byte {
	t.Helper()
	der, err := asn1.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func TestCRLRefused(t *testing.T) {
	root := newRoot(t, "root")
	ca := root.newCA(t, "issuing")
	other := newRoot(t, "root")
	mute := newRoot(t, "mute", withKeyUsage(x509.KeyUsageCertSign))
	alice := root.newClient(t, "alice")
	good := root.crl(t, crl{})
	extension := func(e pkix.Extension) []byte { return root.crl(t, crl{extensions: []pkix.Extension{e}}) }
	delta := pkix.Extension{Id: oidDeltaCRL, Critical: true, Value: marshalDER(t, 1)}
	unknown := pkix.Extension{Id: asn1.ObjectIdentifier{1, 2, 3}, Critical: true, Value: marshalDER(t, 1)}
	forged := bytes.Clone(good)
	forged[len(forged)-1] ^= 1

	muteWithout := *mute.Certificate
	muteWithout.KeyUsage = x509.KeyUsageCRLSign // required by CreateRevocationList
	muteCRL := (&signer{&muteWithout, mute.key}).crl(t, crl{})

	tests := []struct {
		name string
		text []byte
		want string // "" if the list is accepted
	}{
		{"in DER", good, ""},
		{"in PEM", asPEM("X509 CRL", good), ""},
		{"in PEM below its text", append([]byte("Certificate Revocation List\n"), asPEM("X509 CRL", good)...), ""},
		{"a part", extension(issuingPoint(t, "a")), ""},
		{"for users only", extension(issuingFlag(t, 1)), ""},
		{"unknown, not critical", extension(pkix.Extension{Id: unknown.Id, Value: unknown.Value}), ""},
		{"empty", nil, "contains no X509 CRL"},
		{"neither form", []byte("0 revoked certificates\n"), "contains no X509 CRL"},
		{"DER cut short", good[:len(good)-1], "list 1"},
		{"DER and more", append(bytes.Clone(good), 0), "data after the list"},
		{"PEM cut short", asPEM("X509 CRL", good)[:200], "cut short"},
		{"the second cut short", append(asPEM("X509 CRL", good), asPEM("X509 CRL", good)[:200]...), "cut short"},
		{"a certificate", pemOf(root), "contains a CERTIFICATE"},
		{"signature wrong", forged, "not signed by a CA of the CA file"},
		{"of an unknown CA", ca.crl(t, crl{}), "not signed by a CA of the CA file"},
		{"of a CA of the same name", other.crl(t, crl{}), "not signed by a CA of the CA file"},
		{"of a CA without CRL signing", muteCRL, "key usage"},
		{"delta", extension(delta), "delta"},
		{"delta, not critical", extension(pkix.Extension{Id: delta.Id, Value: delta.Value}), "delta"},
		{"indirect", extension(issuingFlag(t, 4)), "indirect"},
		{"of attributes", extension(issuingFlag(t, 5)), "attribute"},
		{"issuing point malformed", extension(pkix.Extension{Id: oidIssuingPoint, Critical: true, Value: []byte{1}}), "malformed"},
		{"unknown and critical", extension(unknown), "critical extension 1.2.3"},
		{"unknown and critical in an entry", root.crl(t, crl{revoked: []*signer{alice}, ofEntries: []pkix.Extension{unknown}}), "critical extension 1.2.3 of an entry"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := tryLoad(t, pemOf(root, mute), tt.text)
			wantLoadError(t, err, "0.crl", tt.want)
		})
	}
}

func TestCRLOfManyEntries(t *testing.T) {
	root := newRoot(t, "root")
	var revoked []*signer
	for n := range int64(20_000) {
		revoked = append(revoked, &signer{Certificate: &x509.Certificate{SerialNumber: big.NewInt(n + 1)}})
	}
	auth := mustLoad(t, pemOf(root), root.crl(t, crl{revoked: revoked}))
	for n, want := range map[int64]error{1: ErrRevoked, 20_000: ErrRevoked, 20_001: nil} {
		if err := auth.Verify(chainOf(root.newClient(t, "c", withSerial(n))), time.Now()); !errors.Is(err, want) {
			t.Errorf("serial number %d: got %v, want %v", n, err, want)
		}
	}
}
