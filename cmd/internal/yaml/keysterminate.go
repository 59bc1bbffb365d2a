package yaml

import (
	"time"

	"github.com/goccy/go-yaml/ast"

	"culvert/cmd/internal/config"
	"culvert/l4/terminate"
)

const (
	minBody, maxBody     = 1 * kib, 1024 * gib
	minHeader, maxHeader = 4 * kib, 16 * mib

	insecurely = "dangerously-off"
	absolute   = "an absolute path"
)

var terminateKeys = mapping[config.Terminate]{
	id: "terminate", what: "terminate", source: func(t *config.Terminate) *config.Source { return &t.Source },
	keys: []key[config.Terminate]{
		{name: "certificates", value: listOf("certificates with their keys", &keyPairKeys, func(t *config.Terminate) *[]*config.KeyPair { return &t.Certificates }),
			meaning: "the first one that suits the client is used"},
		{name: "acme", value: optional(&acmeKeys, func(t *config.Terminate) **config.ACME { return &t.ACME }),
			meaning: "get certificates from an authority, see below. `certificates` or `acme` is required"},
		{name: "profile", def: code(string(terminate.Intermediate)), value: oneOf(func(t *config.Terminate, word string) { t.Profile = terminate.Profile(word) }, string(terminate.Intermediate), string(terminate.Modern)),
			meaning: "`intermediate`: TLS 1.2 and 1.3; `modern`: 1.3 only"},
		{name: "to", def: "`http`", value: oneOf(func(t *config.Terminate, word string) { t.Raw = word == "tcp" }, "http", "tcp"),
			meaning: "`tcp`: what is inside TLS goes to a server as it is"},
		{name: "encrypt", def: "`off`", value: encryptBlock(), meaning: "TLS towards the servers: `on`, or how"},
		{name: "preauth", def: "none", value: optional(&preauthKeys, func(t *config.Terminate) **config.Preauth { return &t.Preauth }),
			meaning: "ask for a secret, see below"},
		{name: "client_certificates", def: "none", value: optional(&clientKeys, func(t *config.Terminate) **config.ClientCertificates { return &t.Clients }),
			meaning: "ask for a certificate, see below"},
		{name: "hsts", def: "not sent", value: duration(hstsSpan, func(t *config.Terminate) *time.Duration { return &t.HSTS }), example: "180d",
			meaning: "Strict-Transport-Security with this age"},
		{name: "strip_request_headers", def: "none", value: headerNames(func(t *config.Terminate) *[]config.Text { return &t.StripRequestHeaders }),
			meaning: "headers that are removed from requests"},
		{name: "strip_response_headers", def: "none", value: headerNames(func(t *config.Terminate) *[]config.Text { return &t.StripResponseHeaders }),
			meaning: "headers that are removed from responses"},
		{name: "max_body", def: code(sizeText(terminate.DefaultMaxBody)), value: size(minBody, maxBody, func(t *config.Terminate) *int64 { return &t.MaxBody }),
			meaning: "of a request; more is answered with 413"},
		{name: "min_body_rate", def: code(sizeText(terminate.DefaultMinBodyRate)), value: size(1, gib, func(t *config.Terminate) *int64 { return &t.MinBodyRate }),
			meaning: "a second, of a request's body. A client that has kept the server waiting for the `body` timeout in all, and sends less, gets 408"},
		{name: "max_header", def: code(sizeText(terminate.DefaultMaxHeader)), value: size(minHeader, maxHeader, func(t *config.Terminate) *int64 { return &t.MaxHeader }),
			meaning: "of a request; more is answered with 431"},
		{name: "timeouts", value: group(&httpTimeoutKeys), meaning: "see below"},
	},
}

func headerNames(at func(*config.Terminate) *[]config.Text) kind[config.Terminate] {
	return textsOf("the name of a header, or its beginning and an asterisk", "names; a last `*` is any rest", at)
}

var httpTimeoutKeys = mapping[config.Terminate]{
	id: "terminate timeouts", what: inHTTPTimeouts, group: "timeouts.", source: func(t *config.Terminate) *config.Source { return &t.Source },
	keys: []key[config.Terminate]{
		{name: "header", def: code(written(terminate.DefaultHeaderTimeout)), value: duration(waitSpan, func(t *config.Terminate) *time.Duration { return &t.HeaderTimeout }),
			meaning: "until a request's headers are there"},
		{name: "body", def: code(written(terminate.DefaultBodyTimeout)), value: duration(waitSpan, func(t *config.Terminate) *time.Duration { return &t.BodyTimeout }),
			meaning: "between two reads of a body, and two writes of a response"},
		{name: "idle", def: code(written(terminate.DefaultIdleTimeout)), value: duration(waitSpan, func(t *config.Terminate) *time.Duration { return &t.IdleTimeout }),
			meaning: "between two requests. A WebSocket has the pool's `idle`"},
		{name: "response", def: code(written(terminate.DefaultResponseTimeout)), value: duration(waitSpan, func(t *config.Terminate) *time.Duration { return &t.ResponseTimeout }),
			meaning: "until the response begins"},
	},
}

