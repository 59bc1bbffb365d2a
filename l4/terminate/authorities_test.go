package terminate

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A signer is a CA that exists in memory only, or a client with its key.
type signer struct {
	*x509.Certificate
	key *ecdsa.PrivateKey
}

// certChange is what a test wants different about a certificate.
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

// newRoot makes a self-signed CA, valid for a day from a day ago.
func newRoot(t testing.TB, name string, changes ...certChange) *signer {
	t.Helper()
	return signCert(t, nil, nil, name, append([]certChange{asCA, validFrom(-24*time.Hour, 24*time.Hour)}, changes...))
}

func (s *signer) newCA(t testing.TB, name string, changes ...certChange) *signer {
	t.Helper()
	return signCert(t, s, nil, name, append([]certChange{asCA, validFrom(-24*time.Hour, 24*time.Hour)}, changes...))
}

// newClient makes a client's certificate, valid for two hours from an hour ago.
func (s *signer) newClient(t testing.TB, name string, changes ...certChange) *signer {
	t.Helper()
	return signCert(t, s, nil, name, changes)
}

// signCert makes a certificate for a key, nil for a new one, by a signer, nil for
// itself.
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

// tls returns what the client sends: its certificate and the intermediates.
func (s *signer) tls(between ...*signer) tls.Certificate {
	c := tls.Certificate{Certificate: [][]byte{s.Raw}, PrivateKey: s.key}
	for _, ca := range between {
		c.Certificate = append(c.Certificate, ca.Raw)
	}
	return c
}

// A crl is a revocation list to be; the zero value is number 1, of an hour ago,
// for two hours, and revokes nothing.
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
	dir, err := os.MkdirTemp("", "culvert") // not t.TempDir, whose name would be in errors
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

// tryLoad loads CAs in PEM and lists in either form, a file for each.
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

