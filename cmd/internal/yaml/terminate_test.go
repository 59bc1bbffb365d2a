package yaml

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"culvert/cmd/internal/config"
	"culvert/l4"
	"culvert/l4/terminate"
)

// termFiles makes what a terminating route names: a certificate that is its
// own authority, its key, and secrets.
var termFiles = sync.OnceValue(func() (dir string) {
	dir, err := os.MkdirTemp("", "culvert-config")
	if err != nil {
		panic(err)
	}
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ca"}, NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"a.example"},
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, SubjectKeyId: []byte{1},
	}
	cert := must(x509.CreateCertificate(rand.Reader, ca, ca, key.Public(), key))
	list := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: time.Now(), NextUpdate: time.Now().Add(time.Hour)}
	for name, text := range map[string][]byte{
		"cert.pem": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}),
		"key.pem":  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: must(x509.MarshalPKCS8PrivateKey(key))}),
		"ca.crl":   must(x509.CreateRevocationList(rand.Reader, list, ca, key)),
		"secrets":  []byte("current: 0123456789abcdef0123456789abcdef\n"),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			panic(err)
		}
	}
	return dir
})

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestMain(m *testing.M) {
	code := m.Run()
	_ = os.RemoveAll(termFiles())
	os.Exit(code)
}

func termFile(name string) string { return filepath.Join(termFiles(), name) }

// terminateWith returns the keys of terminate with text in one of its places.
func terminateWith(where, text string) string {
	pair := fmt.Sprintf("certificate: '%s', key: '%s'", termFile("cert.pem"), termFile("key.pem"))
	secrets := fmt.Sprintf("secrets_file: '%s'", termFile("secrets"))
	switch where {
	case inPair:
		return "certificates: [{" + with(with(text, "certificate: '"+termFile("cert.pem")+"'"), "key: '"+termFile("key.pem")+"'") + "}]"
	case inHTTPTimes:
		text = "timeouts: {" + text + "}"
	case inPreauth:
		text = "preauth: {" + with(text, secrets) + "}"
	case inExempt:
		text = "preauth: {" + secrets + ", exempt_paths: [{" + with(text, "path: /x", "prefix:", "pattern:") + "}]}"
	case inClients:
		text = "client_certificates: {" + with(text, "ca: '"+termFile("cert.pem")+"'") + "}"
	case inEncrypt:
		text = "encrypt: {" + text + "}"
	case inACME:
		return "acme: {" + with(text, "cache: /var/lib/culvert/acme") + "}"
	}
	return with(text, "certificates: [{"+pair+"}]", "acme:")
}

// terminated returns what the only terminating route says.
func terminated(l loaded) *config.Terminate {
	all := l.built.Terminations
	if len(all) != 1 || len(all[0].Routes) != 1 || all[0].Routes[0].Action != l4.Handle {
		return nil
	}
	return all[0].Settings
}

func stripped(l loaded, which int) any {
	request, response := terminated(l).Strip()
	return [][]string{request, response}[which]
}

