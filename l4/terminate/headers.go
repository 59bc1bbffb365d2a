package terminate

import (
	"crypto/x509"
	"net/http"
	"strings"
)

// HeaderNames are the headers that tell servers about the certificate of a
// client. The zero value stands for the names that nginx recipes and Mattermost
// use.
type HeaderNames struct {
	Cert      string // the certificate in PEM on one line, default X-SSL-Client-Cert
	SubjectDN string // its subject in slash form, default X-SSL-Client-Cert-Subject-DN

	Email EmailSource // which e-mail address the subject contains, default EmailSubject
}

func (n HeaderNames) withDefaults() HeaderNames {
	if n.Cert == "" {
		n.Cert = "X-SSL-Client-Cert"
	}
	if n.SubjectDN == "" {
		n.SubjectDN = "X-SSL-Client-Cert-Subject-DN"
	}
	return n
}

// neverFromClients are request headers that are never passed on from a client:
// hop-by-hop headers (RFC 9110 section 7.6.1), the pre-auth secret, which is
// checked before and which servers do not need, and headers in which proxies
// say where a request came from. The X-Forwarded family is removed as a whole,
// because it grows and because some proxies put the user's name in it.
//
// True-Client-IP, CF-Connecting-IP and the like are kept: they come from a
// content delivery network in front of culvert, and servers use them only when
// configured to. Without such a network they should be in the strip rules.
var neverFromClients = []string{
	"Connection",
	"Keep-Alive",
	"Proxy-Authenticate",
	"Proxy-Authorization",
	"Proxy-Connection",
	"TE",
	"Trailer",
	"Transfer-Encoding",
	"Upgrade",
	"X-Mattermost-Preauth-Secret",
	"X-Forwarded",
	"X-Forwarded-*", // For, Proto, Host, Port, Server, Prefix, Ssl, User, ...
	"X-Real-IP",
	"Forwarded",
}

// neverFromUpstreams are response headers that only culvert may send: apps take
// X-Reject-Reason as the result of the check of their pre-auth secret.
var neverFromUpstreams = []string{"X-Reject-Reason"}

// cleanRequest removes the headers of a request that servers must not get: the
// headers that the client lists in Connection, neverFromClients, those for the
// client's certificate, and those that match the strip rules. Call it before
// any header is set, because Connection could otherwise list and remove it.
//
// A rule is a header name, or a prefix of names followed by an asterisk. Names
// match regardless of case and of the characters between their letters and
// digits, because servers that pass headers as variables fold them in that way
// (RFC 3875 section 4.1.18; lighttpd and old versions of Apache fold every
// other character, not only the hyphen).
//
// The caller saves Connection and Upgrade of a WebSocket handshake before, and
// removes trailers, which are not in h.
func cleanRequest(h http.Header, n HeaderNames, strip []string) {
	deleteListed(h)
	n = n.withDefaults()
	certificate := [...]string{n.Cert, n.SubjectDN}
	deleteMatching(h, neverFromClients, certificate[:], strip)
}

// cleanResponse removes the headers of a response that clients must not get:
// neverFromUpstreams and those that match the strip rules, see cleanRequest.
func cleanResponse(h http.Header, strip []string) {
	deleteMatching(h, neverFromUpstreams, strip)
}

// setCertHeaders sets the headers for the client's certificate. If leaf is nil,
// or with an error, which concerns the subject, both headers are removed. An
// empty subject is not sent.
func setCertHeaders(h http.Header, n HeaderNames, leaf *x509.Certificate) error {
	n = n.withDefaults()
	h.Del(n.Cert)
	h.Del(n.SubjectDN)
	if leaf == nil {
		return nil
	}
	dn, err := n.Email.SubjectDN(leaf)
	if err != nil {
		return err
	}
	h.Set(n.Cert, HeaderPEM(leaf))
	if dn != "" {
		h.Set(n.SubjectDN, dn)
	}
	return nil
}

// deleteListed deletes the headers that Connection lists. It compares names as
// net/http canonicalises them, not with matchesName: a megabyte of headers can
// list so many that comparing every header with each would take minutes.
func deleteListed(h http.Header) {
	for _, line := range h["Connection"] {
		for name := range strings.SplitSeq(line, ",") {
			if name = strings.TrimSpace(name); name != "" && name != "Connection" {
				h.Del(name)
			}
		}
	}
}

func deleteMatching(h http.Header, rules ...[]string) {
	for name := range h {
		if matchesAny(name, rules) {
			delete(h, name)
		}
	}
}

func matchesAny(name string, rules [][]string) bool {
	for _, list := range rules {
		for _, rule := range list {
			if matchesName(name, rule) {
				return true
			}
		}
	}
	return false
}

func matchesName(name, rule string) bool {
	begin, isPrefix := strings.CutSuffix(rule, "*")
	if len(name) < len(begin) || len(name) > len(begin) && !isPrefix {
		return false
	}
	for i := range len(begin) {
		if foldNameByte(name[i]) != foldNameByte(begin[i]) {
			return false
		}
	}
	return true
}

func foldNameByte(c byte) byte {
	switch {
	case 'a' <= c && c <= 'z' || '0' <= c && c <= '9':
		return c
	case 'A' <= c && c <= 'Z':
		return c - 'A' + 'a'
	}
	return '_'
}
