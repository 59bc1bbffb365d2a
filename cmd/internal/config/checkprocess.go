package config

import (
	"cmp"
	"errors"
	"net/url"
	"os/user"
	"slices"
	"strings"

	"culvert/cmd/internal/accesslog"
	"culvert/cmd/internal/resolve"
	"culvert/l4/socket"
)

// process checks what is said of the process as a whole.
func (k *checker) process() {
	c := k.config
	k.require(&c.Source, len(c.Listeners) > 0, "the file", "listeners")
	b := bounded{k, &c.Source}
	b.integer("loops", c.Loops, 1, maxLoops)
	if c.DrainTimeout > 0 {
		b.duration("drain_timeout", c.DrainTimeout, span{max: 30 * day})
	}
	k.in("admin", func() { k.admin(&c.Admin) })
	k.in("log", func() { k.log(&c.Log) })
	k.in("notify", func() { k.notify(&c.Notify) })
	k.in("dns", func() { k.dns(&c.DNS) })
	k.in("limits", func() { k.limits(&c.Limits) })
}

func (k *checker) admin(a *Admin) {
	const want = `an address to listen on (":9180", "127.0.0.1:9180" or "[::1]:9180")`
	if a.Address != "" {
		if _, err := a.address(); err != nil {
			k.wrong(a.ValueAt("address"), a.Address, want+": "+err.Error())
		}
	}
	if a.Socket != "" {
		if _, err := parseUnix(a.Socket); err != nil {
			k.wrong(a.ValueAt("socket"), a.Socket, "the absolute path of a unix socket, such as /run/culvert/admin.sock: "+err.Error())
		}
	}
	if _, err := user.LookupGroup(a.Group); a.Group != "" && err != nil {
		k.wrong(a.ValueAt("group"), a.Group, "the name of a group: this machine has no such group")
	}
	if !is(&a.Source, use{"socket", a.Socket != ""}) {
		k.ignored(&a.Source, `without "socket"`, []use{{"group", a.Group != ""}})
	}
	if a.IsValid() && !is(&a.Source, use{"address", a.Address != ""}, use{"socket", a.Socket != ""}) {
		k.errorAt(a.Position, "admin has neither an address nor a socket")
	}
}

// address returns where the admin server listens; the zero Addr is nowhere.
func (a *Admin) address() (socket.Addr, error) {
	if a.Address == "" {
		return socket.Addr{}, nil
	}
	at, err := parseListen(a.Address)
	if err == nil && at.IsUnix() {
		err = errors.New("not a unix socket")
	}
	if err != nil {
		return socket.Addr{}, err
	}
	return at, nil
}

func (k *checker) log(l *Log) {
	known := []string{accesslog.Stdout, accesslog.Stderr, accesslog.Off}
	if l.Access == "" || slices.Contains(known, l.Access) || l.IsFile() {
		return
	}
	want := List(append(slices.Clone(known), "the absolute path of a file"))
	k.wrong(l.ValueAt("access"), l.Access, want+k.suggest.Hint(l.Access, known))
}

func (k *checker) notify(n *Notify) {
	if u, err := url.Parse(n.Webhook); n.Webhook != "" && (err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "") {
		k.wrong(n.ValueAt("webhook"), n.Webhook, "a URL, such as https://example.com/hook")
	}
	if len(n.Command) > 0 && n.Command[0] == "" || slices.ContainsFunc(n.Command, hasNUL) {
		k.errorAt(n.ValueAt("command"), "expected a program and its arguments")
	}
}

func hasNUL(text string) bool { return strings.Contains(text, "\x00") }

func (k *checker) dns(d *DNS) {
	for _, a := range d.Servers {
		if !a.IsValid() || a.Port() == 0 {
			k.wrong(d.ValueAt("servers"), a.String(), `the address of a DNS server, such as "10.0.0.2:53"`)
		}
	}
	b := bounded{k, &d.Source}
	b.duration("min_ttl", d.MinTTL, ttlSpan)
	b.duration("max_ttl", d.MaxTTL, ttlSpan)
	b.duration("timeout", d.Timeout, probeSpan)
	least := cmp.Or(d.MinTTL, resolve.DefaultMinTTL)
	if d.MaxTTL > 0 && d.MaxTTL < least {
		k.errorAt(d.At("max_ttl"), "the max_ttl (%s) is shorter than the min_ttl (%s)", written(d.MaxTTL), written(least))
	}
}

func (k *checker) limits(l *Limits) {
	b := bounded{k, &l.Source}
	b.integer("connections", l.Connections, 1, maxConnections)
	b.integerOr("hello_per_prefix", l.HelloPerPrefix, 1, maxConnections)
	b.size("buffer_memory", l.BufferMemory, mib, 1024*gib)
}