// terminateEffects sets every key below terminate.
func terminateEffects() []effect {
	cert, key, secrets := termFile("cert.pem"), termFile("key.pem"), termFile("secrets")
	pair := terminate.KeyPair{Certificate: cert, Key: key}
	exempt := func(l loaded) any {
		x := terminated(l).Preauth.Exempt[0]
		if x.Pattern != "" {
			return "~" + x.Pattern
		}
		return strings.Join(append(x.Methods, x.Path, x.Prefix), " ")
	}
	return []effect{
		{inListener, "redirect: https", func(l loaded) any { return l.built.Redirects[l.listener] }, 443},
		{inListener, "redirect: https:8443", func(l loaded) any { return l.built.Redirects[l.listener] }, 8443},
		{inRoute, "terminate: {" + terminateWith(inTerminate, "") + "}, server_name: a.example, pool: p", func(l loaded) any { return terminated(l).Profile }, terminate.Profile("")},
		{inTerminate, fmt.Sprintf("certificates: [{certificate: '%s', key: '%s'}]", cert, key), func(l loaded) any { return terminated(l).Pairs() }, []terminate.KeyPair{pair}},
		{inPair, "certificate: '" + cert + "'", func(l loaded) any { return terminated(l).Certificates[0].Certificate }, cert},
		{inPair, "key: '" + key + "'", func(l loaded) any { return terminated(l).Certificates[0].Key }, key},
		{inTerminate, "acme: {cache: /c}", func(l loaded) any { return strings.Join(l.built.Terminations[0].Names, " ") }, "a.example"},
		{inACME, "cache: /c", func(l loaded) any { return terminated(l).ACME.Cache }, "/c"},
		{inACME, "email: a@example.com", func(l loaded) any { return terminated(l).ACME.Email }, "a@example.com"},
		{inACME, "directory: 'https://ca.example/dir'", func(l loaded) any { return terminated(l).ACME.Directory }, "https://ca.example/dir"},
		{inACME, "roots: '" + cert + "'", func(l loaded) any { return terminated(l).ACME.Roots }, cert},
		{inTerminate, "profile: modern", func(l loaded) any { return terminated(l).Profile }, terminate.Modern},
		{inTerminate, "to: tcp", func(l loaded) any { return terminated(l).Raw }, true},
		{inTerminate, "to: http", func(l loaded) any { return terminated(l).Raw }, false},
		{inTerminate, "encrypt: on", func(l loaded) any { e := terminated(l).Encrypt; return !e.Insecure && e.Roots == "" }, true},
		{inTerminate, "encrypt: off", func(l loaded) any { return terminated(l).Encrypt == nil }, true},
		{inEncrypt, "verify: on", func(l loaded) any { e := terminated(l).Encrypt; return !e.Insecure && e.Roots == "" }, true},
		{inEncrypt, "verify: '" + cert + "'", func(l loaded) any { return terminated(l).Encrypt.Roots }, cert},
		{inEncrypt, "server_name: b.example", func(l loaded) any { return terminated(l).Encrypt.ServerName }, "b.example"},
		{inEncrypt, fmt.Sprintf("identity: {certificate: '%s', key: '%s'}", cert, key), func(l loaded) any { return terminated(l).Encrypt.Identity.Files() }, pair},
		{inTerminate, "preauth: {secrets_file: '" + secrets + "'}", func(l loaded) any { return terminated(l).Preauth.SecretsFile }, secrets},
		{inPreauth, "secrets_file: '" + secrets + "'", func(l loaded) any { return terminated(l).Preauth.SecretsFile }, secrets},
		{inPreauth, "exempt: [always, saml]", func(l loaded) any { return len(terminated(l).Preauth.Presets) }, 2},
		{inPreauth, "exempt_paths: [{path: /hook}]", exempt, "/hook "},
		{inExempt, "path: /hook", exempt, "/hook "},
		{inExempt, "prefix: /hooks/", exempt, " /hooks/"},
		{inExempt, "pattern: '/h.*'", exempt, "~/h.*"},
		{inExempt, "methods: [POST, PUT]", exempt, "POST PUT /x "},
		{inPreauth, "base_path: /mattermost", func(l loaded) any { return terminated(l).Preauth.BasePath }, "/mattermost"},
		{inPreauth, "exempt_websocket: on", func(l loaded) any { return terminated(l).Preauth.ExemptWebSocket }, true},
		{inTerminate, "client_certificates: {ca: '" + cert + "'}", func(l loaded) any { return terminated(l).Clients.CA }, cert},
		{inClients, "ca: '" + cert + "'", func(l loaded) any { return terminated(l).Clients.CA }, cert},
		{inClients, "crl: '" + termFile("ca.crl") + "'", func(l loaded) any { return terminated(l).Clients.CRLs }, []string{termFile("ca.crl")}},
		{inClients, "required: off", func(l loaded) any { return terminated(l).Clients.Optional }, true},
		{inClients, "refuse: handshake", func(l loaded) any { return terminated(l).Clients.Handshake }, true},
		{inClients, "refuse: page", func(l loaded) any { return terminated(l).Clients.Handshake }, false},
		{inClients, "status: 401", func(l loaded) any { return terminated(l).Clients.Unauthorized() }, true},
		{inClients, "recheck: on", func(l loaded) any { return terminated(l).Clients.Recheck }, true},
		{inClients, "header: X-Cert", func(l loaded) any { return terminated(l).Clients.Header }, "X-Cert"},
		{inClients, "subject_header: X-DN", func(l loaded) any { return terminated(l).Clients.SubjectHeader }, "X-DN"},
		{inClients, "email: san", func(l loaded) any { return terminated(l).Clients.Email }, terminate.EmailSAN},
		{inTerminate, "hsts: 180d", func(l loaded) any { return terminated(l).HSTS }, 180 * 24 * time.Hour},
		{inTerminate, "strip_request_headers: [X-A, 'X-B-*']", func(l loaded) any { return stripped(l, 0) }, []string{"X-A", "X-B-*"}},
		{inTerminate, "strip_response_headers: Server", func(l loaded) any { return stripped(l, 1) }, []string{"Server"}},
		{inTerminate, "max_body: 1GiB", func(l loaded) any { return terminated(l).Limits().MaxBody }, int64(1 << 30)},
		{inTerminate, "min_body_rate: 2KiB", func(l loaded) any { return terminated(l).Limits().MinBodyRate }, int64(2 << 10)},
		{inTerminate, "max_header: 32KiB", func(l loaded) any { return terminated(l).Limits().MaxHeader }, 32 << 10},
		{inTerminate, "timeouts: {idle: 5s}", func(l loaded) any { return terminated(l).Limits().IdleTimeout }, 5 * time.Second},
		{inHTTPTimes, "header: 5s", func(l loaded) any { return terminated(l).Limits().HeaderTimeout }, 5 * time.Second},
		{inHTTPTimes, "body: 5s", func(l loaded) any { return terminated(l).Limits().BodyTimeout }, 5 * time.Second},
		{inHTTPTimes, "idle: 5s", func(l loaded) any { return terminated(l).Limits().IdleTimeout }, 5 * time.Second},
		{inHTTPTimes, "response: 5s", func(l loaded) any { return terminated(l).Limits().ResponseTimeout }, 5 * time.Second},
	}
}

