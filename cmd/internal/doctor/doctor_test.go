package doctor

import (
	"bytes"
	"compress/flate"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"culvert/cmd/internal/config"
	"culvert/l4/terminate/mattermosttest"
)

func TestAllIsWell(t *testing.T) {
	for name, change := range map[string]func(*rig){
		"passed through": func(*rig) {},
		"terminated":     func(r *rig) { r.terminate("") },
		"encrypted again": func(r *rig) {
			r.route = fmt.Sprintf(", terminate: {%s, encrypt: {verify: %s}}", r.ca.pair(siteName), r.ca.file)
		},
		"below a subpath": func(r *rig) {
			r.pool = ", site_url: https://chat.example.com/mm, health: {check: https, path: /mm/api/v4/system/ping, server_name: chat.example.com, verify: " + r.ca.file + "}"
			r.each(func(n *node) { n.SiteURL = "https://chat.example.com/mm" })
		},
		"another port": func(r *rig) {
			r.pool += ", site_url: https://chat.example.com:8443"
			r.each(func(n *node) { n.SiteURL = "https://chat.example.com:8443" })
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			change(r)
			report := r.examine(t, Doctor{})
			if report.Result != OK || len(report.Findings) > 0 {
				t.Errorf("got\n%s", report.text())
			}
			for _, want := range []string{`chat +chat-1 +reach +ok`, `chat +chat-2 +ping +ok: OK`, `chat +chat-1 +SiteURL +ok: https://chat\.example\.com`,
				`chat +chat-1 +single sign-on +ok: gitlab`, `chat +chat-2 +websocket +ok: 101`, `chat +chat-1 +https +ok: cookies are Secure`,
				`chat +- +servers +ok: 2 of 2 healthy`, `chat +- +versions +ok: all 10\.0\.0`, `chat +- +clocks +ok`, ` 0 wrong`} {
				if !regexp.MustCompile(want).MatchString(report.text()) {
					t.Errorf("no %s in\n%s", want, report.text())
				}
			}
		})
	}
}

