package config

import (
	"time"

	"culvert/l4/terminate"
)

// Terminate is how TLS ends on a route. It names files; the runtime reads
// them, and reads them again when they change.
type Terminate struct {
	Source
	Certificates []*KeyPair        // one or more, unless there is ACME
	ACME         *ACME             // nil: none
	Profile      terminate.Profile // "": terminate.Intermediate
	Raw          bool              // what is inside TLS goes to a server as it is, instead of as HTTP

	Preauth *Preauth            // nil: no secret is asked for
	Clients *ClientCertificates // nil: no certificate is asked for
	Encrypt *Encrypt            // TLS towards the servers; nil: plain text

	HSTS                 time.Duration // max-age; 0: no header
	StripRequestHeaders  []Text        // names, or beginnings and an asterisk
	StripResponseHeaders []Text

	MaxBody         int64         // bytes of a request's body; 0: terminate.DefaultMaxBody
	MinBodyRate     int64         // bytes a second; 0: terminate.DefaultMinBodyRate
	MaxHeader       int64         // bytes of a request's headers; 0: terminate.DefaultMaxHeader
	HeaderTimeout   time.Duration // 0: terminate.DefaultHeaderTimeout
	BodyTimeout     time.Duration // 0: terminate.DefaultBodyTimeout
	IdleTimeout     time.Duration // 0: terminate.DefaultIdleTimeout
	ResponseTimeout time.Duration // 0: terminate.DefaultResponseTimeout
}

// A KeyPair is a certificate with its chain, and its private key: absolute
// paths of PEM files.
type KeyPair struct {
	Source
	Certificate, Key string
}

// ACME is an account with a certificate authority (RFC 8555).
type ACME struct {
	Source
	Email     string // ""; none is given
	Directory string // https URL of the authority; "": Let's Encrypt
	Cache     string // directory of the account's key and the certificates, an absolute path; required
	Roots     string // PEM file of the authorities that vouch for the directory; "": the system's
}

// Preauth is a secret that requests must carry.
type Preauth struct {
	Source
	SecretsFile     string // an absolute path; required
	Presets         []Text // sets of exempt paths, by terminate.PresetNames
	Exempt          []*ExemptPath
	BasePath        string // that Mattermost is served under; "": /
	ExemptWebSocket bool
}

// An ExemptPath is requests that need no secret. One of Path, Prefix and
// Pattern is set.
type ExemptPath struct {
	Source
	Path    string   // the whole path
	Prefix  string   // what it begins with
	Pattern string   // a regular expression (RE2) that matches all of it
	Methods []string // in upper case; none: GET and HEAD
}

// ClientCertificates are those that clients must show.
type ClientCertificates struct {
	Source
	CA            string   // PEM file of the authorities, an absolute path; required
	CRLs          []string // files of revocation lists, absolute paths
	Optional      bool     // a client without a certificate is served
	Handshake     bool     // refuse in the handshake, instead of with a page
	Status        int      // of the page, 400 or 401; 0: 400
	Recheck       bool     // close connections whose certificate was revoked
	Header        string   // that carries the certificate; "": terminate's default
	SubjectHeader string   // that carries its subject; "": terminate's default
	Email         terminate.EmailSource
}

// Encrypt is TLS towards the servers.
type Encrypt struct {
	Source
	Insecure   bool     // their certificates are not verified
	Roots      string   // PEM file of the authorities, an absolute path; "": the system's
	ServerName string   // SNI, and what the certificate is for; "": what the client asked for
	Identity   *KeyPair // what servers that ask are shown; nil: nothing
}
