package config

import (
	"net/url"
	"time"

	"culvert/health"
	"culvert/l4"
	"culvert/l4/socket"
)

// Built is what the runtime runs of a Config: the engine's part, and what
// goes on beside the engine. Its pools are new with each Build.
type Built struct {
	Config       *Config // that it was built of
	Engine       *l4.Config
	Pools        []*BuiltPool // those that connections can get to, in the order of Engine.Pools
	Terminations []Termination
	Redirects    map[*l4.Listener]int // listeners that send clients to https, and its port

	Admin socket.Addr // where the admin server listens; invalid: nowhere
}

// A BuiltPool is a pool with what is known of its servers from outside.
type BuiltPool struct {
	*l4.Pool
	Config   *Pool
	Probes   *Probes          // nil: none
	Ejection *health.Ejection // nil: never ejected
	SiteURL  *url.URL         // nil: not said
}

// Probes says how the servers of a pool are probed.
type Probes struct {
	Check    health.Check
	Deep     *health.Check // nil: none
	DeepPace time.Duration // begin to begin of Deep
	Schedule health.Schedule
	Port     uint16 // 0: the server's own

	Mattermost bool // the check is the preset
}

// A Termination is a route whose TLS ends in culvert.
type Termination struct {
	Key      string // tells it from others of the configuration, also after a replacement
	Listener string
	Name     string // its server names, joined with commas
	Settings *Terminate
	Names    []string    // server names in normal form, for ACME
	Routes   []*l4.Route // of Engine, one a name; the runtime sets their Handler
}
