package config

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"culvert/l4"
	"culvert/l4/terminate"
)

func TestCheckOfTermination(t *testing.T) {
	const in = "listener tls, route a.example: "
	secrets := func() *Preauth { return &Preauth{SecretsFile: termFile("secrets")} }
	expectRules(t, []rule{
		{"no certificate", func(c parts) { c.t.Certificates = nil }, in + `terminate has neither "certificates" nor "acme"`},
		{"a nil certificate", func(c parts) { c.t.Certificates = append(c.t.Certificates, nil) }, in + "entry 2 of certificates is nil"},
		{"an empty certificate", func(c parts) { *c.t.Certificates[0] = KeyPair{} },
			in + "a certificate with its key has no certificate\n" + in + "a certificate with its key has no key"},
		{"relative paths", func(c parts) { *c.t.Certificates[0] = KeyPair{Certificate: "a.pem", Key: "a.key"} },
			in + "found \"a.pem\", expected the absolute path of a certificate and its chain in PEM\n" + in + "found \"a.key\", expected the absolute path of a private key in PEM"},
		{"a certificate that is not there", func(c parts) { c.t.Certificates[0].Certificate = "/none.pem" },
			in + "load the certificate: open /none.pem: no such file or directory"},
		{"an account without a directory", func(c parts) { c.t.ACME = &ACME{} }, in + "acme has no cache"},
		{"an account by relative paths", func(c parts) { c.t.ACME = &ACME{Cache: "c", Roots: "r", Directory: "http://ca.example"} },
			in + "found \"c\", expected the absolute path of a directory of culvert's own\n" + in + "found \"r\", expected the absolute path of certificates in PEM\n" +
				in + `found "http://ca.example", expected the https URL of an ACME directory`},
		{"an unknown profile", func(c parts) { c.t.Profile = "old" }, in + "profile: unknown value old"},
		{"numbers out of range", func(c parts) {
			c.t.HSTS, c.t.MaxBody, c.t.MinBodyRate, c.t.MaxHeader = -1, -1, 1<<40, 1
			c.t.HeaderTimeout, c.t.BodyTimeout, c.t.IdleTimeout, c.t.ResponseTimeout = l4.Off, l4.Off, l4.Off, l4.Off
		}, in + "hsts: found -1ns, expected a duration of 1s to 3660d\n" +
			in + "max_body: found -1B, expected a size of 1KiB to 1024GiB\n" +
			in + "min_body_rate: found 1024GiB, expected a size of 1B to 1GiB\n" +
			in + "max_header: found 1B, expected a size of 4KiB to 16MiB\n" +
			in + "timeouts.header: found -1ns, expected a duration of 10ms to 30d\n" +
			in + "timeouts.body: found -1ns, expected a duration of 10ms to 30d\n" +
			in + "timeouts.idle: found -1ns, expected a duration of 10ms to 30d\n" +
			in + "timeouts.response: found -1ns, expected a duration of 10ms to 30d"},
		{"HTTP in TCP", func(c parts) {
			c.t.Raw, c.t.Preauth, c.t.HSTS, c.t.StripRequestHeaders, c.t.StripResponseHeaders = true, secrets(), time.Hour, Texts("A"), Texts("B")
			c.t.MaxBody, c.t.MinBodyRate, c.t.MaxHeader, c.t.BodyTimeout = kib, 1, 4*kib, time.Second
		}, raw("preauth", "hsts", "strip_request_headers", "strip_response_headers", "max_body", "min_body_rate", "max_header", "timeouts")},
		{"a page in TCP", func(c parts) { c.t.Raw, c.t.Clients = true, &ClientCertificates{CA: termFile("cert.pem")} },
			in + `with to: tcp there is no page to answer with: "client_certificates" needs refuse: handshake`},
		{"headers that are none", func(c parts) { c.t.StripRequestHeaders, c.t.StripResponseHeaders = Texts("X-*-A"), Texts("") },
			in + "found \"X-*-A\", expected the name of a header, or its beginning and an asterisk\n" +
				in + "found \"\", expected the name of a header, or its beginning and an asterisk"},
		{"no secrets", func(c parts) { c.t.Preauth = &Preauth{} }, in + "preauth has no secrets_file"},
		{"secrets that are not there", func(c parts) { c.t.Preauth = &Preauth{SecretsFile: "/none"} }, in + "read secrets: open /none: no such file or directory"},
		{"an unknown preset", func(c parts) { c.t.Preauth = secrets(); c.t.Preauth.Presets = Texts("gitlap") },
			in + `found "gitlap", expected always, sso-redirect, saml, openid, oauth, gitlab, google or office365, did you mean "gitlab"?`},
		{"a relative base", func(c parts) {
			c.t.Preauth = secrets()
			c.t.Preauth.Presets, c.t.Preauth.BasePath = Texts("always"), "mattermost"
		},
			in + `preauth: base path "mattermost": write it like /mattermost, or leave it out`},
		{"a nil path", func(c parts) { c.t.Preauth = secrets(); c.t.Preauth.Exempt = []*ExemptPath{nil} }, in + "entry 1 of exempt_paths is nil"},
		{"two paths in one", func(c parts) { c.t.Preauth = secrets(); c.t.Preauth.Exempt = []*ExemptPath{{Path: "/x", Prefix: "/y"}} },
			in + `an exempt path has one of "path", "prefix" and "pattern"`},
		{"a pattern that is none", func(c parts) { c.t.Preauth = secrets(); c.t.Preauth.Exempt = []*ExemptPath{{Pattern: "("}} },
			in + "found \"(\", expected a regular expression: error parsing regexp: missing closing ): `(`"},
		{"a method that is never exempt", func(c parts) {
			c.t.Preauth = secrets()
			c.t.Preauth.Exempt = []*ExemptPath{{Path: "/x", Methods: []string{"TRACE"}}}
		}, in + "preauth: exemption 1: method TRACE is never exempt: remove it"},
		{"no authority", func(c parts) { c.t.Clients = &ClientCertificates{} }, in + "client_certificates has no ca"},
		{"an authority that is none", func(c parts) { c.t.Clients = &ClientCertificates{CA: termFile("key.pem")} },
			in + "load the authorities of client certificates: load client CAs from DIR/key.pem: contains a PRIVATE KEY, only CERTIFICATE is allowed"},
		{"a list by a relative path", func(c parts) { c.t.Clients = &ClientCertificates{CA: termFile("cert.pem"), CRLs: []string{"a.crl"}} },
			in + `found "a.crl", expected the absolute path of a revocation list`},
		{"a status without a page", func(c parts) {
			c.t.Clients = &ClientCertificates{CA: termFile("cert.pem"), Handshake: true, Status: 401}
		},
			in + `"status" has no effect with refuse: handshake, which shows no page`},
		{"values of client certificates", func(c parts) {
			c.t.Clients = &ClientCertificates{CA: termFile("cert.pem"), Status: 403, Header: "X Cert", SubjectHeader: "X:", Email: 9}
		}, in + "status: found the number 403, expected a whole number from 400 to 401\n" + in + "email: unknown value 9\n" +
			in + "found \"X Cert\", expected the name of a header\n" + in + "found \"X:\", expected the name of a header"},
		{"an unverified server", func(c parts) { c.t.Encrypt = &Encrypt{Insecure: true} },
			"warning: " + in + "the certificates of the servers are not verified: anything between culvert and a server can read and change all of it"},
		{"verified and not", func(c parts) { c.t.Encrypt = &Encrypt{Insecure: true, Roots: "/none"} },
			in + "the certificates of the servers are verified by those of a file, or not at all, not both"},
		{"a word for a file", func(c parts) { c.t.Encrypt = &Encrypt{Roots: "off"} },
			in + `found "off", expected on, dangerously-off or the absolute path of a file with certificates in PEM`},
		{"authorities that are not there", func(c parts) { c.t.Encrypt = &Encrypt{Roots: "/none"} }, in + "open /none: no such file or directory"},
		{"a server name that is none", func(c parts) { c.t.Encrypt = &Encrypt{ServerName: "a b"} }, in + `found "a b", expected a host name, such as chat.example.com`},
		{"an identity without a key", func(c parts) { c.t.Encrypt = &Encrypt{Identity: &KeyPair{Certificate: termFile("cert.pem")}} }, in + "identity has no key"},
		{"all that is right", func(c parts) {
			c.t.Profile, c.t.Preauth = terminate.Modern, secrets()
			c.t.Preauth.Presets, c.t.Preauth.Exempt = Texts("saml"), []*ExemptPath{{Pattern: "/h.*", Methods: []string{"POST"}}}
			c.t.Clients = &ClientCertificates{CA: termFile("cert.pem"), CRLs: []string{termFile("ca.crl")}, Status: 401}
			c.t.Encrypt = &Encrypt{Roots: termFile("cert.pem"), Identity: goodPair()}
		}, ""},
	})
}

func raw(keys ...string) string {
	var all []string
	for _, key := range keys {
		all = append(all, fmt.Sprintf("listener tls, route a.example: %q has no effect with to: tcp, which knows no HTTP", key))
	}
	return strings.Join(all, "\n")
}