func TestAuthoritiesVerify(t *testing.T) {
	root := newRoot(t, "root")
	ca := root.newCA(t, "issuing")
	alice, bob := ca.newClient(t, "alice"), root.newClient(t, "bob")
	mallory := newRoot(t, "root").newClient(t, "alice") // a CA of the same name with another key
	renewed := signCert(t, nil, root.key, "root", []certChange{asCA})
	oldRoot := newRoot(t, "old", validFrom(-24*time.Hour, -time.Minute))
	newerRoot := newRoot(t, "new", validFrom(time.Hour, 24*time.Hour))
	oldCA := root.newCA(t, "old issuing", validFrom(-24*time.Hour, -time.Minute))
	serverCA := root.newCA(t, "servers", withUsage(x509.ExtKeyUsageServerAuth))
	plain := root.newClient(t, "no CA", withKeyUsage(x509.KeyUsageDigitalSignature))
	long := []*signer{bob}
	for range maxSentChain {
		long = append(long, ca)
	}

	tests := []struct {
		name  string
		cas   []byte
		crls  [][]byte
		chain []*x509.Certificate
		want  error
	}{
		{name: "of the root", cas: pemOf(root), chain: chainOf(bob)},
		{name: "intermediate sent", cas: pemOf(root), chain: chainOf(alice, ca)},
		{name: "intermediate and root sent, in any order", cas: pemOf(root), chain: chainOf(alice, root, ca)},
		{name: "intermediate in the file", cas: pemOf(root, ca), chain: chainOf(alice)},
		{name: "intermediate in the file, before its root", cas: pemOf(ca, root), chain: chainOf(alice)},
		{name: "intermediate in the file without its root", cas: pemOf(ca), chain: chainOf(alice)},
		{name: "a CA twice in the file", cas: pemOf(root, root), chain: chainOf(bob)},
		{name: "a root twice in the file, renewed with its key", cas: pemOf(root, renewed), chain: chainOf(bob)},
		{name: "for any use", cas: pemOf(root), chain: chainOf(root.newClient(t, "c", withUsage(x509.ExtKeyUsageAny)))},
		{name: "use not said", cas: pemOf(root), chain: chainOf(root.newClient(t, "c", withUsage()))},
		{name: "nothing sent", cas: pemOf(root), want: ErrNoCertificate},
		{name: "intermediate missing", cas: pemOf(root), chain: chainOf(alice), want: ErrUntrusted},
		{name: "another CA", cas: pemOf(ca), chain: chainOf(bob), want: ErrUntrusted},
		{name: "a CA of the same name, another key", cas: pemOf(root), chain: chainOf(mallory), want: ErrUntrusted},
		{name: "self-signed", cas: pemOf(root), chain: chainOf(newRoot(t, "bob")), want: ErrUntrusted},
		{name: "of a certificate that is no CA", cas: pemOf(root), chain: chainOf(plain.newClient(t, "c"), plain), want: ErrUntrusted},
		{name: "of a CA for servers", cas: pemOf(root), chain: chainOf(serverCA.newClient(t, "c"), serverCA), want: ErrUntrusted},
		{name: "for servers", cas: pemOf(root), chain: chainOf(root.newClient(t, "c", withUsage(x509.ExtKeyUsageServerAuth))), want: ErrUntrusted},
		{name: "too many sent", cas: pemOf(root), chain: chainOf(long...), want: ErrUntrusted},
		{name: "expired", cas: pemOf(root), chain: chainOf(root.newClient(t, "c", validFrom(-2*time.Hour, -time.Hour))), want: ErrExpired},
		{name: "not yet valid", cas: pemOf(root), chain: chainOf(root.newClient(t, "c", validFrom(time.Hour, 2*time.Hour))), want: ErrNotYetValid},
		{name: "expired, of another CA", cas: pemOf(ca), chain: chainOf(root.newClient(t, "c", validFrom(-2*time.Hour, -time.Hour))), want: ErrUntrusted},
		{name: "root expired", cas: pemOf(oldRoot), chain: chainOf(oldRoot.newClient(t, "c")), want: ErrExpired},
		{name: "root not yet valid", cas: pemOf(newerRoot), chain: chainOf(newerRoot.newClient(t, "c", validFrom(-time.Hour, 2*time.Hour))), want: ErrNotYetValid},
		{name: "intermediate expired", cas: pemOf(root), chain: chainOf(oldCA.newClient(t, "c"), oldCA), want: ErrExpired},

		{name: "not on the list", cas: pemOf(root), crls: [][]byte{root.crl(t, crl{revoked: []*signer{alice}})}, chain: chainOf(bob)},
		{name: "revoked", cas: pemOf(root), crls: [][]byte{root.crl(t, crl{revoked: []*signer{bob}})}, chain: chainOf(bob), want: ErrRevoked},
		{name: "revoked by a list that is stale", cas: pemOf(root), crls: [][]byte{root.crl(t, crl{from: -2 * time.Hour, to: -time.Hour, revoked: []*signer{bob}})}, chain: chainOf(bob), want: ErrRevoked},
		{name: "revoked by a list of the future", cas: pemOf(root), crls: [][]byte{root.crl(t, crl{from: time.Hour, to: 2 * time.Hour, revoked: []*signer{bob}})}, chain: chainOf(bob), want: ErrRevoked},
		{name: "the list is stale", cas: pemOf(root), crls: [][]byte{root.crl(t, crl{from: -2 * time.Hour, to: -time.Second})}, chain: chainOf(bob), want: ErrStaleCRL},
		{name: "another CA's list is stale", cas: pemOf(root, oldRoot), crls: [][]byte{root.crl(t, crl{}), staleCRL(t, oldRoot)}, chain: chainOf(bob)},
		{name: "intermediate revoked", cas: pemOf(root), crls: [][]byte{root.crl(t, crl{revoked: []*signer{ca}})}, chain: chainOf(alice, ca), want: ErrRevoked},
		{name: "intermediate of the file revoked", cas: pemOf(root, ca), crls: [][]byte{root.crl(t, crl{revoked: []*signer{ca}})}, chain: chainOf(alice), want: ErrRevoked},
		{name: "the root's list is stale", cas: pemOf(root, ca), crls: [][]byte{ca.crl(t, crl{}), root.crl(t, crl{from: -2 * time.Hour, to: -time.Second})}, chain: chainOf(alice), want: ErrStaleCRL},
		{name: "revoked by an intermediate of the file", cas: pemOf(root, ca), crls: [][]byte{ca.crl(t, crl{revoked: []*signer{alice}})}, chain: chainOf(alice), want: ErrRevoked},
		{name: "the serial number is another CA's", cas: pemOf(root, ca), crls: [][]byte{ca.crl(t, crl{revoked: []*signer{bob}})}, chain: chainOf(bob)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := mustLoad(t, tt.cas, tt.crls...)
			if got := a.Verify(tt.chain, time.Now()); !errors.Is(got, tt.want) {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

func staleCRL(t *testing.T, s *signer) []byte {
	t.Helper()
	return s.crl(t, crl{from: -2 * time.Hour, to: -time.Second})
}

// TestAuthoritiesOfNobody guards against roots that are nil, which crypto/x509
// takes for the system's.
func TestAuthoritiesOfNobody(t *testing.T) {
	c := newRoot(t, "root").newClient(t, "c")
	for _, a := range []*Authorities{nil, {}} {
		if err := a.Verify(chainOf(c), time.Now()); !errors.Is(err, ErrUntrusted) {
			t.Errorf("got %v, want %v", err, ErrUntrusted)
		}
		if a.Names() == nil {
			t.Error("no names at all, want an empty pool")
		}
		if when, what := a.ExpiresFirst(); !when.IsZero() || what != "" || a.Warnings() != nil {
			t.Errorf("got %v, %q, %q, want nothing", when, what, a.Warnings())
		}
	}
}

// A CA with two certificates for one key, one of them revoked by its own
// issuer: the other way is good, except for a client that is revoked itself.
func TestAuthoritiesOneGoodWaySuffices(t *testing.T) {
	left, right := newRoot(t, "left"), newRoot(t, "right")
	key := newKey(t)
	cross := func(by *signer) *signer {
		return signCert(t, by, key, "issuing", []certChange{asCA, validFrom(-24*time.Hour, 24*time.Hour)})
	}
	byLeft, byRight := cross(left), cross(right)
	alice, bob := byLeft.newClient(t, "alice"), byLeft.newClient(t, "bob")
	cas := pemOf(left, right, byLeft, byRight)
	noRight := right.crl(t, crl{revoked: []*signer{byRight}})
	noLeft := left.crl(t, crl{revoked: []*signer{byLeft}})
	noBob := byLeft.crl(t, crl{revoked: []*signer{bob}})
	staleLeft := left.crl(t, crl{from: -2 * time.Hour, to: -time.Hour})

	tests := []struct {
		name   string
		client *signer
		crls   [][]byte
		want   error
	}{
		{name: "both ways good", client: alice},
		{name: "one revoked", client: alice, crls: [][]byte{noRight}},
		{name: "the other revoked", client: alice, crls: [][]byte{noLeft}},
		{name: "both revoked", client: alice, crls: [][]byte{noLeft, noRight}, want: ErrRevoked},
		{name: "one revoked, one stale", client: alice, crls: [][]byte{noRight, staleLeft}, want: ErrRevoked},
		{name: "one stale", client: alice, crls: [][]byte{staleLeft}},
		{name: "the client is revoked", client: bob, crls: [][]byte{noBob}, want: ErrRevoked},
		{name: "the client is revoked, and a way", client: bob, crls: [][]byte{noBob, noRight}, want: ErrRevoked},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := mustLoad(t, cas, tt.crls...).Verify(chainOf(tt.client), time.Now())
			if !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
		})
	}
}

// After a change of keys two CAs have one name. Each has its own lists.
func TestAuthoritiesTellKeysApart(t *testing.T) {
	old, recent := newRoot(t, "root"), newRoot(t, "root")
	a, b := old.newClient(t, "a", withSerial(7)), recent.newClient(t, "b", withSerial(7))
	auth := mustLoad(t, pemOf(old, recent), recent.crl(t, crl{number: 2}), old.crl(t, crl{number: 1, revoked: []*signer{a}}))
	if err := auth.Verify(chainOf(a), time.Now()); !errors.Is(err, ErrRevoked) {
		t.Errorf("serial number 7 of the old key: got %v, want %v", err, ErrRevoked)
	}
	if err := auth.Verify(chainOf(b), time.Now()); err != nil {
		t.Errorf("serial number 7 of the new key: got %v, want none", err)
	}
}

func TestCRLNewestCounts(t *testing.T) {
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
		{name: "the second revokes", crls: [][]byte{first, second}, want: ErrRevoked},
		{name: "the second revokes, other order", crls: [][]byte{second, first}, want: ErrRevoked},
		{name: "the third no longer", crls: [][]byte{first, second, third}},
		{name: "the third no longer, other order", crls: [][]byte{third, second, first}},
		{name: "one number, newer date", crls: [][]byte{second, sameNumber}},
		{name: "one number, newer date, other order", crls: [][]byte{sameNumber, second}},
		{name: "the number goes before the date", crls: [][]byte{third, backdated}, want: ErrRevoked},
		{name: "in one file", crls: [][]byte{asPEM("X509 CRL", third, first, second)}},
		{name: "parts all count", crls: [][]byte{partA, partB}, want: ErrRevoked},
		{name: "parts all count, other order", crls: [][]byte{partB, partA}, want: ErrRevoked},
		{name: "a newer part takes the place of the older", crls: [][]byte{partA, partB, partA7}},
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

// issuingPoint makes the extension of a list that is one part of several; the
// name is the path of a URI.
func issuingPoint(t testing.TB, name string) pkix.Extension {
	t.Helper()
	uri := asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 6, Bytes: []byte("http://crl.example/" + name)}
	fullName := asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 0, IsCompound: true, Bytes: marshalDER(t, uri)}
	point := asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 0, IsCompound: true, Bytes: marshalDER(t, fullName)}
	return pkix.Extension{Id: oidIssuingPoint, Critical: true, Value: marshalDER(t, []asn1.RawValue{point})}
}

