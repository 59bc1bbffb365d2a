package terminate

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"
)

// Reasons to reject a client certificate. Errors of Authorities.Verify and
// CertPolicy.Refusal wrap one of them.
var (
	ErrNoCertificate = errors.New("no client certificate")
	ErrUntrusted     = errors.New("client certificate is not trusted")
	ErrExpired       = errors.New("client certificate or its issuer has expired")
	ErrNotYetValid   = errors.New("client certificate or its issuer is not valid yet")
	ErrRevoked       = errors.New("client certificate or its issuer is revoked")
	ErrStaleCRL      = errors.New("revocation list has expired")
)

const (
	// maxAuthorityFile bounds a file of CAs and a file of revocation lists, in
	// bytes. A list of well over a million revoked certificates fits.
	maxAuthorityFile = 64 << 20

	// maxSentChain bounds how many certificates a client may send. Clients send
	// two or three; crypto/tls accepts up to 256 KiB of them, and the search
	// for a chain among many certificates with the same name is expensive.
	maxSentChain = 10
)

// Authorities are the CAs whose client certificates are accepted, with their
// revocation lists. They are immutable and safe for concurrent use. A nil
// *Authorities and the zero value accept no certificate.
type Authorities struct {
	names         *x509.CertPool // every CA of the file
	roots         *x509.CertPool // CAs at which a chain may end
	intermediates *x509.CertPool // CAs signed by another CA of the file

	revocations map[issuer][]*revocations
}

// An issuer identifies a CA by name and key, both in DER. Two CAs may have the
// same name, for example before and after a change of keys, and one CA may have
// several certificates.
type issuer struct{ subject, key string }

func issuerOf(ca *x509.Certificate) issuer {
	return issuer{string(ca.RawSubject), string(ca.RawSubjectPublicKeyInfo)}
}

// LoadAuthorities reads CAs from a PEM file, and revocation lists from files
// in PEM (any number of lists in each) or DER (one list).
//
// A chain may end at any CA of the file that is not signed by another CA of the
// file, self-signed or not. The others are intermediates: clients need not send
// them, and they can be revoked.
//
// A list must be signed by a CA of the file. Of several lists of a CA, the
// newest applies, by number or, without numbers, by date. Lists with different
// issuing distribution points are parts of one list, and all of them apply.
// Delta lists, indirect lists and lists with unknown critical extensions are
// refused, because ignoring them would accept certificates that they revoke. A
// list whose date is in the future applies immediately.
func LoadAuthorities(caFile string, crlFiles []string) (*Authorities, error) {
	cas, err := readCAs(caFile)
	if err != nil {
		return nil, fmt.Errorf("load client CAs from %s: %w", caFile, err)
	}
	a := &Authorities{
		names:         x509.NewCertPool(),
		roots:         x509.NewCertPool(),
		intermediates: x509.NewCertPool(),
		revocations:   make(map[issuer][]*revocations),
	}
	if err := a.addCAs(cas); err != nil {
		return nil, fmt.Errorf("load client CAs from %s: %w", caFile, err)
	}
	for _, file := range crlFiles {
		if err := a.addLists(file, cas); err != nil {
			return nil, fmt.Errorf("load revocation list from %s: %w", file, err)
		}
	}
	return a, nil
}

// Names returns the CAs for tls.Config.ClientCAs, from whose names a client
// chooses its certificate. The pool must not be used for verification, because
// it does not tell roots from intermediates. The caller must not change it.
func (a *Authorities) Names() *x509.CertPool {
	if a == nil || a.names == nil {
		return x509.NewCertPool()
	}
	return a.names
}

// Verify reports whether a client certificate is accepted. The chain is as the
// client sent it: its own certificate first, then any others in any order.
//
// The certificate must chain to a root. Every certificate of that chain must be
// valid now and fit for client authentication, none may be revoked, and no
// revocation list of an issuer in it may have expired. A CA without a list
// revokes nothing. Of several possible chains, one that passes is enough. A
// client whose own certificate is revoked always fails.
//
// The error wraps one of ErrNoCertificate, ErrUntrusted, ErrExpired,
// ErrNotYetValid, ErrRevoked and ErrStaleCRL. A certificate that is expired and
// also issued by an unknown CA is ErrUntrusted.
func (a *Authorities) Verify(chain []*x509.Certificate, now time.Time) error {
	if len(chain) == 0 {
		return ErrNoCertificate
	}
	if len(chain) > maxSentChain {
		return fmt.Errorf("%w: the client sent %d certificates, the limit is %d", ErrUntrusted, len(chain), maxSentChain)
	}
	if a == nil || a.roots == nil { // with nil, crypto/x509 uses the roots of the system
		return fmt.Errorf("%w: no client CAs are configured", ErrUntrusted)
	}
	chains, err := a.chains(chain, now)
	if err != nil {
		return a.explain(chain, now, err)
	}
	return a.checkChains(chains, now)
}

