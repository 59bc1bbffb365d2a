package config

import (
	"cmp"
	"strings"
	"time"

	"culvert/cmd/internal/accesslog"
	"culvert/cmd/internal/notify"
	"culvert/cmd/internal/resolve"
	"culvert/l4"
)

// Destination returns where the access log goes, as accesslog.Open takes it.
func (l *Log) Destination() string { return cmp.Or(l.Access, accesslog.Stdout) }

// IsFile reports whether the access log is a file.
func (l *Log) IsFile() bool { return strings.HasPrefix(l.Access, "/") }

// Config returns what package notify needs.
func (n *Notify) Config() notify.Config {
	return notify.Config{Command: n.Command, Webhook: n.Webhook}
}

// Config returns what package resolve needs.
func (d *DNS) Config() resolve.Config {
	return resolve.Config{Servers: d.Servers, MinTTL: d.MinTTL, MaxTTL: d.MaxTTL, Timeout: d.Timeout}
}

// Drain returns how long a stop waits for connections; 0: they are closed at
// once.
func (c *Config) Drain() time.Duration {
	return max(0, cmp.Or(c.DrainTimeout, l4.DefaultDrainTimeout))
}

// Transparent reports whether a pool is dialed from its clients' addresses.
func (c *Config) Transparent() bool {
	for _, p := range live(c.Pools) {
		if p.Transparent {
			return true
		}
	}
	return false
}

// Counts says how much is in a configuration.
type Counts struct {
	Listeners int
	Pools     int
	Servers   int // host names count once
	Routes    int // server names; defaults do not count
}

// Counts counts what is in c.
func (c *Config) Counts() Counts {
	n := Counts{Listeners: len(live(c.Listeners)), Pools: len(live(c.Pools))}
	for _, p := range live(c.Pools) {
		n.Servers += len(live(p.Servers))
	}
	for _, l := range live(c.Listeners) {
		for _, r := range live(l.Routes) {
			n.Routes += len(r.ServerNames)
		}
	}
	return n
}
