package config

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// good returns a small configuration that is right. Its listener is tls and its
// pool p; the route terminates TLS.
func good() *Config {
	return &Config{
		Listeners: []*Listener{{
			Address: ":443", Name: "tls", Default: To("p"),
			Routes: []*Route{{ServerNames: Texts("a.example"), Target: To("p"), Terminate: &Terminate{Certificates: []*KeyPair{goodPair()}}}},
		}},
		Pools: []*Pool{{Name: "p", Servers: []*Server{{Address: "10.0.0.1:443"}, {Address: "10.0.0.2:443"}}}},
	}
}

func goodPair() *KeyPair {
	return &KeyPair{Certificate: termFile("cert.pem"), Key: termFile("key.pem")}
}

// parts are what a row of the table changes, so that it can be short.
type parts struct {
	*Config
	l *Listener
	r *Route
	t *Terminate
	p *Pool
	s *Server
}

func partsOf(c *Config) parts {
	l, p := c.Listeners[0], c.Pools[0]
	return parts{c, l, l.Routes[0], l.Routes[0].Terminate, p, p.Servers[0]}
}

// A rule is a change of what is right and all that Check says of it.
type rule struct {
	name   string
	change func(parts)
	want   string // errors, one a line; a warning begins with "warning: "
}

func said(c *Config) string {
	errs, warnings := c.Check()
	var all []string
	for _, e := range errs {
		all = append(all, e.Error())
	}
	for _, w := range warnings {
		all = append(all, "warning: "+w.Error())
	}
	text := strings.Join(all, "\n")
	return strings.NewReplacer(termFiles(), "DIR").Replace(text)
}

func expectRules(t *testing.T, rules []rule) {
	t.Helper()
	for _, tt := range rules {
		t.Run(tt.name, func(t *testing.T) {
			c := good()
			tt.change(partsOf(c))
			if diff := cmp.Diff(tt.want, said(c)); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
}

func TestCheckAcceptsWhatIsRight(t *testing.T) {
	if got := said(good()); got != "" {
		t.Error(got)
	}
}

func TestCheckOfTheProcess(t *testing.T) {
	expectRules(t, []rule{
		{"no listeners", func(c parts) { c.Listeners = nil },
			"the file has no listeners\nwarning: no listener leads to the pool p"},
		{"a nil listener", func(c parts) { c.Listeners = append(c.Listeners, nil) }, "entry 2 of listeners is nil"},
		{"a nil pool", func(c parts) { c.Pools = append(c.Pools, nil) }, "entry 2 of pools is nil"},
		{"loops out of range", func(c parts) { c.Loops = -1 }, "loops: found the number -1, expected a whole number from 1 to 1024"},
		{"a drain of years", func(c parts) { c.DrainTimeout = 300 * day }, "drain_timeout: found 300d, expected a duration of 0s to 30d"},
		{"no drain", func(c parts) { c.DrainTimeout = -time.Second }, ""},
		{"admin on a unix socket", func(c parts) { c.Admin.Address = "unix:/run/a" },
			`admin: found "unix:/run/a", expected an address to listen on (":9180", "127.0.0.1:9180" or "[::1]:9180"): not a unix socket`},
		{"admin on a listener's address", func(c parts) { c.Admin.Address = "0.0.0.0:443" },
			`admin: another listener has the address :443, which cannot be bound beside 0.0.0.0:443`},
		{"a control socket as a listener's", func(c parts) { c.Admin.Socket = "unix:/run/a" },
			`admin: found "unix:/run/a", expected the absolute path of a unix socket, such as /run/culvert/admin.sock: the path of a unix socket must be absolute`},
		{"a control socket on a listener's", func(c parts) { c.Admin.Socket, c.l.Address = "/run/a", "unix:/run/a" },
			`admin: another listener has the address unix:/run/a already`},
		{"a group that does not exist", func(c parts) { c.Admin.Socket, c.Admin.Group = "/run/a", "no-such-group" },
			`admin: found "no-such-group", expected the name of a group: this machine has no such group`},
		{"a group without a socket", func(c parts) { c.Admin.Group = "root" }, `admin: "group" has no effect without "socket"`},
		{"an empty admin", func(c parts) { c.Admin.Position = Position{"f", 3, 8} }, "f:3:8: admin has neither an address nor a socket"},
		{"a log that is no path", func(c parts) { c.Log.Access = "stdou" },
			`log: found "stdou", expected stdout, stderr, off or the absolute path of a file, did you mean "stdout"?`},
		{"a webhook that is no web address", func(c parts) { c.Notify.Webhook = "ftp://a/" }, `notify: found "ftp://a/", expected a URL, such as https://example.com/hook`},
		{"a webhook without a host", func(c parts) { c.Notify.Webhook = "http://" }, `notify: found "http://", expected a URL, such as https://example.com/hook`},
		{"a command without a program", func(c parts) { c.Notify.Command = []string{""} }, "notify: expected a program and its arguments"},
		{"a DNS server without a port", func(c parts) { c.DNS.Servers = []netip.AddrPort{netip.MustParseAddrPort("10.0.0.1:0")} },
			`dns: found "10.0.0.1:0", expected the address of a DNS server, such as "10.0.0.2:53"`},
		{"a DNS server that is none", func(c parts) { c.DNS.Servers = []netip.AddrPort{{}} },
			`dns: found "invalid AddrPort", expected the address of a DNS server, such as "10.0.0.2:53"`},
		{"max_ttl below the default of min_ttl", func(c parts) { c.DNS.MaxTTL = 500 * time.Millisecond }, "dns: the max_ttl (500ms) is shorter than the min_ttl (1s)"},
		{"negative times of DNS", func(c parts) { c.DNS.MinTTL, c.DNS.MaxTTL, c.DNS.Timeout = -1, -1, -1 },
			"dns: min_ttl: found -1ns, expected a duration of 100ms to 1d\ndns: max_ttl: found -1ns, expected a duration of 100ms to 1d\ndns: timeout: found -1ns, expected a duration of 10ms to 1d"},
		{"limits out of range", func(c parts) { c.Limits = Limits{Connections: -1, HelloPerPrefix: 1 << 40, BufferMemory: 64} },
			"limits: connections: found the number -1, expected a whole number from 1 to 10000000\n" +
				"limits: hello_per_prefix: found the number 1099511627776, expected a whole number from 1 to 10000000\n" +
				"limits: buffer_memory: found 64B, expected a size of 1MiB to 1024GiB"},
		{"no limit of hellos", func(c parts) { c.Limits.HelloPerPrefix = -1 }, ""},
	})
}
