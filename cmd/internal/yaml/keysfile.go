package yaml

import (
	"net/netip"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"

	"culvert/cmd/internal/accesslog"
	"culvert/cmd/internal/config"
	"culvert/cmd/internal/resolve"
	"culvert/l4"
)

// Bounds of the numbers in the file. The upper ones are meant to catch slips of
// the hand, not to say what a machine can do.
const (
	maxConnections = 10_000_000
	maxLoops       = 1024
)

var fileKeys = mapping[config.Config]{
	id: "file", what: inFile, source: func(c *config.Config) *config.Source { return &c.Source },
	keys: []key[config.Config]{
		{name: "listeners", required: true, value: listOf("listeners", &listenerKeys, func(c *config.Config) *[]*config.Listener { return &c.Listeners }),
			meaning: "where connections come from"},
		{name: "pools", value: pools(),
			meaning: "where connections go. A name is up to 128 printable characters without spaces, and not `reject` or `close`"},
		{name: "admin", def: "none", value: adminBlock(),
			meaning: "the admin server and the control socket; without it there are no metrics"},
		{name: "log", value: block(&logKeys, func(c *config.Config) *config.Log { return &c.Log }),
			meaning: "where the access log goes"},
		{name: "notify", def: "none", value: block(&notifyKeys, func(c *config.Config) *config.Notify { return &c.Notify }),
			meaning: "what is started or called when a server fails: see *Health*"},
		{name: "dns", value: block(&dnsKeys, func(c *config.Config) *config.DNS { return &c.DNS }),
			meaning: "how the names of servers are looked up"},
		{name: "limits", value: block(&limitsKeys, func(c *config.Config) *config.Limits { return &c.Limits }),
			meaning: "bounds of the whole process"},
		{name: "loops", def: "one a processor", value: integer(1, maxLoops, func(c *config.Config) *int { return &c.Loops }),
			meaning: "event loops. A CPU quota (cgroup) is not considered: set this to it. A reload does not change it, an upgrade does"},
		{name: "drain_timeout", def: code(written(l4.DefaultDrainTimeout)), value: drainTimeout(), example: "30s",
			meaning: "how long SIGTERM waits for connections to end; `0s` closes them at once"},
	},
}

// code is a value in the reference.
func code(text string) string { return "`" + text + "`" }

// drainTimeout is a duration that may be 0.
func drainTimeout() kind[config.Config] {
	k := duration(drainSpan, func(c *config.Config) *time.Duration { return &c.DrainTimeout })
	k.read = func(d *decoder, n ast.Node, c *config.Config) {
		errs := len(d.errs)
		if c.DrainTimeout = d.duration(n, drainSpan); c.DrainTimeout == 0 && len(d.errs) == errs {
			c.DrainTimeout = l4.Off
		}
	}
	return k
}

var adminKeys = mapping[config.Admin]{
	id: "admin", what: "admin", source: func(a *config.Admin) *config.Source { return &a.Source },
	keys: []key[config.Admin]{
		{name: "address", def: "none", example: "127.0.0.1:9180",
			value:   textOf(`an address to listen on (":9180", "127.0.0.1:9180" or "[::1]:9180")`, "`ip:port`, `:port`", func(a *config.Admin) *string { return &a.Address }),
			meaning: "metrics and status over HTTP, without a password: bind it to loopback or a management network. Nothing can be changed through it"},
		{name: "socket", def: "none", example: "/run/culvert/admin.sock",
			value:   textOf("the absolute path of a unix socket, such as /run/culvert/admin.sock", "an absolute path", func(a *config.Admin) *string { return &a.Socket }),
			meaning: "the control socket, for the user that culvert runs as. `address` or `socket` is required"},
		{name: "group", def: "none", value: textOf("the name of a group", "a group of the machine", func(a *config.Admin) *string { return &a.Group }),
			meaning: "a group whose members may use the control socket, too: they can close every connection"},
	},
}

// adminBlock is the mapping, with a hint for an address that was written in its
// place.
func adminBlock() kind[config.Config] {
	k := block(&adminKeys, func(c *config.Config) *config.Admin { return &c.Admin })
	read := k.read
	k.read = func(d *decoder, n ast.Node, c *config.Config) {
		if s := scalarOf(n); s.kind == text {
			d.errorf(n, "found %s, expected a mapping of keys to values for admin, such as {address: %q}", s, adminExample(s.text))
			return
		}
		read(d, n, c)
	}
	return k
}

// adminExample returns an address to write for one that was written elsewhere.
func adminExample(text string) string {
	if _, err := netip.ParseAddrPort(text); err == nil {
		return text
	}
	if port, ok := strings.CutPrefix(text, ":"); ok {
		if _, err := netip.ParseAddrPort("127.0.0.1:" + port); err == nil {
			return text
		}
	}
	return "127.0.0.1:9180"
}