// Each deployment differs in one thing from the one without findings.
var findings = []struct {
	name   string
	change func(*rig)
	result Result
	server string // of a row that has the finding; "-" is the pool
	check  string
	want   string // of the problem, or the remedy
}{
	{"SiteURL of another scheme", siteIs("http://chat.example.com"), Wrong, "chat-1", "SiteURL", `SiteURL is "http://chat.example.com", expected "https://chat.example.com": the scheme is http instead of https`},
	{"SiteURL of another host", siteIs("https://mm.example.com"), Wrong, "chat-1", "SiteURL", "the host is mm.example.com instead of chat.example.com"},
	{"SiteURL with the port of https", siteIs("https://chat.example.com:443"), Wrong, "chat-1", "SiteURL", "the port is 443 instead of none"},
	{"SiteURL of another port", both(says("https://chat.example.com"), siteIs("https://chat.example.com:8443")), Wrong, "chat-1", "SiteURL", "the port is 8443 instead of none"},
	{"SiteURL without the port", both(says("https://chat.example.com:8443"), siteIs("https://chat.example.com")), Wrong, "chat-1", "SiteURL", "the port is none instead of 8443"},
	{"SiteURL with another subpath", both(says("https://chat.example.com"), siteIs("https://chat.example.com/mm")), Wrong, "chat-1", "SiteURL", "the subpath is /mm instead of none"},
	{"SiteURL is empty", siteIs(""), Wrong, "chat-1", "SiteURL", "SiteURL is empty"},
	{"the remedy of a SiteURL", siteIs("http://chat.example.com"), Wrong, "chat-1", "SiteURL", "set MM_SERVICESETTINGS_SITEURL=https://chat.example.com on every node"},
	{"redirect_uri of another scheme", siteIs("http://chat.example.com"), Wrong, "chat-2", "single sign-on", `gitlab: the provider is told to send browsers back to "http://chat.example.com/signup/gitlab/complete"`},
	{"redirect_uri of another port", both(says("https://chat.example.com"), siteIs("https://chat.example.com:8443")), Wrong, "chat-2", "single sign-on", `expected "https://chat.example.com/signup/gitlab/complete": the port is 8443 instead of none`},
	{"redirect_uri of a SiteURL that is not shown", both(siteIs("http://chat.example.com"), hidden), Wrong, "chat-1", "single sign-on", "the scheme is http instead of https"},
	{"SAML that returns elsewhere", samlTo("https://chat.example.com:443/login/sso/saml"), Wrong, "chat-1", "single sign-on", "saml: the provider is told to send browsers back to \"https://chat.example.com:443/login/sso/saml\""},
	{"sign-on is on and does not begin", func(r *rig) { r.each(func(n *node) { n.GitLab.Scope = "openid" }) }, Wrong, "chat-1", "single sign-on", "gitlab is on, but GET /oauth/gitlab/login answers 501"},
	{"a site_url that leads nowhere", says("https://mm.example.com"), Wrong, "-", "route", "the host of the site_url, mm.example.com, leads nowhere"},
	{"a health check that asks at the root", both(says("https://chat.example.com/mm"), siteIs("https://chat.example.com/mm")), Wrong, "chat-1", "ping", "path: /mm/api/v4/system/ping"},

	{"a certificate that expired", certificate(-2, siteName), Wrong, "chat-1", "certificate", "the certificate expired at "},
	{"a certificate that ends soon", certificate(20, siteName), Warning, "chat-1", "certificate", "the certificate expires in 20 days"},
	{"a foreign certificate", certificate(90, "www.example.org"), Wrong, "chat-1", "certificate", "the certificate is not for chat.example.com, but for www.example.org"},
	{"a name of the route is missing", func(r *rig) { r.more = "  - {server_name: '*.example.com', pool: chat}; " }, Wrong, "chat-1", "certificate", "not for culvert-doctor.example.com, but for chat.example.com"},
	{"an authority of one's own", func(r *rig) { r.pool = ", health: mattermost" }, Warning, "chat-1", "certificate", "from an authority that this machine does not trust, CN=test CA"},
	{"an authority that the file does not trust", func(r *rig) {
		other := newAuthority(r.ca.t)
		r.each(func(n *node) { n.cert = other.issue(90, siteName) })
	}, Wrong, "chat-1", "certificate", "from an authority that the file does not trust"},
	{"a certificate of the system's for culvert", func(r *rig) {
		r.route = ", terminate: {" + r.ca.pair(siteName) + ", encrypt: on}"
	}, Wrong, "chat-1", "certificate", "from an authority that the file does not trust"},

	{"a node is unhealthy", func(r *rig) { r.nodes[0].ill = true }, Wrong, "chat-1", "ping", `status is "UNHEALTHY"`},
	{"one of two is healthy", func(r *rig) { r.nodes[0].ill = true }, Warning, "-", "servers", "1 of 2 servers are healthy"},
	{"a node is dead", func(r *rig) { r.nodes[1].dead = true }, Wrong, "chat-2", "reach", "it cannot be reached: connect"},
	{"no server is healthy", func(r *rig) { r.each(func(n *node) { n.dead = true }) }, Wrong, "-", "servers", "no server is healthy"},
	{"the database is gone", func(r *rig) {
		r.each(func(n *node) { n.Database = &mattermosttest.Database{}; n.Database.SetHealth(mattermosttest.Unhealthy) })
	}, Wrong, "chat-1", "ping", `database_status is "UNHEALTHY"`},
	{"no Mattermost", func(r *rig) {
		r.each(func(n *node) { n.wrap = func(http.Handler) http.Handler { return http.NotFoundHandler() } })
	}, Wrong, "chat-1", "settings", "GET /api/v4/config/client answers 404"},
	{"a rate limit", func(r *rig) { r.each(func(n *node) { n.wrap = limited }) }, Warning, "chat-1", "ping", "rate limit"},

	{"a clock that is slow", clock(0, -time.Minute), Wrong, "chat-1", "clock", "s behind this machine's, at most 30s is allowed"},
	{"a clock that is fast", clock(0, time.Hour), Wrong, "chat-1", "clock", "s ahead of this machine's, at most 30s is allowed"},
	{"clocks that differ", func(r *rig) { clock(0, 20*time.Second)(r); clock(1, -20*time.Second)(r) }, Wrong, "-", "clocks", "the clocks of chat-2 and chat-1 are "},

	{"a node of another version", func(r *rig) { r.nodes[1].Version = 11 }, Wrong, "-", "versions", "chat-1 has version 10.0.0, and chat-2 has 11.0.0"},
	{"client certificates before version 11", func(r *rig) {
		r.terminate(", client_certificates: {ca: " + r.ca.file + "}")
		r.each(func(n *node) { n.Version = 11 })
	}, Warning, "chat-1", "version", "version 11 does not support them and ignores the headers"},
	{"certificate login behind passed-through TLS", settings(`"ExperimentalClientSideCertEnable":"true"`), Wrong, "chat-1", "version", "any client can log in as any user"},
	{"certificate login without certificates", func(r *rig) {
		r.terminate("")
		settings(`"ExperimentalClientSideCertEnable":"true"`)(r)
	}, Warning, "chat-1", "version", "no route asks for them"},

	{"any Origin is accepted", func(r *rig) { r.each(func(n *node) { n.AllowCorsFrom = "*" }) }, Wrong, "chat-1", "websocket", "pages of any site"},
	{"its own Origin refused", both(says("https://chat.example.com"), siteIs("https://mm.example.com")), Wrong, "chat-1", "websocket", "refuses a WebSocket of the site's own pages, from the Origin https://chat.example.com, with 403"},
	{"an Origin that may be another", both(siteIs("https://chat.example.com:8443"), hidden), Warning, "chat-1", "websocket", "set site_url to the address of the site for users"},
	{"no Upgrade", func(r *rig) { r.each(func(n *node) { n.wrap = without("Upgrade") }) }, Wrong, "chat-1", "websocket", "from the Origin https://chat.example.com, with 400"},

	{"X-Forwarded-Proto is lost", func(r *rig) { r.terminate(""); r.each(func(n *node) { n.wrap = without("X-Forwarded-Proto") }) }, Wrong, "chat-1", "https", "the cookies MMOAUTH are not Secure, although culvert sends X-Forwarded-Proto: https"},
	{"a redirect to http", func(r *rig) {
		r.terminate("")
		r.each(func(n *node) { n.wrap = redirecting })
	}, Wrong, "chat-1", "https", `redirects to "http://chat.example.com/login"`},
	{"to tcp", func(r *rig) { r.terminate(", to: tcp") }, Wrong, "-", "proxy headers", "to: tcp does not tell the servers"},
	{"routes of both kinds", func(r *rig) {
		r.terminate(", encrypt: {verify: " + r.ca.file + "}")
		cert := r.ca.issue(90, siteName, "mm.example.com")
		r.each(func(n *node) { n.cert = cert })
		r.pool = ", health: {check: mattermost, server_name: chat.example.com, verify: " + r.ca.file + "}"
		r.more = "  - {server_name: mm.example.com, pool: chat}; "
	}, Warning, "-", "proxy headers", "no value of MM_SERVICESETTINGS_TRUSTEDPROXYIPHEADER is right"},
	{"plain HTTP where TLS is sent", func(r *rig) { r.each(func(n *node) { n.cert = nil }) }, Wrong, "chat-1", "reach", "the server expects plain HTTP, but culvert sends TLS"},
	{"TLS where plain HTTP is sent", func(r *rig) {
		cert := r.nodes[0].cert
		r.terminate("")
		r.each(func(n *node) { n.cert = cert })
	}, Wrong, "chat-1", "settings", "the server expects TLS, but culvert sends plain HTTP"},
	{"TLS and plain HTTP to one port", func(r *rig) {
		r.more = "  - {server_name: mm.example.com, pool: chat, terminate: {" + r.ca.pair("mm.example.com") + "}}; "
	}, Wrong, "-", "transport", "a port accepts only one of them"},

	{"a certificate that covers another pool's name", func(r *rig) {
		certificate(90, siteName, "*.example.com")(r)
		r.more = "  - {server_name: docs.example.com, pool: docs}; " + "  docs: {servers: ['127.0.0.1:1']}"
	}, Warning, "-", "coalescing", "the certificates of the pool chat also cover docs.example.com, which the listener site sends to the pool docs"},
}

