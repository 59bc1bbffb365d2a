package mattermosttest

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// NodeHeader is the response header that names the node that answered.
const NodeHeader = "X-Mattermosttest-Node"

// Defaults of a Config, as in Mattermost 9.9.
const (
	defaultVersion      = 10
	defaultMaxFileSize  = 100 << 20
	defaultPingInterval = 60 * time.Second
	defaultPongWait     = 100 * time.Second
	defaultRecorded     = 1000
	providerTimeout     = 30 * time.Second
	noCertificateLogin  = 11 // the first version that does not start with it
)

// Config is what a node is built from. The zero value is a node without a
// SiteURL, users or single sign-on.
type Config struct {
	// SiteURL is the public address, with a subpath if the server has one:
	// every route is then below it. Blank: some addresses are taken from the
	// request.
	SiteURL string
	// Node is sent in NodeHeader.
	Node string
	// Version is the major version; 0 means 10.
	Version int
	// CertificateLogin may be set before version 11 only.
	CertificateLogin CertificateLogin
	// FutureFeatures says whether there is a licence with that flag, which
	// certificate login needs.
	FutureFeatures bool
	// GitLab is the provider of single sign-on.
	GitLab GitLabSettings
	// Client talks to the provider. Default: one with a timeout of 30 s.
	Client *http.Client
	// Database is shared by the nodes of a cluster. Default: one of its own.
	Database *Database
	// TrustedProxyIPHeader lists the request headers that are believed about
	// the client's address, first one first. Default: none.
	TrustedProxyIPHeader []string
	// AllowCorsFrom lists origins that may open WebSockets besides SiteURL's,
	// separated by spaces; "*" stands for all.
	AllowCorsFrom string
	// MaxFileSize is in bytes; 0 means 100 MB.
	MaxFileSize int64
	// PingInterval is the time between pings on a WebSocket; 0 means 60 s.
	PingInterval time.Duration
	// PongWait is how long a WebSocket lives without a pong; 0 means 100 s.
	PongWait time.Duration
	// Recorded is how many of the newest requests Requests returns; 0 means
	// 1000, a negative number none.
	Recorded int
	// Now is the clock of sessions, states and cookies. Default: time.Now.
	Now func() time.Time
}

// GitLabSettings configure single sign-on with a provider that speaks GitLab's
// OAuth, which is how any OAuth provider is used without a licence.
type GitLabSettings struct {
	Enable          bool
	ID              string // client_id
	Secret          string // client_secret
	Scope           string // with openid in it, single sign-on answers 501
	AuthEndpoint    string
	TokenEndpoint   string
	UserAPIEndpoint string
}

// Handler is a node of a Mattermost cluster, as an HTTP handler. Its methods are
// safe for concurrent use.
type Handler struct {
	cfg    Config
	site   *url.URL // nil: SiteURL is blank
	base   string   // the subpath, "" without one
	routes []route
	log    requestLog

	health    atomic.Int32
	fileStore atomic.Int32

	ctx     context.Context // ends with Close
	cancel  context.CancelFunc
	mu      sync.Mutex // orders Close with sockets.Add
	sockets sync.WaitGroup
	open    atomic.Int64
}

// NewHandler builds a node. It returns an error for settings that Mattermost does
// not start with. The caller closes the node.
func NewHandler(cfg Config) (*Handler, error) {
	fillIn(&cfg)
	if err := cfg.check(); err != nil {
		return nil, err
	}
	m := &Handler{cfg: cfg}
	if cfg.SiteURL != "" {
		site, err := url.Parse(cfg.SiteURL)
		if err != nil || site.Host == "" || site.Scheme != "http" && site.Scheme != "https" {
			return nil, fmt.Errorf("SiteURL %q is not an http or https URL", cfg.SiteURL)
		}
		m.site, m.base = site, site.Path
	}
	m.log.limit = cfg.Recorded
	m.routes = m.table()
	m.ctx, m.cancel = context.WithCancel(context.Background())
	return m, nil
}

// fillIn sets what is left to its default.
func fillIn(cfg *Config) {
	cfg.SiteURL = strings.TrimRight(strings.TrimSpace(cfg.SiteURL), "/")
	cfg.Version = cmp.Or(cfg.Version, defaultVersion)
	cfg.Client = cmp.Or(cfg.Client, &http.Client{Timeout: providerTimeout})
	cfg.Database = cmp.Or(cfg.Database, &Database{})
	cfg.MaxFileSize = cmp.Or(cfg.MaxFileSize, defaultMaxFileSize)
	cfg.PingInterval = cmp.Or(cfg.PingInterval, defaultPingInterval)
	cfg.PongWait = cmp.Or(cfg.PongWait, defaultPongWait)
	cfg.Recorded = cmp.Or(cfg.Recorded, defaultRecorded)
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
}

func (c *Config) check() error {
	switch c.CertificateLogin {
	case CertificateOff:
		return nil
	case CertificatePrimary, CertificateSecondary:
		if c.Version >= noCertificateLogin {
			return fmt.Errorf("certificate login is gone in version %d", c.Version)
		}
		return nil
	}
	return errors.New("certificate login is neither empty, primary nor secondary")
}

// ServeHTTP answers as the server does.
func (m *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if m.log.limit > 0 {
		m.log.add(m.describe(r))
	}
	w.Header().Set(NodeHeader, m.cfg.Node)
	w.Header().Set("X-Request-Id", newID())
	w.Header().Set("X-Version-Id", m.version())
	m.dispatch(w, r)
}

// Close ends every WebSocket, at once and without a close frame, and returns
// when they are gone. Later ones are refused with status 503.
func (m *Handler) Close() {
	m.mu.Lock()
	m.cancel()
	m.mu.Unlock()
	m.sockets.Wait()
}

func (m *Handler) version() string { return fmt.Sprintf("%d.0.0", m.cfg.Version) }

// newID returns 26 lower-case letters and digits, unlike any other.
func newID() string { return strings.ToLower(rand.Text()) }
