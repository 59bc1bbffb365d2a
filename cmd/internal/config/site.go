package config

import (
	"errors"
	"net/url"
	"path"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"culvert/l4"
	"culvert/sniff"
)

// siteURL reads where users find a Mattermost server: its SiteURL.
func (d *decoder) siteURL(n ast.Node) *url.URL {
	const want = "the https URL of a site, such as https://chat.example.com or https://example.com/chat"
	w := d.word(n, want)
	if !w.set() {
		return nil
	}
	u, err := parseSite(w.text)
	if err != nil {
		d.errorAt(w.at, "found %s, expected %s: %v", quote(w.text), want, err)
		return nil
	}
	return u
}

// parseSite reads a site's URL, without a slash at its end.
func parseSite(text string) (*url.URL, error) {
	u, err := url.Parse(strings.TrimRight(text, "/"))
	if err != nil {
		return nil, errors.New("not a URL")
	}
	if _, err := sniff.AppendName(nil, u.Hostname()); err != nil || u.Hostname() == "" {
		return nil, errors.New("it needs a host name")
	}
	port, err := strconv.ParseUint(u.Port(), 10, 16)
	switch {
	case u.Scheme != "https":
		return nil, errors.New("it must begin with https://")
	case u.Port() == "443":
		return nil, errors.New("leave :443 out, as browsers do")
	case strings.HasSuffix(u.Host, ":"), u.Port() != "" && (err != nil || port == 0):
		return nil, errors.New("the port is none")
	case u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return nil, errors.New("nothing may stand beside the host, the port and the path")
	case u.Path != "" && (u.Path != path.Clean(u.Path) || u.RawPath != ""):
		return nil, errors.New("the path is not written plainly")
	}
	return u, nil
}

// A Site is what the file says of a pool as what its users see.
type Site struct {
	Pool       *l4.Pool
	Mattermost bool     // its health check or its site_url says so
	URL        *url.URL // site_url; nil: not said
	Probes     *Probes  // nil: none
	Ways       []Way
}

// A Way leads clients to a pool.
type Way struct {
	Listener string
	Kind     WayKind
	Pattern  string     // of the route's server name; "": every other
	ALPN     []string   // that the route asks for
	Settings *Terminate // nil: TLS does not end here
}

// WayKind is what arrives at the servers.
type WayKind int

// The kinds.
const (
	PassedThrough WayKind = iota // the clients' TLS
	Terminated                   // what TLS had inside, perhaps in TLS again
	Plaintext                    // the clients' plain HTTP
	PlainTCP                     // whatever clients send
)

// Sites returns what the file says of each pool of cfg, which was built from
// it, in the order of cfg.Pools.
func (f *File) Sites(cfg *l4.Config) []Site {
	byName := map[string]*pool{}
	for _, p := range f.pools {
		byName[p.name.text] = p
	}
	ways := f.ways()
	var all []Site
	for _, p := range cfg.Pools() {
		name := p.Balancer.Name()
		from := byName[name]
		mattermost := from.site != nil || from.probes != nil && from.probes.Mattermost
		all = append(all, Site{p, mattermost, from.site, from.probes, ways[name]})
	}
	return all
}

// ways returns what leads to each pool.
func (f *File) ways() map[string][]Way {
	all := map[string][]Way{}
	for _, l := range f.listeners {
		add := func(t target, w Way) {
			if w.Listener = l.name.text; t.pool.set() {
				all[t.pool.text] = append(all[t.pool.text], w)
			}
		}
		add(l.pool, Way{Kind: PlainTCP})
		add(l.plaintext, Way{Kind: Plaintext})
		for _, r := range l.routes {
			kind := PassedThrough
			if r.terminate != nil {
				kind = Terminated
			}
			for _, name := range r.names {
				add(r.target, Way{Kind: kind, Pattern: samePattern(name.text), ALPN: texts(r.alpn), Settings: r.terminate})
			}
		}
		add(l.fallback, Way{Kind: PassedThrough})
	}
	return all
}
