package config

import (
	"cmp"
	"net/netip"
	"net/url"
	"os/user"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"

	"culvert/cmd/internal/accesslog"
	"culvert/cmd/internal/notify"
	"culvert/cmd/internal/resolve"
	"culvert/l4"
	"culvert/l4/socket"
)

// File is a configuration file without errors. It is not changed after Load.
type File struct {
	Path         string
	Warnings     Errors        // what is odd but not wrong
	Admin        Admin         // metrics and status page
	Log          Log           // where records go
	Notify       notify.Config // whom to tell of servers that go up or down
	DNS          resolve.Config
	DrainTimeout time.Duration // 0: connections are closed at once

	namesOptional bool // a name that cannot be looked up is no error
	adminText     word // the admin address as written
	controlText   word // and the path of the control socket
	loops         int
	limits        l4.Limits
	listeners     []*listener
	pools         []*pool // in the order of the file
}

// Admin is where the process can be looked at, and controlled.
type Admin struct {
	Address socket.Addr // metrics and the status page, an IP address and port; invalid: nowhere
	Socket  string      // the path of the control socket; "": none
	Group   string      // whose members may use it, too; "": nobody else
}

// Log says where each kind of record goes.
type Log struct {
	// Access is where the record of each connection goes: a destination as
	// accesslog.Open takes it, by default accesslog.Stdout.
	Access string
}

// IsFile reports whether the access log is a file.
func (l Log) IsFile() bool { return strings.HasPrefix(l.Access, "/") }

// LimitBuffers bounds the bytes held for slow peers and hellos, unless the file
// does; 0 is no bound. It is called before Build.
func (f *File) LimitBuffers(most int64) {
	if f.limits.BufferedBytes == 0 && most > 0 {
		f.limits.BufferedBytes = min(most, l4.DefaultBufferedBytes)
	}
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
		"admin":         func(n ast.Node) { d.admin(n, f) },
		"log":           func(n ast.Node) { d.log(n, &f.Log) },
		"notify":        func(n ast.Node) { f.Notify = d.notify(n) },
		"dns":           func(n ast.Node) { f.DNS = d.dns(n, f) },
		"limits":        func(n ast.Node) { f.limits = d.limits(n) },
		"loops":         func(n ast.Node) { f.loops = d.integer(n, 1, mostLoops) },
		"drain_timeout": func(n ast.Node) { f.DrainTimeout = d.duration(n, drainSpan) },
	})
	d.require(root, keys, "the file", "listeners")
	return f
}

func (d *decoder) admin(n ast.Node, f *File) {
	if s := scalarOf(n); s.kind == text {
		d.errorf(n, "found %s, expected a mapping of keys to values for admin, such as {address: %q}", s, adminExample(s.text))
		return
	}
	keys := d.mapping(n, "admin", fields{
		"address": func(n ast.Node) { f.adminText, f.Admin.Address = d.adminAddress(n) },
		"socket":  func(n ast.Node) { f.controlText = d.socketPath(n) },
		"group":   func(n ast.Node) { f.Admin.Group = d.group(n) },
	})
	f.Admin.Socket = f.controlText.text
	if !keys.any("socket") {
		d.ignored(keys, `without "socket"`, []string{"group"})
	}
	if !keys.any("address", "socket") && d.isMapping(n) {
		d.errorf(n, "admin has neither an address nor a socket")
	}
}

func (d *decoder) socketPath(n ast.Node) word {
	const want = "the absolute path of a unix socket, such as /run/culvert/admin.sock"
	w := d.word(n, want)
	if !w.set() {
		return w
	}
	if _, err := parseUnix(w.text); err != nil {
		d.errorAt(w.at, "found %s, expected %s: %v", quote(w.text), want, err)
		return word{}
	}
	return w
}

// group reads the name of a group of this machine.
func (d *decoder) group(n ast.Node) string {
	const want = "the name of a group"
	w := d.word(n, want)
	if !w.set() {
		return ""
	}
	if _, err := user.LookupGroup(w.text); err != nil {
		d.errorAt(w.at, "found %s, expected %s: this machine has no such group", quote(w.text), want)
	}
	return w.text
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

func (d *decoder) dns(n ast.Node, f *File) (c resolve.Config) {
	keys := d.mapping(n, "dns", fields{
		"servers": func(n ast.Node) { c.Servers = d.dnsServers(n) },
		"min_ttl": func(n ast.Node) { c.MinTTL = d.duration(n, ttlSpan) },
		"max_ttl": func(n ast.Node) { c.MaxTTL = d.duration(n, ttlSpan) },
		"timeout": func(n ast.Node) { c.Timeout = d.duration(n, probeSpan) },
		"require": func(n ast.Node) { f.namesOptional = !d.toggle(n) },
	})
	least := cmp.Or(c.MinTTL, resolve.DefaultMinTTL)
	if c.MaxTTL > 0 && c.MaxTTL < least {
		d.errorAt(keys["max_ttl"], "the max_ttl (%s) is shorter than the min_ttl (%s)", written(c.MaxTTL), written(least))
	}
	return c
}

// ttlSpan is what the bounds of a time to live may be.
var ttlSpan = span{min: 100 * time.Millisecond, max: day}

func (d *decoder) dnsServers(n ast.Node) (all []netip.AddrPort) {
	const want = `the address of a DNS server, such as "10.0.0.2:53"`
	for _, w := range d.words(n, want) {
		a, err := netip.ParseAddrPort(w.text)
		if ip, e := netip.ParseAddr(w.text); e == nil {
			a, err = netip.AddrPortFrom(ip, 53), nil
		}
		if err != nil {
			d.errorAt(w.at, "found %s, expected %s", quote(w.text), want)
			continue
		}
		all = append(all, a)
	}
	return all
}

func (d *decoder) notify(n ast.Node) (c notify.Config) {
	d.mapping(n, "notify", fields{
		"command": func(n ast.Node) { c.Command = texts(d.words(n, "a program and its arguments")) },
		"webhook": func(n ast.Node) { c.Webhook = d.webhook(n) },
	})
	return c
}

func (d *decoder) webhook(n ast.Node) string {
	const want = "a URL, such as https://example.com/hook"
	w := d.word(n, want)
	if !w.set() {
		return ""
	}
	if u, err := url.Parse(w.text); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		d.errorAt(w.at, "found %s, expected %s", quote(w.text), want)
	}
	return w.text
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
		"buffer_memory":    func(n ast.Node) { l.BufferedBytes = d.size(n, mib, 1024*gib) },
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