var logKeys = mapping[config.Log]{
	id: "log", what: "log", source: func(l *config.Log) *config.Source { return &l.Source },
	keys: []key[config.Log]{
		{name: "access", def: code(accesslog.Stdout), example: "/var/log/culvert/access.log",
			value: textOf(config.List([]string{accesslog.Stdout, accesslog.Stderr, accesslog.Off, "the absolute path of a file"}),
				"`stdout`, `stderr`, `off`, an absolute path", func(l *config.Log) *string { return &l.Access }),
			meaning: "the access log. A file is appended to, and created with mode 0640"},
	},
}

var limitsKeys = mapping[config.Limits]{
	id: "limits", what: "limits", source: func(l *config.Limits) *config.Source { return &l.Source },
	keys: []key[config.Limits]{
		{name: "connections", def: "what the descriptors carry", value: integer(1, maxConnections, func(l *config.Limits) *int { return &l.Connections }),
			meaning: "connections at a time; a larger value is cut to what the descriptors carry, with a warning at the start"},
		{name: "hello_per_prefix", def: decimalText(l4.DefaultHelloPerPrefix), value: integerOr(1, maxConnections, "off", func(l *config.Limits) *int { return &l.HelloPerPrefix }),
			meaning: "connections from one IPv4 address, or IPv6 /64, whose hello is incomplete. Clients of a unix listener have no address and no such limit"},
		{name: "buffer_memory", def: code(sizeText(l4.DefaultBufferedBytes)), value: size(mib, 1024*gib, func(l *config.Limits) *int64 { return &l.BufferMemory }), example: "64MiB",
			meaning: "bytes buffered for slow peers and for incomplete hellos. In a cgroup with a memory limit the default is an eighth of that if it is less"},
	},
}

var dnsKeys = mapping[config.DNS]{
	id: "dns", what: "dns", source: func(c *config.DNS) *config.Source { return &c.Source },
	keys: []key[config.DNS]{
		{name: "servers", def: "`/etc/resolv.conf`", value: dnsServers(), example: "10.0.0.2:53",
			meaning: "DNS servers to ask, in this order"},
		{name: "min_ttl", def: code(written(resolve.DefaultMinTTL)), value: duration(ttlSpan, func(c *config.DNS) *time.Duration { return &c.MinTTL }),
			meaning: "how long an answer is used at least before it is asked for again"},
		{name: "max_ttl", def: code(written(resolve.DefaultMaxTTL)), value: duration(ttlSpan, func(c *config.DNS) *time.Duration { return &c.MaxTTL }),
			meaning: "and at most"},
		{name: "timeout", def: code(written(resolve.DefaultTimeout)), value: duration(probeSpan, func(c *config.DNS) *time.Duration { return &c.Timeout }),
			meaning: "for one question to one server"},
		{name: "require", def: "`on`", value: toggle(false, func(c *config.DNS) *bool { return &c.Optional }),
			meaning: "`off`: a name that cannot be looked up at the start, or at a reload, is a server that is out, `unresolved`, until it can be; `on`: it is an error"},
	},
}

func dnsServers() kind[config.DNS] {
	const want = `the address of a DNS server, such as "10.0.0.2:53"`
	k := textsOf[config.DNS](want, "`10.0.0.2:53`, `10.0.0.2`", nil)
	k.read = func(d *decoder, n ast.Node, c *config.DNS) {
		for _, w := range d.texts(n, want) {
			a, err := netip.ParseAddrPort(w.Value)
			if ip, e := netip.ParseAddr(w.Value); e == nil {
				a, err = netip.AddrPortFrom(ip, 53), nil
			}
			if err != nil {
				d.errorAt(w.Position, "found %s, expected %s", config.Quote(w.Value), want)
				continue
			}
			c.Servers = append(c.Servers, a)
		}
	}
	return k
}

var notifyKeys = mapping[config.Notify]{
	id: "notify", what: "notify", source: func(c *config.Notify) *config.Source { return &c.Source },
	keys: []key[config.Notify]{
		{name: "command", def: "none", value: stringsOf("a program and its arguments", "", func(c *config.Notify) *[]string { return &c.Command }),
			meaning: "a program and its arguments. It gets the event as JSON on standard input, and in `CULVERT_EVENT`, `CULVERT_POOL`, `CULVERT_SERVER`, `CULVERT_ADDRESS` and `CULVERT_REASON`"},
		{name: "webhook", def: "none", value: textOf("a URL, such as https://example.com/hook", "http, https", func(c *config.Notify) *string { return &c.Webhook }), example: "https://hooks.example.com/culvert",
			meaning: "a URL that gets the event as the body of a POST"},
	},
}
