package terminate

import (
	"io"
	"net/http"
	"strings"
)

const (
	// SecretHeader is the request header with the pre-auth secret. A request
	// that goes to a server has it no more.
	SecretHeader = "X-Mattermost-Preauth-Secret"

	// RejectHeader marks a refusal to the apps: the desktop asks for the
	// secret again whatever the status it comes with, so no other response
	// has it, a server's neither. HTTP/1.1 sends it in lower case too, since
	// older mobile builds look for nothing else, so it is a key of the header
	// map as it stands. http.Header's Get and Del take it for X-Reject-Reason.
	RejectHeader = "x-reject-reason"

	rejectReason  = "pre-auth" // compared whole: no list, no parameters
	refusalBody   = "Forbidden: Invalid pre-authentication secret"
	webSocketPath = "/api/v4/websocket"
)

// Preauth is what a route asks of its requests before a server sees any of
// them: a secret, or a request that is exempt. Its fields are not changed
// once it is in use. It is safe for concurrent use if its functions are. The
// zero value refuses everything.
type Preauth struct {
	// Secrets returns those valid now.
	Secrets func() *Secrets
	// Exempt needs no secret; nil: nothing. Its base path is BasePath.
	Exempt *Exemptions
	// ExemptWebSocket exempts the handshake of the WebSocket, which desktop
	// builds have sent without the secret.
	ExemptWebSocket bool
	// BasePath is the path of Mattermost's SiteURL, as in NewExemptions.
	BasePath string
	// Used is told the label of the secret each time one is accepted; nil:
	// nobody counts.
	Used func(label string)
}

// A Verdict is what Check makes of a request. The zero value is Refused.
type Verdict uint8

const (
	Refused   Verdict = iota // no secret and not exempt: see [Refuse]
	Malformed                // a target that is answered with status 400, secret or not
	Pass                     // with one right secret
	Exempt                   // needs no secret, and may have a wrong one
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

// Check judges a request as the client sent it: nothing may have rewritten
// its RequestURI, or its headers, on the way here. An [http.ServeMux] in front
// would answer unclean paths itself, and so does net/http for OPTIONS * unless
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

// secretOf wants exactly one line: of two, whoever is behind may believe the
// other. The spelling with underscores is another header to net/http.
func (p *Preauth) secretOf(h http.Header) (label string, ok bool) {
	lines := h[SecretHeader]
	if len(lines) != 1 || p.Secrets == nil {
		return "", false
	}
	return p.Secrets().Match(lines[0])
}

// isHandshake reports whether a request opens the WebSocket of Mattermost (RFC
// 6455 section 4.1). Upgrade must name nothing else, so that no handshake of
// h2c passes for one.
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

// Refuse answers a request that Check refused, in the way the apps recognise:
// never with 401, which asks them for a client certificate, or 406, which
// sends them to another base URL. The answer to HEAD has no body.
func Refuse(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Del(RejectHeader)
	h[RejectHeader] = []string{rejectReason}
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(http.StatusForbidden)
	if r.Method != http.MethodHead {
		io.WriteString(w, refusalBody) // a client that has gone needs no answer
	}
}