// issuingFlag makes the extension with one of its booleans.
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
	muteWithout.KeyUsage = x509.KeyUsageCRLSign // CreateRevocationList asks for it
	muteCRL := (&signer{&muteWithout, mute.key}).crl(t, crl{})

	tests := []struct {
		name string
		text []byte
		want string // "" if it is a good one
	}{
		{"in DER", good, ""},
		{"in PEM", asPEM("X509 CRL", good), ""},
		{"in PEM below its text", append([]byte("Certificate Revocation List\n"), asPEM("X509 CRL", good)...), ""},
		{"a part", extension(issuingPoint(t, "a")), ""},
		{"for users only", extension(issuingFlag(t, 1)), ""},
		{"unknown, not critical", extension(pkix.Extension{Id: unknown.Id, Value: unknown.Value}), ""},
		{"empty", nil, "there is no X509 CRL in it"},
		{"neither form", []byte("0 revoked certificates\n"), "there is no X509 CRL in it"},
		{"DER cut short", good[:len(good)-1], "list 1"},
		{"DER and more", append(bytes.Clone(good), 0), "more behind it"},
		{"PEM cut short", asPEM("X509 CRL", good)[:200], "cut short"},
		{"the second cut short", append(asPEM("X509 CRL", good), asPEM("X509 CRL", good)[:200]...), "cut short"},
		{"a certificate", pemOf(root), "there is a CERTIFICATE in it"},
		{"signature wrong", forged, "signed by no CA"},
		{"of a CA that is not there", ca.crl(t, crl{}), "signed by no CA"},
		{"of a CA of the same name", other.crl(t, crl{}), "signed by no CA"},
		{"of a CA that may not", muteCRL, "key usage"},
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

// wantLoadError fails unless err names the file and says what is wrong, or unless
// there is none and none is wanted.
func wantLoadError(t *testing.T, err error, file, want string) {
	t.Helper()
	if want == "" {
		if err != nil {
			t.Errorf("got %v, want none", err)
		}
		return
	}
	if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), file) {
		t.Errorf("got %v, want %q and the name %q", err, want, file)
	}
}