func siteIs(text string) func(*rig) {
	return func(r *rig) { r.each(func(n *node) { n.SiteURL = text }) }
}

func says(text string) func(*rig) { return func(r *rig) { r.pool += ", site_url: '" + text + "'" } }

func both(a, b func(*rig)) func(*rig) { return func(r *rig) { a(r); b(r) } }

func certificate(days int, names ...string) func(*rig) {
	return func(r *rig) {
		cert := r.ca.issue(days, names...)
		r.each(func(n *node) { n.cert = cert })
	}
}

// clock sets the clock of a node's answers.
func clock(i int, off time.Duration) func(*rig) {
	return func(r *rig) {
		now := func() time.Time { return time.Now().Add(off) }
		r.nodes[i].Now = now
		r.nodes[i].wrap = func(h http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
				w.Header().Set("Date", now().UTC().Format(http.TimeFormat))
				h.ServeHTTP(w, req)
			})
		}
	}
}

// settings makes the nodes show additional settings.
func settings(more string) func(*rig) {
	return func(r *rig) {
		r.each(func(n *node) {
			n.wrap = func(h http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
					if strings.HasSuffix(req.URL.Path, settingsPath) {
						w = &inserting{w, more}
					}
					h.ServeHTTP(w, req)
				})
			}
		})
	}
}

