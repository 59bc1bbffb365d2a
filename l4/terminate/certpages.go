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

// CertPolicy is what a route asks of client certificates, and what a client is
// told whose certificate does not do.
//
// In page mode, the default, the handshake asks for a certificate and verifies
// nothing, so that a browser can show a page in place of an error of its own.
// Who serves such connections must call Refusal for each request, or at least
// at the first of each connection: nothing else keeps a client out. A
// certificate that crypto/tls cannot read ends the handshake in either mode.
type CertPolicy struct {
	// Authorities returns what counts now. It is asked at every check, so that
	// a revocation holds for the next handshake, resumed or not. Nil, or a nil
	// result, trusts nobody.
	Authorities func() *Authorities

	Optional     bool // without a certificate a request goes on; a bad one is still refused
	Strict       bool // refuse in the handshake, not with a page
	Unauthorized bool // status 401, not 400: mobile apps take it for "certificate required"
}

// Refusal checks the certificate of a connection and returns it. Both results
// are nil if there is none and none is needed. The error is one of
// Authorities.Verify. It looks at the certificates only, which a resumed
// session carries along, and never at what an earlier handshake found.
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

// Configure sets how c asks for certificates: ClientAuth, ClientCAs, and what
// strict mode or page mode needs besides. What counts is asked at each
// handshake, and so is the hint in ClientCAs, by which browsers choose what they
// offer. Call it before c is used.
//
// The modes of crypto/tls that verify are not used: they do it with ClientCAs,
// without revocation, and not again when a session is resumed.
func (p *CertPolicy) Configure(c *tls.Config) {
	c.ClientAuth = tls.RequestClientCert
	if p.Strict && !p.Optional {
		c.ClientAuth = tls.RequireAnyClientCert // also to send certificate_required
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

// hinting is c with the hint of certain Authorities.
type hinting struct {
	of     *Authorities
	config *tls.Config
}

// renewHint has handshakes name the CAs of now, where those are not the ones
// that c has. Sessions go on: their keys are those of c.
func (p *CertPolicy) renewHint(c *tls.Config) {
	first, before := p.authorities(), c.GetConfigForClient
	var last atomic.Pointer[hinting]
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
			h = &hinting{now, c.Clone()}
			h.config.ClientCAs = now.Names()
			last.Store(h)
		}
		return h.config, nil
	}
}

// verifyIn has every handshake verify, after what c verifies already.
// VerifyConnection runs in those that resume a session too.
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

// forgetRefused keeps a session that ends with a page from being resumed: the
// client would get the page again, without being asked for the certificate
// that it has since been given. nginx drops such sessions for the same reason.
// Its ticket is one that nobody can read, which leads to a full handshake.
//
// Tickets are then of c's keys even in clones of c with keys of their own.
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

// Page answers a request that Refusal refused with err, and has the connection
// closed, so that the client can come back with another certificate. A HEAD
// gets the headers alone. The page says nothing that the client does not know.
func (p *CertPolicy) Page(w http.ResponseWriter, r *http.Request, err error) {
	status := http.StatusBadRequest
	if p.Unauthorized {
		// Without WWW-Authenticate, against RFC 9110 section 15.5.2: there is
		// no scheme for certificates, and another one makes apps ask for a
		// password.
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
		_, _ = w.Write([]byte(page)) // the client may be gone, and is not wanted anyway
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