func TestAuthoritiesRefused(t *testing.T) {
	root := newRoot(t, "root")
	leaf := root.newClient(t, "leaf")
	noSign := newRoot(t, "no sign", withKeyUsage(x509.KeyUsageCRLSign))
	a, b := newRoot(t, "a"), newRoot(t, "b")
	aByB := signCert(t, b, a.key, "a", []certChange{asCA})
	bByA := signCert(t, a, b.key, "b", []certChange{asCA})
	key := marshalDER(t, 1)

	tests := []struct {
		name string
		text []byte
		want string
	}{
		{"empty", nil, "there is no CERTIFICATE in it"},
		{"text", []byte("hello"), "there is no CERTIFICATE in it"},
		{"DER", root.Raw, "there is no CERTIFICATE in it"},
		{"a client's", pemOf(root, leaf), `certificate 2, "CN=leaf": it is not a CA`},
		{"may not sign", pemOf(noSign), "key usage"},
		{"a key", append(pemOf(root), asPEM("EC PRIVATE KEY", key)...), "there is a EC PRIVATE KEY in it"},
		{"cut short", pemOf(root)[:300], "cut short"},
		{"the second cut short", append(pemOf(root), pemOf(a)[:300]...), "cut short"},
		{"no certificate in the PEM", asPEM("CERTIFICATE", key), "certificate 1"},
		{"no root", pemOf(aByB, bByA), "no CA is a root"},
		{"expired", pemOf(newRoot(t, "old", validFrom(-2*time.Hour, -time.Hour))), ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := tryLoad(t, tt.text)
			wantLoadError(t, err, "ca.pem", tt.want)
		})
	}
}