// hidden makes the nodes show their SiteURL only after a login.
func hidden(r *rig) {
	r.each(func(n *node) {
		n.wrap = func(h http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
				h.ServeHTTP(&replacing{w, `"SiteURL"`, `"Hidden"`}, req)
			})
		}
	})
}

type replacing struct {
	http.ResponseWriter
	old, new string
}

func (w *replacing) Write(b []byte) (int, error) {
	_, err := w.ResponseWriter.Write(bytes.ReplaceAll(b, []byte(w.old), []byte(w.new)))
	return len(b), err
}

func (w *replacing) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// samlTo makes the nodes offer SAML with a return address.
func samlTo(back string) func(*rig) {
	return func(r *rig) {
		settings(`"EnableSaml":"true"`)(r)
		r.each(func(n *node) {
			inner := n.wrap
			n.wrap = func(h http.Handler) http.Handler {
				h = inner(h)
				return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
					if req.URL.Path != "/login/sso/saml" {
						h.ServeHTTP(w, req)
						return
					}
					http.Redirect(w, req, "https://idp.example.com/?SAMLRequest="+url.QueryEscape(samlRequest(back)), http.StatusFound)
				})
			}
		})
	}
}

func samlRequest(back string) string {
	var b bytes.Buffer
	w := must(flate.NewWriter(&b, 9))
	fmt.Fprintf(w, `<samlp:AuthnRequest xmlns:samlp="urn:oasis:names:tc:SAML:2.0:protocol" AssertionConsumerServiceURL="%s"/>`, back)
	_ = w.Close()
	return base64.StdEncoding.EncodeToString(b.Bytes())
}

type inserting struct {
	http.ResponseWriter
	more string
}

func (w *inserting) Write(b []byte) (int, error) {
	_, err := w.ResponseWriter.Write(bytes.Replace(b, []byte("{"), []byte("{"+w.more+","), 1))
	return len(b), err
}

func without(header string) func(http.Handler) http.Handler {
	return func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			req.Header.Del(header)
			h.ServeHTTP(w, req)
		})
	}
}

