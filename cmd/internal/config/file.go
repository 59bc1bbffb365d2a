package config

import (
	"slices"
	"time"

	"github.com/goccy/go-yaml/ast"

	"culvert/cmd/internal/accesslog"
	"culvert/l4"
	"culvert/l4/socket"
)

// File is a configuration file without errors. It is not changed after Load.
type File struct {
	Path         string
	Warnings     Errors        // what is odd but not wrong
	Admin        Admin         // metrics and status page
	Log          Log           // where records go
	DrainTimeout time.Duration // 0: connections are closed at once

	adminText word // the admin address as written
	loops     int
	limits    l4.Limits
	listeners []*listener
	pools     []*pool // in the order of the file
}

// Admin is where metrics and the status page are served.
type Admin struct {
	Address socket.Addr // an IP address and port; invalid: nowhere
}

// Log says where each kind of record goes.
type Log struct {
	// Access is where the record of each connection goes: a destination as
	// accesslog.Open takes it, by default accesslog.Stdout.
	Access string
}

// Counts says how much is in a file.
type Counts struct {
	Listeners int
	Pools     int
	Servers   int // host names count once
	Routes    int // server names; defaults do not count
}

// Counts counts what is in f.
func (f *File) Counts() Counts {
	c := Counts{Listeners: len(f.listeners), Pools: len(f.pools)}
	for _, p := range f.pools {
		c.Servers += len(p.servers)
	}
	for _, l := range f.listeners {
		for _, r := range l.routes {
			c.Routes += len(r.names)
		}
	}
	return c
}

// Bounds of the numbers in the file. The largest ones are meant to catch
// slips of the hand, not to say what a machine can do.
const (
	mostConnections = 10_000_000
	mostLoops       = 1024
)

// decode reads the whole file; check follows it.
func (d *decoder) decode(root ast.Node) *File {
	f := &File{Path: d.file, Log: Log{Access: accesslog.Stdout}, DrainTimeout: l4.DefaultDrainTimeout}
	keys := d.mapping(root, "the file", fields{
		"listeners":     func(n ast.Node) { f.listeners = d.listeners(n) },
		"pools":         func(n ast.Node) { f.pools = d.pools(n) },
		"admin":         func(n ast.Node) { f.Admin, f.adminText = d.admin(n) },
		"log":           func(n ast.Node) { d.log(n, &f.Log) },
		"limits":        func(n ast.Node) { f.limits = d.limits(n) },
		"loops":         func(n ast.Node) { f.loops = d.integer(n, 1, mostLoops) },
		"drain_timeout": func(n ast.Node) { f.DrainTimeout = d.duration(n, drainSpan) },
	})
	d.require(root, keys, "the file", "listeners")
	return f
}

func (d *decoder) admin(n ast.Node) (a Admin, written word) {
	if s := scalarOf(n); s.kind == text {
		d.errorf(n, "found %s, expected a mapping of keys to values for admin, such as {address: %q}", s, adminExample(s.text))
		return a, written
	}
	keys := d.mapping(n, "admin", fields{
		"address": func(n ast.Node) { written, a.Address = d.adminAddress(n) },
	})
	d.require(n, keys, "admin", "address")
	return a, written
}

// adminExample returns an address to write for one that was written elsewhere.
func adminExample(text string) string {
	if a, err := parseListen(text); err != nil || a.IsUnix() {
		return "127.0.0.1:9180"
	}
	return text
}

func (d *decoder) log(n ast.Node, l *Log) {
	d.mapping(n, "log", fields{
		"access": func(n ast.Node) { l.Access = d.logTarget(n) },
	})
}

// logTarget reads stdout, stderr, off or an absolute path.
func (d *decoder) logTarget(n ast.Node) string {
	known := []string{accesslog.Stdout, accesslog.Stderr, accesslog.Off}
	want := list(append(slices.Clone(known), "the absolute path of a file"))
	w := d.word(n, want)
	if !w.set() || slices.Contains(known, w.text) || w.text[0] == '/' {
		return w.text
	}
	d.errorAt(w.at, "found %s, expected %s%s", quote(w.text), want, d.suggest.hint(w.text, known))
	return ""
}

func (d *decoder) limits(n ast.Node) (l l4.Limits) {
	d.mapping(n, "limits", fields{
		"connections":      func(n ast.Node) { l.Connections = d.integer(n, 1, mostConnections) },
		"hello_per_prefix": func(n ast.Node) { l.HelloPerPrefix = d.integerOr(n, 1, mostConnections, "off") },
		"kept_memory":      func(n ast.Node) { l.KeptBytes = d.size(n, mib, 1024*gib) },
	})
	return l
}

// require reports a key that the mapping n must have and does not.
func (d *decoder) require(n ast.Node, keys found, what, key string) {
	if _, ok := keys[key]; !ok && d.isMapping(n) {
		d.errorf(n, "%s has no %s", what, key)
	}
}

// isMapping tells a mapping without a key from something that was reported
// as no mapping.
func (d *decoder) isMapping(n ast.Node) bool {
	_, ok := n.(ast.MapNode)
	return ok
}