func TestAuthoritiesFilesMissingOrHuge(t *testing.T) {
	ca := tempFile(t, "ca.pem", pemOf(newRoot(t, "root")))
	huge := tempFile(t, "huge", nil)
	if err := os.Truncate(huge, maxAuthorityFile+1); err != nil { // sparse
		t.Fatal(err)
	}
	missing := filepath.Join(t.TempDir(), "missing")
	_, err := LoadAuthorities(missing, nil)
	if !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v, want %v", err, os.ErrNotExist)
	}
	_, err = LoadAuthorities(ca, []string{missing})
	if !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v, want %v", err, os.ErrNotExist)
	}
	_, err = LoadAuthorities(huge, nil)
	wantLoadError(t, err, huge, "larger than 64 MiB")
	_, err = LoadAuthorities(ca, []string{huge})
	wantLoadError(t, err, huge, "larger than 64 MiB")
}

func TestAuthoritiesExpiresFirst(t *testing.T) {
	root := newRoot(t, "root", validFrom(-time.Hour, 30*time.Hour))
	other := newRoot(t, "other", validFrom(-time.Hour, 20*time.Hour))
	superseded := root.crl(t, crl{number: 1, from: -2 * time.Hour, to: -time.Hour})
	long := root.crl(t, crl{number: 2, from: -time.Hour, to: 10 * time.Hour})

	tests := []struct {
		name string
		auth *Authorities
		when time.Duration
		what string
	}{
		{"one CA", mustLoad(t, pemOf(root)), 30 * time.Hour, `CA "CN=root"`},
		{"two CAs", mustLoad(t, pemOf(root, other)), 20 * time.Hour, `CA "CN=other"`},
		{"a list", mustLoad(t, pemOf(root, other), long), 10 * time.Hour, `revocation list of "CN=root"`},
		{"a list that no longer counts", mustLoad(t, pemOf(root, other), superseded, long), 10 * time.Hour, `revocation list of "CN=root"`},
		{"a stale list", mustLoad(t, pemOf(root, other), superseded), -time.Hour, `revocation list of "CN=root"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			when, what := tt.auth.ExpiresFirst()
			if off := time.Until(when) - tt.when; off.Abs() > time.Minute {
				t.Errorf("got %v from now, want %v", time.Until(when), tt.when)
			}
			if what != tt.what {
				t.Errorf("got %q, want %q", what, tt.what)
			}
		})
	}
}

func TestAuthoritiesWarnings(t *testing.T) {
	root, other := newRoot(t, "root"), newRoot(t, "other")
	old := newRoot(t, "old", validFrom(-2*time.Hour, -time.Hour))
	list := root.crl(t, crl{number: 1})
	backdated := root.crl(t, crl{number: 2, from: -2 * time.Hour, to: time.Hour})

	tests := []struct {
		name string
		auth *Authorities
		want []string
	}{
		{"none", mustLoad(t, pemOf(root), list), nil},
		{"no lists at all", mustLoad(t, pemOf(root, other)), nil},
		{"expired CA", mustLoad(t, pemOf(root, old)), []string{`CA "CN=old" has expired`}},
		{"stale list", mustLoad(t, pemOf(root), staleCRL(t, root)), []string{`revocation list of "CN=root" has expired`}},
		{"CA without a list", mustLoad(t, pemOf(root, other), list), []string{`CA "CN=other" has no revocation list`}},
		{"number against date", mustLoad(t, pemOf(root), list, backdated), []string{"the number counts"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := tt.auth.Warnings()
			if len(got) != len(tt.want) {
				t.Fatalf("got %q, want %d warnings", got, len(tt.want))
			}
			for i, want := range tt.want {
				if !strings.Contains(got[i], want) {
					t.Errorf("got %q, want %q", got[i], want)
				}
			}
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