func limited(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if strings.HasSuffix(req.URL.Path, pingPath) {
			http.Error(w, "limit exceeded", http.StatusTooManyRequests)
			return
		}
		h.ServeHTTP(w, req)
	})
}

func redirecting(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.URL.Path == "/" {
			http.Redirect(w, req, "http://"+req.Host+"/login", http.StatusFound)
			return
		}
		h.ServeHTTP(w, req)
	})
}

func TestFindings(t *testing.T) {
	for _, tt := range findings {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t)
			tt.change(r)
			report := r.examine(t, Doctor{})
			if f := report.about(tt.server, tt.check, tt.want); f == nil || f.Result != tt.result {
				t.Errorf("got %+v, want %s: %s at %s: %s in\n%s", f, tt.result, tt.check, tt.server, tt.want, report.text())
			}
			if worse(report.Result, tt.result) != report.Result {
				t.Errorf("result %s with a finding that is %s", report.Result, tt.result)
			}
		})
	}
}

// about returns the finding of a row whose text contains want.
func (r *Report) about(server, check, want string) *Finding {
	for _, c := range r.Checks {
		if c.Check != check || c.Server != strings.TrimPrefix(server, "-") {
			continue
		}
		for _, n := range c.Findings {
			if f := &r.Findings[n-1]; strings.Contains(f.Problem+"\n"+f.Remedy, want) {
				return f
			}
		}
	}
	return nil
}

// TestServersShareFindings: a problem of all servers is reported once.
func TestServersShareFindings(t *testing.T) {
	r := newRig(t)
	siteIs("http://chat.example.com")(r)
	report := r.examine(t, Doctor{})
	f := report.about("chat-1", "SiteURL", "")
	if f == nil || fmt.Sprint(f.Servers) != "[chat-1 chat-2]" {
		t.Errorf("got %+v in\n%s", f, report.text())
	}
}

func TestNotes(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*rig)
		want   string
	}{
		{"passed through", func(*rig) {}, "passed through: MM_SERVICESETTINGS_TRUSTEDPROXYIPHEADER must be empty"},
		{"terminated", func(r *rig) { r.terminate("") }, `MM_SERVICESETTINGS_TRUSTEDPROXYIPHEADER="X-Forwarded-For X-Real-IP"`},
		{"certificates that differ", func(r *rig) { r.nodes[1].cert = r.ca.issue(90, siteName) }, "the servers have different certificates for chat.example.com"},
		{"a regular expression", func(r *rig) { r.more = "  - {server_name: '~^x', pool: chat}; " }, `for the route "~^x" are not known`},
		{"a SiteURL that is not shown", hidden, "does not show its SiteURL without a login"},
		{"SAML that returns here", samlTo("https://chat.example.com/login/sso/saml"), "ok: gitlab, saml"},
		{"SAML that cannot be checked", samlTo(""), "the SAMLRequest has no AssertionConsumerServiceURL"},
		{"no single sign-on", func(r *rig) { r.each(func(n *node) { n.GitLab.Enable = false }) }, "no cookie can be checked before a login"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t)
			tt.change(r)
			if report := r.examine(t, Doctor{}); report.Result != OK || !strings.Contains(report.text(), tt.want) {
				t.Errorf("no %s in\n%s", tt.want, report.text())
			}
		})
	}
}

// TestCoalescingFromElsewhere: the certificate of another pool covers the site's
// name.
func TestCoalescingFromElsewhere(t *testing.T) {
	r := newRig(t)
	docs := node{cert: r.ca.issue(90, "docs.example.com", "*.example.com")}.start(t)
	r.more = "  - {server_name: docs.example.com, pool: docs}; " + fmt.Sprintf("  docs: {servers: ['%s']}", docs)
	report := r.examine(t, Doctor{})
	if f := report.about("-", "coalescing", "the certificates of the pool docs also cover chat.example.com"); f == nil {
		t.Errorf("got\n%s", report.text())
	}
}

