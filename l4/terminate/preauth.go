package terminate

import (
	"io"
	"net/http"
	"strings"
)

const (
	// SecretHeader is the request header with the pre-auth secret. It is
	// removed from requests before they go to a server.
	SecretHeader = "X-Mattermost-Preauth-Secret"

	// RejectHeader tells the apps that the pre-auth secret was missing or wrong.
	// The desktop app then asks for the secret again whatever the status is, so
	// the header is removed from all responses of servers. The key is used in
	// the header map as it is, not canonicalised, because HTTP/1.1 must send it
	// in lower case: older mobile apps look for that spelling only. Get and Del
	// of http.Header canonicalise it to X-Reject-Reason.
	RejectHeader = "x-reject-reason"

	rejectReason  = "pre-auth" // apps compare the complete value: no list, no parameters
	refusalBody   = "Forbidden: Invalid pre-authentication secret"
	webSocketPath = "/api/v4/websocket"
)

// Preauth is the check of requests for a pre-auth secret, before any server gets
// them. Its fields must not be changed once it is in use. It is safe for
// concurrent use if its functions are. The zero value refuses every request.
type Preauth struct {
	// Secrets returns the current secrets.
	Secrets func() *Secrets
	// Exempt are the requests that need no secret; nil: none. Its base path
	// must be BasePath.
	Exempt *Exemptions
	// ExemptWebSocket exempts the WebSocket handshake, which some versions of
	// the desktop app send without the secret.
	ExemptWebSocket bool
	// BasePath is the path of Mattermost's SiteURL, as in NewExemptions.
	BasePath string
	// Used is called with the label of the secret whenever one is accepted;
	// nil disables it.
	Used func(label string)
}

// A Verdict is the result of Check. The zero value is Refused.
type Verdict uint8

const (
	Refused   Verdict = iota // no valid secret and not exempt: see [Refuse]
	Malformed                // invalid request target, to be answered with status 400 even with a valid secret
	Pass                     // exactly one secret, which is valid
	Exempt                   // needs no secret; it may carry a wrong one
)

func (v Verdict) String() string {
	switch v {
	case Refused:
		return "refused"
	case Malformed:
		return "malformed"
	case Pass:
		return "pass"
	case Exempt:
		return "exempt"
	}
	return "unknown"
}

// Check returns the verdict on a request. RequestURI and headers must be as the
// client sent them. An [http.ServeMux] in front would answer unclean paths
// itself, and net/http answers OPTIONS * itself unless
// http.Server.DisableGeneralOptionsHandler is set.
func (p *Preauth) Check(r *http.Request) Verdict {
	path, err := rawPath(r)
	if err != nil {
		return Malformed
	}
	if label, ok := p.secretOf(r.Header); ok {
		if p.Used != nil {
			p.Used(label)
		}
		return Pass
	}
	if p.Exempt.Match(r.Method, path) || p.ExemptWebSocket && p.isHandshake(r, path) {
		return Exempt
	}
	return Refused
}

// secretOf accepts exactly one header line, because with two of them a server
// might use the other one. A spelling with underscores is a different header to
// net/http.
func (p *Preauth) secretOf(h http.Header) (label string, ok bool) {
	lines := h[SecretHeader]
	if len(lines) != 1 || p.Secrets == nil {
		return "", false
	}
	return p.Secrets().Match(lines[0])
}

// isHandshake reports whether a request opens the WebSocket of Mattermost
// (RFC 6455 section 4.1). Upgrade must contain nothing else, so that an h2c
// upgrade does not match.
func (p *Preauth) isHandshake(r *http.Request, path string) bool {
	upgrade := r.Header["Upgrade"]
	return r.Method == http.MethodGet && r.ProtoMajor == 1 && r.ProtoAtLeast(1, 1) &&
		path == p.BasePath+webSocketPath && canonical(path) &&
		len(upgrade) == 1 && strings.EqualFold(upgrade[0], "websocket") &&
		asksForUpgrade(r.Header["Connection"])
}

func asksForUpgrade(connection []string) bool {
	for _, line := range connection {
		for option := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(strings.Trim(option, " \t"), "upgrade") {
				return true
			}
		}
	}
	return false
}

// Refuse answers a request that Check refused, in the way that the apps expect:
// not with status 401, on which they ask for a client certificate, and not with
// 406, on which they use another base URL. The response to HEAD has no body.
func Refuse(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Del(RejectHeader)
	h[RejectHeader] = []string{rejectReason}
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(http.StatusForbidden)
	if r.Method != http.MethodHead {
		io.WriteString(w, refusalBody) // an error means that the client has gone
	}
}
