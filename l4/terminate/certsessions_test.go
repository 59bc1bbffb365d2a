package terminate

import (
	"crypto/tls"
	"testing"
)

// A CA that comes later counts at once, for a certificate that was chosen by the old hint too.
func TestCertPolicyWhenAuthoritiesChange(t *testing.T) {
	root, added := newRoot(t, "root"), newRoot(t, "added")
	bob := added.newClient(t, "bob").tls()
	eachMode(t, func(t *testing.T, strict bool, version uint16) {
		g := startGateway(t, CertPolicy{Strict: strict}, mustLoad(t, pemOf(root)))
		config := g.client(version, &bob)
		g.wantRefused(t, strict, config, "not issued for this site")
		g.now.Store(mustLoad(t, pemOf(root, added)))
		g.wantAccepted(t, config, "hello bob")
	})
}

// A keptSession is a session cache that offers one session for ever, as a
// client does that wants to keep what it once had.
type keptSession struct{ session *tls.ClientSessionState }

func (k *keptSession) Get(string) (*tls.ClientSessionState, bool) { return k.session, k.session != nil }

func (k *keptSession) Put(_ string, s *tls.ClientSessionState) {
	if k.session == nil {
		k.session = s
	}
}

// Revocation and a change of CAs hold for a client that resumes a session,
// which has its certificate from the first handshake (CVE-2025-68121 was a
// server that went by what that one had found).
func TestCertPolicyWhenSessionsResume(t *testing.T) {
	root, other := newRoot(t, "root"), newRoot(t, "other")
	alice := root.newClient(t, "alice")
	before := mustLoad(t, pemOf(root), root.crl(t, crl{}))
	changes := []struct {
		name  string
		after *Authorities
		want  string
	}{
		{"revoked", mustLoad(t, pemOf(root), root.crl(t, crl{number: 2, revoked: []*signer{alice}})), "was revoked"},
		{"another CA", mustLoad(t, pemOf(other)), "not issued for this site"},
	}
	eachMode(t, func(t *testing.T, strict bool, version uint16) {
		for _, change := range changes {
			t.Run(change.name, func(t *testing.T) {
				g := startGateway(t, CertPolicy{Strict: strict}, before)
				cert := alice.tls()
				config := g.client(version, &cert)
				config.ClientSessionCache = &keptSession{}
				g.wantAccepted(t, config, "hello alice")
				g.wantAccepted(t, config, "hello alice")
				if n := g.resumed.Load(); n != 1 {
					t.Fatalf("%d of 1 sessions were resumed before the change: this tests nothing", n)
				}

				g.now.Store(change.after)
				for range resumptions {
					g.wantRefused(t, strict, config, change.want)
				}
				if n := g.resumed.Load() - 1; n != resumptions {
					t.Errorf("%d of %d sessions were resumed: this tests less than it says", n, resumptions)
				}
				g.now.Store(before)
				g.wantAccepted(t, config, "hello alice")
			})
		}
	})
}

// Who got a page and then the right certificate is asked for it, although the
// client has a session without.
func TestCertPolicyForgetsRefusedSessions(t *testing.T) {
	root := newRoot(t, "root")
	good, bad := root.newClient(t, "alice").tls(), newRoot(t, "other").newClient(t, "mallory").tls()
	for _, version := range tlsVersions {
		for name, first := range map[string]*tls.Certificate{"no certificate": nil, "wrong certificate": &bad} {
			t.Run(tls.VersionName(version)+", "+name, func(t *testing.T) {
				g := startGateway(t, CertPolicy{}, mustLoad(t, pemOf(root)))
				cache := tls.NewLRUClientSessionCache(1)
				config := g.client(version, first)
				config.ClientSessionCache = cache
				g.wantRefused(t, false, config, "certificate")
				config = g.client(version, &good)
				config.ClientSessionCache = cache
				g.wantAccepted(t, config, "hello alice")
				if n := g.resumed.Load(); n != 0 {
					t.Errorf("%d sessions resumed, want none", n)
				}
				g.wantAccepted(t, config, "hello alice")
				if n := g.resumed.Load(); n != 1 {
					t.Errorf("%d sessions resumed, want that of the good certificate", n)
				}
			})
		}
	}
}

// A session of a client without a certificate is resumed where none is needed.
func TestCertPolicyOptionalSessionsResume(t *testing.T) {
	for _, version := range tlsVersions {
		g := startGateway(t, CertPolicy{Optional: true}, mustLoad(t, pemOf(newRoot(t, "root"))))
		config := g.client(version, nil)
		config.ClientSessionCache = tls.NewLRUClientSessionCache(1)
		g.wantAccepted(t, config, "")
		g.wantAccepted(t, config, "")
		if n := g.resumed.Load(); n != 1 {
			t.Errorf("%s: %d sessions resumed, want 1", tls.VersionName(version), n)
		}
	}
}

// resumptions is how many sessions are resumed for each mode, version and
// change: a thousand in all.
const resumptions = 125