// chains returns the chains from the client's certificate to a root that are
// valid at the given time. tls.ConnectionState.VerifiedChains cannot replace
// it: in a resumed session it holds the chains of the first handshake.
func (a *Authorities) chains(chain []*x509.Certificate, at time.Time) ([][]*x509.Certificate, error) {
	intermediates := a.intermediates.Clone()
	for _, c := range chain[1:] {
		intermediates.AddCert(c)
	}
	return chain[0].Verify(x509.VerifyOptions{
		Roots:         a.roots,
		Intermediates: intermediates,
		CurrentTime:   at,
		KeyUsages:     []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
}

// explain returns why there is no chain. A certificate that has expired or is
// not valid yet, or whose CA is, had a chain when it was issued or has one when
// it expires; one that was never trusted has neither.
func (a *Authorities) explain(chain []*x509.Certificate, now time.Time, cause error) error {
	for _, then := range []time.Time{chain[0].NotBefore, chain[0].NotAfter} {
		chains, err := a.chains(chain, then)
		if err != nil {
			continue
		}
		for _, c := range chains[0] {
			if now.After(c.NotAfter) {
				return fmt.Errorf("%w: %q on %s", ErrExpired, c.Subject, timestamp(c.NotAfter))
			}
			if now.Before(c.NotBefore) {
				return fmt.Errorf("%w: %q from %s", ErrNotYetValid, c.Subject, timestamp(c.NotBefore))
			}
		}
	}
	return fmt.Errorf("%w: %w", ErrUntrusted, cause)
}

// checkChains looks for one chain that passes. A client whose own certificate
// is revoked has none: all chains contain the key that signed it.
func (a *Authorities) checkChains(chains [][]*x509.Certificate, now time.Time) error {
	var why error
	for _, chain := range chains {
		err := a.checkChain(chain, now)
		if err == nil {
			return nil
		}
		if why == nil || errors.Is(err, ErrRevoked) {
			why = err
		}
	}
	return why
}

func (a *Authorities) checkChain(chain []*x509.Certificate, now time.Time) error {
	var stale error
	for i, ca := range chain[1:] {
		if a.revokes(ca, chain[i]) {
			return fmt.Errorf("%w: %q, serial %x", ErrRevoked, chain[i].Subject, chain[i].SerialNumber)
		}
		for _, list := range a.revocations[issuerOf(ca)] {
			if !list.nextUpdate.IsZero() && now.After(list.nextUpdate) {
				stale = fmt.Errorf("%w: that of %q on %s", ErrStaleCRL, ca.Subject, timestamp(list.nextUpdate))
			}
		}
	}
	return stale
}

func timestamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

func readCAs(file string) ([]*x509.Certificate, error) {
	text, err := readBounded(file)
	if err != nil {
		return nil, err
	}
	blocks, err := pemBlocks(text, "CERTIFICATE")
	if err != nil {
		return nil, err
	}
	var cas []*x509.Certificate
	for i, der := range blocks {
		ca, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("certificate %d: %w", i+1, err)
		}
		if err := checkCA(ca); err != nil {
			return nil, fmt.Errorf("certificate %d, %q: %w", i+1, ca.Subject, err)
		}
		cas = append(cas, ca)
	}
	return cas, nil
}

func checkCA(c *x509.Certificate) error {
	if !c.BasicConstraintsValid || !c.IsCA {
		return errors.New("not a CA certificate")
	}
	if c.KeyUsage != 0 && c.KeyUsage&x509.KeyUsageCertSign == 0 {
		return errors.New("key usage does not permit signing certificates")
	}
	return nil
}

// addCAs sorts the CAs of a file into roots and intermediates. If an
// intermediate were also a root, every chain could end at it, and its own
// revocation would never be checked.
func (a *Authorities) addCAs(cas []*x509.Certificate) error {
	roots := 0
	for _, ca := range cas {
		a.names.AddCert(ca)
		signedInFile := slices.ContainsFunc(cas, func(other *x509.Certificate) bool {
			return other != ca && isSignedBy(ca, other)
		})
		if signedInFile && !isSignedBy(ca, ca) {
			a.intermediates.AddCert(ca)
			continue
		}
		a.roots.AddCert(ca)
		roots++
	}
	if roots == 0 {
		return errors.New("no CA is a root: each is signed by another CA of the file")
	}
	return nil
}

func isSignedBy(c, ca *x509.Certificate) bool {
	return bytes.Equal(c.RawIssuer, ca.RawSubject) && c.CheckSignatureFrom(ca) == nil
}

func readBounded(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxAuthorityFile+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxAuthorityFile {
		return nil, fmt.Errorf("larger than %d MiB", maxAuthorityFile>>20)
	}
	return text, nil
}

// pemBlocks returns the contents of the blocks of a PEM file, all of which must
// be of one kind. pem.Decode skips damaged blocks, for example one that is
// still being written. Here they are an error, because such a block may hold a
// revocation.
func pemBlocks(text []byte, kind string) ([][]byte, error) {
	begun := bytes.Count(text, []byte("-----BEGIN "))
	if begun == 0 {
		return nil, fmt.Errorf("contains no %s", kind)
	}
	var blocks [][]byte
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != kind {
			return nil, fmt.Errorf("contains a %s, only %s is allowed", block.Type, kind)
		}
		blocks = append(blocks, block.Bytes)
	}
	if len(blocks) != begun {
		return nil, errors.New("contains a PEM block that is damaged or cut short")
	}
	return blocks, nil
}
