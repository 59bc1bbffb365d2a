package terminate

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"
)

// CertPolicy says which client certificates a route requires, and how it
// answers clients without an acceptable one.
//
// In page mode, the default, the handshake requests a certificate but verifies
// nothing, so that a browser shows culvert's page instead of an error of its
// own. The caller must then call Refusal for each request, or at least for the
// first request of each connection; nothing else rejects the client. A
// certificate that crypto/tls cannot parse ends the handshake in either mode.
type CertPolicy struct {
	// Authorities returns the current authorities. It is called for every
	// check, so that a revocation applies from the next handshake on, resumed
	// or not. If it is nil or returns nil, no certificate is accepted.
	Authorities func() *Authorities

	Optional     bool // accept clients without a certificate; an invalid one is still refused
	Strict       bool // refuse in the handshake instead of with a page
	Unauthorized bool // answer with status 401 instead of 400: mobile apps take it for "certificate required"
}

// Refusal checks the client certificate of a connection and returns it. Both
// results are nil if the client sent none and none is required. The error is
// one of Authorities.Verify. Only the certificates themselves are used, which a
// resumed session carries along, never the results of an earlier handshake.
func (p *CertPolicy) Refusal(state *tls.ConnectionState, now time.Time) (leaf *x509.Certificate, err error) {
	if state == nil || len(state.PeerCertificates) == 0 {
		if p.Optional {
			return nil, nil
		}
		return nil, ErrNoCertificate
	}
	if err := p.authorities().Verify(state.PeerCertificates, now); err != nil {
		return nil, err
	}
	return state.PeerCertificates[0], nil
}

func (p *CertPolicy) authorities() *Authorities {
	if p.Authorities == nil {
		return nil
	}
	return p.Authorities()
}

// Configure sets ClientAuth, ClientCAs, and what strict mode or page mode needs
// in addition. The current authorities are used in each handshake, for
// verification and for the CA names in ClientCAs, by which browsers choose the
// certificates that they offer. Call it before c is used.
//
// The verifying modes of crypto/tls are not used: they verify against
// ClientCAs, without revocation, and not again when a session is resumed.
func (p *CertPolicy) Configure(c *tls.Config) {
	c.ClientAuth = tls.RequestClientCert
	if p.Strict && !p.Optional {
		c.ClientAuth = tls.RequireAnyClientCert // sends the alert certificate_required as well
	}
	c.ClientCAs = p.authorities().Names()
	p.renewHint(c)
	now := c.Time
	if now == nil {
		now = time.Now
	}
	if p.Strict {
		p.verifyIn(c, now)
		return
	}
	p.forgetRefused(c, now)
}

// hintConfig is a clone of a configuration with the CA names of an Authorities.
type hintConfig struct {
	of     *Authorities
	config *tls.Config
}

// renewHint makes handshakes send the names of the current CAs when those are
// no longer the ones that c has. Sessions can still be resumed, because the
// clones use the ticket keys of c.
func (p *CertPolicy) renewHint(c *tls.Config) {
	first, before := p.authorities(), c.GetConfigForClient
	var last atomic.Pointer[hintConfig]
	c.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		if before != nil {
			if other, err := before(hello); other != nil || err != nil {
				return other, err
			}
		}
		now, h := p.authorities(), last.Load()
		switch {
		case now == first:
			return nil, nil
		case h == nil || h.of != now:
			h = &hintConfig{now, c.Clone()}
			h.config.ClientCAs = now.Names()
			last.Store(h)
		}
		return h.config, nil
	}
}

// verifyIn makes every handshake verify the client certificate, after the
// checks that c makes already. VerifyConnection also runs when a session is
// resumed.
func (p *CertPolicy) verifyIn(c *tls.Config, now func() time.Time) {
	before := c.VerifyConnection
	c.VerifyConnection = func(state tls.ConnectionState) error {
		if before != nil {
			if err := before(state); err != nil {
				return err
			}
		}
		_, err := p.Refusal(&state, now())
		return err
	}
}

// forgetRefused prevents sessions that end with a page from being resumed. The
// client would otherwise get the page again, without being asked for a
// certificate that has been installed since. nginx drops such sessions for the
// same reason. Their tickets cannot be decrypted, which leads to a full
// handshake.
//
// Clones of c then use the ticket keys of c, even if they have keys of their
// own.
func (p *CertPolicy) forgetRefused(c *tls.Config, now func() time.Time) {
	wrap := c.WrapSession
	if wrap == nil {
		wrap, c.UnwrapSession = c.EncryptTicket, c.DecryptTicket
	}
	c.WrapSession = func(state tls.ConnectionState, session *tls.SessionState) ([]byte, error) {
		if _, err := p.Refusal(&state, now()); err != nil {
			return []byte("refused"), nil
		}
		return wrap(state, session)
	}
}

// Page answers a request that Refusal refused with err and closes the
// connection, so that the client can try again with another certificate. A HEAD
// request gets the headers only. The page reveals nothing that the client does
// not know.
func (p *CertPolicy) Page(w http.ResponseWriter, r *http.Request, err error) {
	status := http.StatusBadRequest
	if p.Unauthorized {
		// There is no WWW-Authenticate, contrary to RFC 9110 section 15.5.2:
		// no authentication scheme stands for certificates, and any other
		// scheme makes apps ask for a password.
		status = http.StatusUnauthorized
	}
	title, hint := pageText(err)
	page := fmt.Sprintf(certPage, title, title, hint)
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Length", strconv.Itoa(len(page)))
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Connection", "close")
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		_, _ = w.Write([]byte(page)) // an error means that the client has gone
	}
}

const certPage = `<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>%s</title></head>
<body><h1>%s</h1><p>%s</p></body>
</html>
`

func pageText(err error) (title, hint string) {
	if errors.Is(err, ErrNoCertificate) {
		return "A client certificate is required", "Your browser or app sent none. Install the one you were given, then try again."
	}
	const refused = "The client certificate was not accepted"
	switch {
	case errors.Is(err, ErrExpired):
		return refused, "It or its issuer has expired."
	case errors.Is(err, ErrNotYetValid):
		return refused, "It or its issuer is not valid yet. Is the date right?"
	case errors.Is(err, ErrRevoked):
		return refused, "It or its issuer was revoked."
	case errors.Is(err, ErrStaleCRL):
		return refused, "It cannot be checked at the moment. This is for the administrator to repair."
	}
	return refused, "It was not issued for this site."
}
