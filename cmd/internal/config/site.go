package config

// A Site is what a configuration says of a pool as its users see it.
type Site struct {
	*BuiltPool
	Mattermost bool // its health check or its site URL says so
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

// Sites returns what is said of each pool that connections can get to, in the
// order of b.Pools.
func (b *Built) Sites() []Site {
	ways := b.Config.ways()
	var all []Site
	for _, p := range b.Pools {
		mattermost := p.SiteURL != nil || p.Probes != nil && p.Probes.Mattermost
		all = append(all, Site{p, mattermost, ways[p.Config.Name]})
	}
	return all
}

// ways returns what leads to each pool.
func (c *Config) ways() map[string][]Way {
	all := map[string][]Way{}
	for _, l := range live(c.Listeners) {
		add := func(t *Target, w Way) {
			if w.Listener = l.named(); t.Action == ToPool {
				all[t.Pool.Value] = append(all[t.Pool.Value], w)
			}
		}
		add(&l.Pool, Way{Kind: PlainTCP})
		add(&l.Plaintext, Way{Kind: Plaintext})
		for _, r := range live(l.Routes) {
			for _, name := range r.ServerNames {
				add(&r.Target, r.way(name.Value))
			}
		}
		add(&l.Default, Way{Kind: PassedThrough})
	}
	return all
}

// way returns how a name of r leads to its pool.
func (r *Route) way(name string) Way {
	kind := PassedThrough
	if r.Terminate != nil {
		kind = Terminated
	}
	return Way{Kind: kind, Pattern: samePattern(name), ALPN: values(r.ALPN), Settings: r.Terminate}
}
