package terminate

import (
	"crypto/tls"
	"testing"
)

// A CA that is added later is accepted at once, also for a certificate that was
// chosen by the previous CA names.
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

// A keptSession is a session cache that always offers the same session, like a
// client that keeps its first session.
type keptSession struct{ session *tls.ClientSessionState }

func (k *keptSession) Get(string) (*tls.ClientSessionState, bool) { return k.session, k.session != nil }

func (k *keptSession) Put(_ string, s *tls.ClientSessionState) {
	if k.session == nil {
		k.session = s
	}
}

// Revocation and changes of CAs apply to clients that resume a session, whose
// certificate is from the first handshake. In CVE-2025-68121, a server used the
// result of that handshake.
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
					t.Fatalf("%d of 1 sessions were resumed before the change, so nothing would be tested", n)
				}

				g.now.Store(change.after)
				for range resumptions {
					g.wantRefused(t, strict, config, change.want)
				}
				if n := g.resumed.Load() - 1; n != resumptions {
					t.Errorf("%d of %d sessions were resumed", n, resumptions)
				}
				g.now.Store(before)
				g.wantAccepted(t, config, "hello alice")
			})
		}
	})
}

// A client that got a page and then the right certificate is asked for it,
// although it has a session without a certificate.
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
					t.Errorf("%d sessions resumed, want one, of the valid certificate", n)
				}
			})
		}
	}
}

// A session without a certificate is resumed where none is required.
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

// resumptions is the number of resumed sessions for each mode, version and
// change: a thousand in total.
const resumptions = 125