var keyPairKeys = mapping[config.KeyPair]{
	id: "certificate", what: inKeyPair, source: func(p *config.KeyPair) *config.Source { return &p.Source },
	keys: []key[config.KeyPair]{
		{name: "certificate", required: true, value: textOf("the absolute path of a certificate and its chain in PEM", absolute, func(p *config.KeyPair) *string { return &p.Certificate }), example: "/etc/culvert/apps.pem",
			meaning: "the certificate and its chain in PEM"},
		{name: "key", required: true, value: textOf("the absolute path of a private key in PEM", absolute, func(p *config.KeyPair) *string { return &p.Key }), example: "/etc/culvert/apps.key",
			meaning: "its private key in PEM"},
	},
}

var acmeKeys = mapping[config.ACME]{
	id: "acme", what: "acme", source: func(a *config.ACME) *config.Source { return &a.Source },
	keys: []key[config.ACME]{
		{name: "cache", required: true, value: textOf("the absolute path of a directory of culvert's own", absolute, func(a *config.ACME) *string { return &a.Cache }), example: "/var/lib/culvert/acme",
			meaning: "a directory for the account's key and the certificates"},
		{name: "email", def: "none", value: textOf("an e-mail address", "", func(a *config.ACME) *string { return &a.Email }),
			meaning: "address that the authority may write to"},
		{name: "directory", def: "Let's Encrypt", value: textOf("the https URL of an ACME directory", "an https URL", func(a *config.ACME) *string { return &a.Directory }),
			meaning: "of the authority"},
		{name: "roots", def: "the system's", value: textOf("the absolute path of certificates in PEM", absolute, func(a *config.ACME) *string { return &a.Roots }),
			meaning: "the authorities that issued the certificate of the directory"},
	},
}

var preauthKeys = mapping[config.Preauth]{
	id: "preauth", what: "preauth", source: func(p *config.Preauth) *config.Source { return &p.Source },
	keys: []key[config.Preauth]{
		{name: "secrets_file", required: true, value: textOf("the absolute path of a file with secrets", absolute, func(p *config.Preauth) *string { return &p.SecretsFile }), example: "/etc/culvert/preauth",
			meaning: "a secret a line, or `label: secret`; 32 bytes at least. All in the file are valid. Only its owner may be able to read it"},
		{name: "exempt", def: "none", value: textsOf(config.List(terminate.PresetNames()), presetSpan(), func(p *config.Preauth) *[]config.Text { return &p.Presets }),
			meaning: "requests that need no secret"},
		{name: "exempt_paths", def: "none", value: listOf("exempt paths", &exemptKeys, func(p *config.Preauth) *[]*config.ExemptPath { return &p.Exempt }),
			meaning: "others: one of `path`, `prefix`, `pattern`, and `methods`"},
		{name: "base_path", def: "none", value: textOf("a path such as /mattermost", "`/mattermost`", func(p *config.Preauth) *string { return &p.BasePath }),
			meaning: "the path of the SiteURL: every exemption is below it"},
		{name: "exempt_websocket", def: "`off`", value: toggle(true, func(p *config.Preauth) *bool { return &p.ExemptWebSocket }),
			meaning: "also the WebSocket's handshake, for desktop apps that send no secret with it"},
	},
}

func presetSpan() string {
	span := ""
	for i, name := range terminate.PresetNames() {
		if i > 0 {
			span += ", "
		}
		span += code(name)
	}
	return span
}

var exemptKeys = mapping[config.ExemptPath]{
	id: "exempt path", what: inExempt, source: func(x *config.ExemptPath) *config.Source { return &x.Source },
	keys: []key[config.ExemptPath]{
		{name: "path", value: textOf("a path", "", func(x *config.ExemptPath) *string { return &x.Path }),
			meaning: "the whole path, as the client writes it"},
		{name: "prefix", value: textOf("the beginning of paths", "", func(x *config.ExemptPath) *string { return &x.Prefix }),
			meaning: "what the path begins with"},
		{name: "pattern", value: textOf("a regular expression (RE2)", "", func(x *config.ExemptPath) *string { return &x.Pattern }),
			meaning: "a regular expression (RE2) that matches all of the path"},
		{name: "methods", def: "`GET`, `HEAD`", value: stringsOf("methods such as GET", "", func(x *config.ExemptPath) *[]string { return &x.Methods }),
			meaning: "of the requests"},
	},
}