// TestTerminateMistakes: each says what is wrong, and where.
func TestTerminateMistakes(t *testing.T) {
	for _, tt := range []struct{ where, text, want string }{
		{inTerminate, "certificates: [{certificate: /none.pem, key: /none.key}]", "/none.pem: no such file"},
		{inTerminate, "certificates: [{certificate: '" + termFile("key.pem") + "', key: '" + termFile("cert.pem") + "'}]", "load the certificate"},
		{inPair, "certificate: cert.pem", `found "cert.pem", expected the absolute path`},
		{inTerminate, "to: tcp, preauth: {secrets_file: '" + termFile("secrets") + "'}", `"preauth" has no effect with to: tcp`},
		{inTerminate, "to: tcp, client_certificates: {ca: '" + termFile("cert.pem") + "'}", `needs refuse: handshake`},
		{inPreauth, "exempt: [gitlap]", `did you mean "gitlab"?`},
		{inPreauth, "exempt: always, base_path: mattermost", "base path"},
		{inPreauth, "secrets_file: '" + termFile("cert.pem") + "'", "cert.pem:"},
		{inExempt, "path: /x, prefix: /y", `has one of "path", "prefix" and "pattern"`},
		{inExempt, "pattern: '('", "expected a regular expression"},
		{inClients, "ca: '" + termFile("key.pem") + "'", "load the authorities"},
		{inClients, "refuse: handshake, status: 401", `"status" has no effect`},
		{inClients, "header: 'X Cert'", "expected the name of a header"},
		{inEncrypt, "verify: off", "dangerously-off"},
		{inACME, "directory: 'http://ca.example'", "expected the https URL"},
		{inListener, "redirect: http", "expected https"},
		{inListener, "redirect: https, pool: p", `"pool" has no effect beside "redirect"`},
	} {
		t.Run(tt.text, func(t *testing.T) {
			err := parseErr(fileWith(tt.where, tt.text))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
	}
	for names, want := range map[string]string{"'*.example.com'": "whole names only", "a.example, alpn: h2": "cannot be proven"} {
		text := "server_name: " + names + ", pool: p, terminate: {acme: {cache: /c}}"
		if err := parseErr(fileWith(inRoute, text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", names, err, want)
		}
	}
}