// TestASilentServerTakesNoLongerThanItsProbe: the server accepts and sends
// nothing.
func TestASilentServerTakesNoLongerThanItsProbe(t *testing.T) {
	ln := must(net.Listen("tcp", "127.0.0.1:0"))
	t.Cleanup(func() { _ = ln.Close() })
	text := fmt.Sprintf("listeners: [{address: ':1', default: p}]\npools: {p: {servers: ['%s'], site_url: https://chat.example.com}}\n", ln.Addr())
	f := parsed(t, []byte(text))
	began := time.Now()
	report := must(Doctor{}.Examine(t.Context(), must(f.Build(t.Context(), nil))))
	if took := time.Since(began); took > 2*probeTimeout || report.about(ln.Addr().String(), "reach", "no answer within 5s") == nil {
		t.Errorf("after %s\n%s", took, report.text())
	}
}

func TestTimeIsUp(t *testing.T) {
	r := newRig(t)
	f := parsed(t, []byte(r.file(t)))
	cfg := must(f.Build(t.Context(), nil))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	report := must(Doctor{}.Examine(ctx, cfg))
	if report.about("chat-2", "reach", "not examined within 30s") == nil {
		t.Errorf("got\n%s", report.text())
	}
}

// TestServersThatAreOut: one is down in the file, one has no address.
func TestServersThatAreOut(t *testing.T) {
	r := newRig(t)
	text := strings.Replace(r.file(t), "servers: [", "servers: [{address: '127.0.0.1:1', name: spare, down: on}, {address: 'missing.invalid:443', name: missing}, ", 1) + "dns: {require: off}\n"
	f := parsed(t, []byte(text))
	report := must(Doctor{}.Examine(t.Context(), must(f.Build(t.Context(), noNames{}))))
	if !strings.Contains(report.text(), "down in the file, not examined") || report.about("missing", "reach", `its name "missing.invalid:443" has no address`) == nil {
		t.Errorf("got\n%s", report.text())
	}
	if !strings.Contains(report.text(), "2 of 2 healthy") {
		t.Errorf("servers that are out of service are counted:\n%s", report.text())
	}
}

type noNames struct{ config.Resolver }

func (noNames) Addrs(context.Context, string) ([]netip.Addr, error) {
	return nil, errors.New("no such name")
}

func TestNoSite(t *testing.T) {
	f := parsed(t, []byte("listeners: [{address: ':1', default: p}]\npools: {p: {servers: ['127.0.0.1:1']}}\n"))
	_, err := Doctor{}.Examine(t.Context(), must(f.Build(context.Background(), nil)))
	if !errors.Is(err, ErrNoSite) {
		t.Errorf("got %v, want %v", err, ErrNoSite)
	}
}

// TestItChangesNothing: all requests are GET, and only for the paths of the
// checks.
func TestItChangesNothing(t *testing.T) {
	r := newRig(t)
	nodes := must(mattermosttest.NewCluster(1, r.nodes[0].Config, mattermosttest.ServerConfig{Certificate: r.nodes[0].cert}))
	t.Cleanup(nodes.Close)
	text := strings.Replace(r.file(t), "servers: [{", "servers: [{address: '"+nodes[0].Addr()+"', name: seen}, {", 1)
	f := parsed(t, []byte(text))
	_ = must(Doctor{}.Examine(t.Context(), must(f.Build(t.Context(), nil))))
	known := []string{settingsPath, pingPath, socketPath, "/oauth/gitlab/login", "/"}
	for _, q := range nodes[0].Requests() {
		if q.Method != http.MethodGet || !strings.Contains(strings.Join(known, " ")+" ", q.Path+" ") {
			t.Errorf("%s %s", q.Method, q.Target)
		}
	}
	if n := len(nodes[0].Requests()); n < 6 || n > 20 {
		t.Errorf("%d requests", n)
	}
	if n := nodes[0].Sockets(); n > 1 { // one may be closing
		t.Errorf("%d WebSockets are left open", n)
	}
}