var clientKeys = mapping[config.ClientCertificates]{
	id: "client_certificates", what: "client_certificates", source: func(c *config.ClientCertificates) *config.Source { return &c.Source },
	keys: []key[config.ClientCertificates]{
		{name: "ca", required: true, value: textOf("the absolute path of certificate authorities in PEM", absolute, func(c *config.ClientCertificates) *string { return &c.CA }), example: "/etc/culvert/clients.pem",
			meaning: "the authorities in PEM"},
		{name: "crl", def: "none", value: stringsOf("absolute paths of revocation lists", "absolute paths", func(c *config.ClientCertificates) *[]string { return &c.CRLs }),
			meaning: "revocation lists. While one is expired no certificate of its authority is accepted"},
		{name: "required", def: "`on`", value: toggle(false, func(c *config.ClientCertificates) *bool { return &c.Optional }),
			meaning: "`off`: a client without a certificate is served, too; one with a wrong one is not"},
		{name: "refuse", def: "`page`", value: oneOf(func(c *config.ClientCertificates, word string) { c.Handshake = word == "handshake" }, "page", "handshake"),
			meaning: "`page`: the handshake succeeds, and every request is answered with a page that says why; `handshake`: it fails"},
		{name: "status", def: "400", value: integer(400, 401, func(c *config.ClientCertificates) *int { return &c.Status }),
			meaning: "of the page. Mobile apps take 401 for \"a client certificate is required\""},
		{name: "recheck", def: "`off`", value: toggle(true, func(c *config.ClientCertificates) *bool { return &c.Recheck }),
			meaning: "when `ca` or `crl` have changed: close connections whose certificate is not valid any more, WebSockets too. Requests are refused in any case"},
		{name: "header", def: "`X-SSL-Client-Cert`", value: textOf("the name of a header", "", func(c *config.ClientCertificates) *string { return &c.Header }),
			meaning: "for the certificate, in PEM on one line"},
		{name: "subject_header", def: "`X-SSL-Client-Cert-Subject-DN`", value: textOf("the name of a header", "", func(c *config.ClientCertificates) *string { return &c.SubjectHeader }),
			meaning: "for the subject, `/C=US/O=.../CN=.../emailAddress=...`"},
		{name: "email", def: "`subject`", value: oneOf(setEmail, "subject", "any", "san"),
			meaning: "the one address of the subject; all of them; or, if it has none, that of the alternative names"},
	},
}

func setEmail(c *config.ClientCertificates, word string) {
	c.Email = map[string]terminate.EmailSource{"subject": terminate.EmailSubject, "any": terminate.EmailSeveral, "san": terminate.EmailSAN}[word]
}

var encryptKeys = mapping[config.Encrypt]{
	id: "encrypt", what: "encrypt", source: func(e *config.Encrypt) *config.Source { return &e.Source }, short: switchSchema,
	keys: []key[config.Encrypt]{
		{name: "verify", def: "`on`", value: verifyServers(), meaning: "by which authorities: the system's, or those of a PEM file"},
		{name: "server_name", def: "what the client asked for", value: textOf("a host name, such as chat.example.com", "", func(e *config.Encrypt) *string { return &e.ServerName }),
			meaning: "SNI, and what the certificate must be for"},
		{name: "identity", def: "none", value: identity(), meaning: "`certificate` and `key` for servers that ask for one"},
	},
}

// identity is a key pair, which messages call by the key.
func identity() kind[config.Encrypt] {
	m := keyPairKeys
	m.what = "identity"
	return optional(&m, func(e *config.Encrypt) **config.KeyPair { return &e.Identity })
}

func verifyServers() kind[config.Encrypt] {
	const want = "on, " + insecurely + " or the absolute path of a file with certificates in PEM"
	return kind[config.Encrypt]{
		typ: "text", span: "`on`, `" + insecurely + "`, an absolute path", schema: textSchema,
		read: func(d *decoder, n ast.Node, e *config.Encrypt) {
			switch w := d.text(n, want); w.Value {
			case "on", "true":
			case insecurely:
				e.Insecure = true
			default:
				e.Roots = w.Value
			}
		},
	}
}

// encryptBlock is on or off, or a mapping.
func encryptBlock() kind[config.Terminate] {
	k := optional(&encryptKeys, func(t *config.Terminate) **config.Encrypt { return &t.Encrypt })
	k.typ = "switch or mapping"
	read := k.read
	k.read = func(d *decoder, n ast.Node, t *config.Terminate) {
		if scalarOf(n).kind == notScalar {
			read(d, n, t)
			return
		}
		if on, _ := d.toggle(n); on {
			t.Encrypt = &config.Encrypt{Source: config.Source{Position: d.position(n)}}
		}
	}
	return k
}
