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

// Why a client certificate does not count. Errors of Authorities.Verify and of
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
	// maxAuthorityFile bounds a file of CAs and one of revocation lists, in
	// bytes. It is room for well over a million revoked certificates.
	maxAuthorityFile = 64 << 20

	// maxSentChain is how many certificates a client may send. Clients send
	// two or three; crypto/tls lets 256 KiB of them through, and looking for
	// a path among many that share a name is the server's work.
	maxSentChain = 10
)

// Authorities say whose client certificates count, and which of them are
// revoked. They are immutable and safe for concurrent use. A nil *Authorities
// and a zero one trust nobody.
type Authorities struct {
	names   *x509.CertPool // every CA of the file
	roots   *x509.CertPool // where a chain may end
	between *x509.CertPool // CAs that another CA of the file signed

	revocations map[issuer][]*revocations
}

// An issuer is a CA by name and key, both in DER. Two CAs may have the same
// name, as before and after a change of keys, and one may have several
// certificates.
type issuer struct{ subject, key string }

func issuerOf(ca *x509.Certificate) issuer {
	return issuer{string(ca.RawSubject), string(ca.RawSubjectPublicKeyInfo)}
}

// LoadAuthorities reads CAs from a PEM file and revocation lists from files in
// PEM, any number of lists in each, or in DER, one.
//
// A chain may end at each CA of the file that no other one of the file signed,
// self-signed or not. The others are intermediates, which the client need not
// send and which can be revoked.
//
// A list has to be signed by a CA of the file. Of several lists of one CA the
// newest counts, by number or else by date; lists with different issuing
// distribution points are parts of one, and all count. Delta lists, indirect
// ones and lists with critical extensions that are unknown here are refused:
// to ignore them would be to accept what they revoke. A list whose date is in
// the future counts at once.
func LoadAuthorities(caFile string, crlFiles []string) (*Authorities, error) {
	cas, err := readCAs(caFile)
	if err != nil {
		return nil, fmt.Errorf("load client CAs from %s: %w", caFile, err)
	}
	a := &Authorities{
		names:       x509.NewCertPool(),
		roots:       x509.NewCertPool(),
		between:     x509.NewCertPool(),
		revocations: make(map[issuer][]*revocations),
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

// Names returns the CAs whose names are the hint that a client picks its
// certificate by, tls.Config.ClientCAs. It is no pool to verify with: it does
// not tell roots from intermediates. The caller must not change it.
func (a *Authorities) Names() *x509.CertPool {
	if a == nil || a.names == nil {
		return x509.NewCertPool()
	}
	return a.names
}

// Verify reports whether a certificate counts. The chain is as the client sent
// it, its own certificate first, then any others in any order.
//
// It has to lead to a CA, every certificate of the way valid now and fit for
// client authentication, none revoked, and no revocation list on it past its
// date. A CA without a list revokes nothing. If there are several ways one good
// one is enough; a client that is revoked itself has none.
//
// The error wraps one of ErrNoCertificate, ErrUntrusted, ErrExpired,
// ErrNotYetValid, ErrRevoked and ErrStaleCRL. A certificate that is both out of
// its time and of an unknown CA is ErrUntrusted.
func (a *Authorities) Verify(chain []*x509.Certificate, now time.Time) error {
	if len(chain) == 0 {
		return ErrNoCertificate
	}
	if len(chain) > maxSentChain {
		return fmt.Errorf("%w: the client sent %d certificates, the limit is %d", ErrUntrusted, len(chain), maxSentChain)
	}
	if a == nil || a.roots == nil { // nil roots would be the system's
		return fmt.Errorf("%w: there are no authorities", ErrUntrusted)
	}
	ways, err := a.ways(chain, now)
	if err != nil {
		return a.whyNoWay(chain, now, err)
	}
	return a.checkWays(ways, now)
}

// ways returns the chains from the client's certificate to a root that are
// valid at a time. Never use tls.ConnectionState.VerifiedChains in its place:
// a resumed session has the chains of its first handshake.
func (a *Authorities) ways(chain []*x509.Certificate, at time.Time) ([][]*x509.Certificate, error) {
	between := a.between.Clone()
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	return chain[0].Verify(x509.VerifyOptions{
		Roots:         a.roots,
		Intermediates: between,
		CurrentTime:   at,
		KeyUsages:     []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
}

// whyNoWay tells a certificate that is out of its time, or whose CA is, from
// one that was never trusted: the first had a way when it was issued, or has
// one when it ends.
func (a *Authorities) whyNoWay(chain []*x509.Certificate, now time.Time, cause error) error {
	for _, then := range []time.Time{chain[0].NotBefore, chain[0].NotAfter} {
		ways, err := a.ways(chain, then)
		if err != nil {
			continue
		}
		for _, c := range ways[0] {
			if now.After(c.NotAfter) {
				return fmt.Errorf("%w: %q on %s", ErrExpired, c.Subject, day(c.NotAfter))
			}
			if now.Before(c.NotBefore) {
				return fmt.Errorf("%w: %q from %s", ErrNotYetValid, c.Subject, day(c.NotBefore))
			}
		}
	}
	return fmt.Errorf("%w: %w", ErrUntrusted, cause)
}

// checkWays looks for one good way. There is none for a client that is revoked
// itself: every way goes through the one key that signed its certificate.
func (a *Authorities) checkWays(ways [][]*x509.Certificate, now time.Time) error {
	var why error
	for _, way := range ways {
		err := a.checkWay(way, now)
		if err == nil {
			return nil
		}
		if why == nil || errors.Is(err, ErrRevoked) {
			why = err
		}
	}
	return why
}

func (a *Authorities) checkWay(way []*x509.Certificate, now time.Time) error {
	var stale error
	for i, ca := range way[1:] {
		if a.revokes(ca, way[i]) {
			return fmt.Errorf("%w: %q, serial %x", ErrRevoked, way[i].Subject, way[i].SerialNumber)
		}
		for _, list := range a.revocations[issuerOf(ca)] {
			if !list.nextUpdate.IsZero() && now.After(list.nextUpdate) {
				stale = fmt.Errorf("%w: of %q on %s", ErrStaleCRL, ca.Subject, day(list.nextUpdate))
			}
		}
	}
	return stale
}

func day(t time.Time) string { return t.UTC().Format(time.RFC3339) }

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
		return errors.New("it is not a CA")
	}
	if c.KeyUsage != 0 && c.KeyUsage&x509.KeyUsageCertSign == 0 {
		return errors.New("its key usage does not let it sign certificates")
	}
	return nil
}

// addCAs sorts the CAs of a file into roots and intermediates. Were an
// intermediate a root as well, every chain could end at it and its own
// revocation would never be looked at.
func (a *Authorities) addCAs(cas []*x509.Certificate) error {
	roots := 0
	for _, ca := range cas {
		a.names.AddCert(ca)
		signedInFile := slices.ContainsFunc(cas, func(other *x509.Certificate) bool {
			return other != ca && isSignedBy(ca, other)
		})
		if signedInFile && !isSignedBy(ca, ca) {
			a.between.AddCert(ca)
			continue
		}
		a.roots.AddCert(ca)
		roots++
	}
	if roots == 0 {
		return errors.New("no CA is a root: each is signed by another one of the file")
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

// pemBlocks returns what is in the blocks of a PEM file, which have to be of
// one kind. pem.Decode skips a block that is damaged, as one that is still
// being written is; here it is an error, for it may hold a revocation.
func pemBlocks(text []byte, kind string) ([][]byte, error) {
	begun := bytes.Count(text, []byte("-----BEGIN "))
	if begun == 0 {
		return nil, fmt.Errorf("there is no %s in it", kind)
	}
	var blocks [][]byte
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != kind {
			return nil, fmt.Errorf("there is a %s in it, only %s belongs there", block.Type, kind)
		}
		blocks = append(blocks, block.Bytes)
	}
	if len(blocks) != begun {
		return nil, errors.New("one of its PEM blocks is damaged or cut short")
	}
	return blocks, nil
}
