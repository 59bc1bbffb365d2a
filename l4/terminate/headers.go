package terminate

import (
	"crypto/x509"
	"net/http"
	"strings"
)

// HeaderNames are the headers that tell an upstream about the certificate of a
// client. The zero value has the names that nginx recipes and Mattermost have.
type HeaderNames struct {
	Cert      string // the certificate in PEM on one line, default X-SSL-Client-Cert
	SubjectDN string // its subject in slash form, default X-SSL-Client-Cert-Subject-DN

	Email EmailSource // of the subject, default EmailSubject
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

// neverFromClients are headers of requests that a client has no say in: those
// of one hop (RFC 9110 section 7.6.1), the pre-authentication secret, which is
// checked before and is not the upstream's business, and those by which a
// proxy says where a request came from. The latter are a family that grows,
// and some proxies tell the user's name in it; so it goes as a whole.
//
// True-Client-IP, CF-Connecting-IP and the like stay: they come from a content
// network in front, and an upstream heeds them only when told to. Where there
// is none in front they belong into the strip rules.
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

// neverFromUpstreams are headers of responses that only culvert may send: apps
// take X-Reject-Reason as the answer to their pre-authentication secret.
var neverFromUpstreams = []string{"X-Reject-Reason"}

// cleanRequest removes from a request what must not reach the upstream, before
// anything is set: the headers that the client lists in Connection (listed
// later, it could name those that were set), neverFromClients, those of the
// client's certificate, and what the strip rules say.
//
// A rule is a name, or the beginning of names and an asterisk. Names are the
// same whatever their case and whatever stands between their letters and
// digits, because servers that pass headers as variables fold them so
// (RFC 3875 section 4.1.18; lighttpd and old Apaches fold every other
// character, not only the hyphen).
//
// The caller keeps Connection and Upgrade of a WebSocket handshake before, and
// drops trailers, which are not in h.
func cleanRequest(h http.Header, n HeaderNames, strip []string) {
	deleteListed(h)
	n = n.withDefaults()
	certificate := [...]string{n.Cert, n.SubjectDN}
	deleteMatching(h, neverFromClients, certificate[:], strip)
}

// cleanResponse removes from a response what must not reach the client:
// neverFromUpstreams and what the strip rules say, see cleanRequest.
func cleanResponse(h http.Header, strip []string) {
	deleteMatching(h, neverFromUpstreams, strip)
}

// setCertHeaders says whose certificate the client has. Without a certificate,
// and with an error, which is about the subject, neither header is there
// afterwards. An empty subject is not sent.
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

// deleteListed deletes what Connection lists. It goes by the names as
// net/http wrote them, not by sameName: a megabyte of headers can list so many
// that a look at every header for each would take minutes.
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
