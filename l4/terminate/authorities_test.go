package terminate

import (
	"crypto/x509"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestAuthoritiesVerify(t *testing.T) {
	root := newRoot(t, "root")
	ca := root.newCA(t, "issuing")
	alice, bob := ca.newClient(t, "alice"), root.newClient(t, "bob")
	mallory := newRoot(t, "root").newClient(t, "alice") // same name as root, different key
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
		{name: "no extended key usage", cas: pemOf(root), chain: chainOf(root.newClient(t, "c", withUsage()))},
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

		{name: "not revoked by the list", cas: pemOf(root), crls: [][]byte{root.crl(t, crl{revoked: []*signer{alice}})}, chain: chainOf(bob)},
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

// A nil pool of roots means the system's roots to crypto/x509.
func TestNilAuthoritiesAcceptNothing(t *testing.T) {
	c := newRoot(t, "root").newClient(t, "c")
	for _, a := range []*Authorities{nil, {}} {
		if err := a.Verify(chainOf(c), time.Now()); !errors.Is(err, ErrUntrusted) {
			t.Errorf("got %v, want %v", err, ErrUntrusted)
		}
		if a.Names() == nil {
			t.Error("Names is nil, want an empty pool")
		}
	}
}

// A CA has two certificates for one key, and one of them is revoked by its own
// issuer. The chain through the other one is accepted, except for a client that
// is revoked itself.
func TestAuthoritiesAcceptAnyValidChain(t *testing.T) {
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
		{name: "both chains valid", client: alice},
		{name: "one revoked", client: alice, crls: [][]byte{noRight}},
		{name: "the other revoked", client: alice, crls: [][]byte{noLeft}},
		{name: "both revoked", client: alice, crls: [][]byte{noLeft, noRight}, want: ErrRevoked},
		{name: "one revoked, one stale", client: alice, crls: [][]byte{noRight, staleLeft}, want: ErrRevoked},
		{name: "one stale", client: alice, crls: [][]byte{staleLeft}},
		{name: "the client is revoked", client: bob, crls: [][]byte{noBob}, want: ErrRevoked},
		{name: "the client and one chain are revoked", client: bob, crls: [][]byte{noBob, noRight}, want: ErrRevoked},
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

// After a change of keys, two CAs have the same name. Each has its own lists.
func TestAuthoritiesDistinguishKeysOfOneName(t *testing.T) {
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

// wantLoadError fails unless err names the file and contains want. If want is
// "", it fails unless err is nil.
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

func TestAuthoritiesRefuseUnsuitableFiles(t *testing.T) {
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
		{"empty", nil, "contains no CERTIFICATE"},
		{"text", []byte("hello"), "contains no CERTIFICATE"},
		{"DER", root.Raw, "contains no CERTIFICATE"},
		{"a client's", pemOf(root, leaf), `certificate 2, "CN=leaf": not a CA certificate`},
		{"key usage without signing", pemOf(noSign), "key usage"},
		{"a key", append(pemOf(root), asPEM("EC PRIVATE KEY", key)...), "contains a EC PRIVATE KEY"},
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

func TestAuthoritiesRefuseMissingAndHugeFiles(t *testing.T) {
	ca := tempFile(t, "ca.pem", pemOf(newRoot(t, "root")))
	huge := tempFile(t, "huge", nil)
	if err := os.Truncate(huge, maxAuthorityFile+1); err != nil { // sparse file
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
