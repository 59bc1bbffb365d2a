package config

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"culvert/balancer"
	"culvert/l4"
	"culvert/l4/socket"
)

// loaded is what a test of one key looks at.
type loaded struct {
	file     *File
	config   *l4.Config
	listener *l4.Listener // the first
	route    *l4.Route    // its first
	pool     *l4.Pool     // p, where its default leads
	server   *balancer.Server
}

func load(t *testing.T, src string) loaded {
	t.Helper()
	f, err := Parse("f", []byte(src))
	if err != nil {
		t.Fatalf("%v\nin\n%s", err, src)
	}
	return built(t, f)
}

func built(t *testing.T, f *File) loaded {
	t.Helper()
	cfg, err := f.Build(context.Background(), noResolve)
	if err != nil {
		t.Fatal(err)
	}
	l := loaded{file: f, config: cfg, listener: cfg.Listeners[0]}
	if l.listener.Table != nil {
		routes := l.listener.Table.Routes()
		l.route = routes[0]
		l.pool = routes[slices.IndexFunc(routes, func(r *l4.Route) bool { return r.Label() == "default" })].Pool
	} else {
		l.pool = l.listener.Pool
	}
	if l.pool != nil {
		l.server = l.pool.Balancer.Servers()[0]
	}
	return l
}

func noResolve(_ context.Context, host string) ([]netip.Addr, error) {
	return nil, fmt.Errorf("asked for %s", host)
}

// The places in a small file where a test puts its keys.
const (
	inFile      = "the file"
	inListener  = "a listener"
	inLTimeouts = "a listener's timeouts"
	inRoute     = "a route"
	inPool      = "a pool"
	inPTimeouts = "a pool's timeouts"
	inTCP       = "tcp"
	inKeepalive = "keepalive"
	inServer    = "a server"
	inAdmin     = "admin"
	inLog       = "log"
	inLimits    = "limits"
)

// fileWith returns a file with text, keys in flow style, in one place.
func fileWith(where, text string) string {
	listener, server, pool, rest := "", "", "", ""
	switch where {
	case inListener:
		listener = text
	case inLTimeouts:
		listener = "timeouts: {" + text + "}"
	case inTCP:
		listener = "tcp: {" + text + "}"
	case inKeepalive:
		listener = "tcp: {keepalive: {" + text + "}}"
	case inRoute:
		listener = "routes: [{" + text + "}]"
	case inServer:
		server = text
	case inPool:
		pool = text
	case inPTimeouts:
		pool = "timeouts: {" + text + "}"
	case inFile:
		rest = text
	default:
		rest = where + ": {" + text + "}"
	}
	listener = with(with(listener, "default: p", "pool:"), "address: ':443'")
	server = with(server, "address: '10.0.0.1:443'")
	pool = with(pool, "servers: [{"+server+"}, '10.0.0.9:443']")
	return "listeners: [{" + listener + "}]\npools: {p: {" + pool + "}}\n" + rest + "\n"
}

// with adds an entry to keys that start neither with its key nor with others.
func with(keys, entry string, others ...string) string {
	key, _, _ := strings.Cut(entry, ":")
	for _, k := range append(others, key+":") {
		if strings.HasPrefix(keys, k) {
			return keys
		}
	}
	return strings.Trim(keys+", "+entry, ", ")
}

// effects sets every key of the schema and looks where it ends up.
var effects = []struct {
	where, text string
	get         func(loaded) any
	want        any
}{
	{inFile, "loops: 3", func(l loaded) any { return l.config.Loops }, 3},
	{inFile, "drain_timeout: 45s", func(l loaded) any { return l.file.DrainTimeout }, 45 * time.Second},
	{inFile, "drain_timeout: 0s", func(l loaded) any { return l.file.DrainTimeout }, time.Duration(0)},
	{inFile, "admin: {address: '[::1]:9180'}", func(l loaded) any { return l.file.Admin.Address.String() }, "[::1]:9180"},
	{inFile, "log: {access: stderr}", func(l loaded) any { return l.file.Log.Access }, "stderr"},
	{inFile, "limits: {connections: 5}", func(l loaded) any { return l.config.Limits.Connections }, 5},
	{inAdmin, "address: ':9180'", func(l loaded) any { return l.file.Admin.Address.String() }, "[::]:9180"},
	{inLog, "access: stdout", func(l loaded) any { return l.file.Log.Access }, "stdout"},
	{inLog, "access: off", func(l loaded) any { return l.file.Log.Access }, "off"},
	{inLog, "access: /var/log/a", func(l loaded) any { return l.file.Log.Access }, "/var/log/a"},
	{inLimits, "connections: 9000", func(l loaded) any { return l.config.Limits.Connections }, 9000},
	{inLimits, "hello_per_prefix: 7", func(l loaded) any { return l.config.Limits.HelloPerPrefix }, 7},
	{inLimits, "hello_per_prefix: off", func(l loaded) any { return l.config.Limits.HelloPerPrefix }, -1},
	{inLimits, "kept_memory: 128MiB", func(l loaded) any { return l.config.Limits.KeptBytes }, int64(128 << 20)},

	{inListener, "address: ':443'", func(l loaded) any { return l.listener.Address.String() }, "[::]:443"},
	{inListener, "address: 'unix:/run/a'", func(l loaded) any { return l.listener.Address.String() }, "unix:/run/a"},
	{inListener, "name: public", func(l loaded) any { return l.listener.Name }, "public"},
	{inListener, "routes: [{server_name: a, pool: p}]", func(l loaded) any { return l.route.ServerName }, "a"},
	{inListener, "default: reject", func(l loaded) any { return l.listener.Table.Routes()[0].Action }, l4.Reject},
	{inListener, "default: close", func(l loaded) any { return l.listener.Table.Routes()[0].Action }, l4.Close},
	{inListener, "default: p", func(l loaded) any { return l.pool.Balancer.Name() }, "p"},
	{inListener, "plaintext: p", func(l loaded) any { return l.listener.Plaintext == l.pool }, true},
	{inListener, "plaintext: close", func(l loaded) any { return l.listener.Plaintext == nil }, true},
	{inListener, "pool: p", func(l loaded) any { return l.listener.Table == nil && l.listener.Pool.Balancer.Name() == "p" }, true},
	{inListener, "max_connections: 5", func(l loaded) any { return l.listener.MaxConnections }, 5},
	{inListener, "max_hello: 16KiB", func(l loaded) any { return l.listener.MaxHello }, 16 << 10},
	{inListener, "backlog: 512", func(l loaded) any { return l.listener.Backlog }, 512},
	{inListener, "half_close: on", func(l loaded) any { return l.listener.Session.KeepHalfClose }, l4.SwitchOn},
	{inListener, "half_close: off", func(l loaded) any { return l.listener.Session.KeepHalfClose }, l4.SwitchOff},
	{inListener, "half_close: true", func(l loaded) any { return l.listener.Session.KeepHalfClose }, l4.SwitchOn},
	{inListener, "half_close: false", func(l loaded) any { return l.listener.Session.KeepHalfClose }, l4.SwitchOff},
	{inListener, "timeouts: {idle: 5m}", func(l loaded) any { return l.listener.Session.IdleTimeout }, 5 * time.Minute},
	{inListener, "tcp: {user_timeout: 5s}", func(l loaded) any { return l.listener.TCP.UserTimeout }, 5 * time.Second},
	{inLTimeouts, "hello: 5s", func(l loaded) any { return l.listener.HelloTimeout }, 5 * time.Second},
	{inLTimeouts, "hello: off", func(l loaded) any { return l.listener.HelloTimeout }, l4.Off},
	{inLTimeouts, "idle: off", func(l loaded) any { return l.listener.Session.IdleTimeout }, l4.Off},
	{inLTimeouts, "half_close: 30s", func(l loaded) any { return l.listener.Session.HalfCloseTimeout }, 30 * time.Second},
	{inLTimeouts, "lifetime: 12h", func(l loaded) any { return l.listener.Session.Lifetime }, 12 * time.Hour},
	{inTCP, "user_timeout: off", func(l loaded) any { return l.listener.TCP.UserTimeout < 0 }, true},
	{inTCP, "keepalive: off", func(l loaded) any { return l.listener.TCP.KeepaliveIdle < 0 }, true},
	{inTCP, "keepalive: {idle: 9s}", func(l loaded) any { return l.listener.TCP.KeepaliveIdle }, 9 * time.Second},
	{inKeepalive, "idle: 10s", func(l loaded) any { return l.listener.TCP.KeepaliveIdle }, 10 * time.Second},
	{inKeepalive, "interval: 4s", func(l loaded) any { return l.listener.TCP.KeepaliveInterval }, 4 * time.Second},
	{inKeepalive, "count: 2", func(l loaded) any { return l.listener.TCP.KeepaliveCount }, 2},

	{inRoute, "server_name: A.example, pool: p", func(l loaded) any { return l.route.ServerName }, "A.example"},
	{inRoute, "server_name: [a, '*.b'], pool: p", func(l loaded) any { return l.listener.Table.Routes()[1].ServerName }, "*.b"},
	{inRoute, "server_name: '~^a', pool: p", func(l loaded) any { return l.route.ServerName }, "~^a"},
	{inRoute, "alpn: acme-tls/1, server_name: a, pool: p", func(l loaded) any { return l.route.ALPN }, []string{"acme-tls/1"}},
	{inRoute, "alpn: [h2, http/1.1], server_name: a, pool: p", func(l loaded) any { return l.route.ALPN }, []string{"h2", "http/1.1"}},
	{inRoute, "pool: p, server_name: a", func(l loaded) any { return l.route.Action == l4.Forward && l.route.Pool == l.pool }, true},
	{inRoute, "action: reject, server_name: a", func(l loaded) any { return l.route.Action }, l4.Reject},
	{inRoute, "action: close, server_name: a", func(l loaded) any { return l.route.Action }, l4.Close},

	{inPool, "balance: random-two", func(l loaded) any { return l.pool.Balancer.Policy() }, balancer.RandomTwo},
	{inPool, "servers: ['10.0.0.2:80']", func(l loaded) any { return l.server.Address() }, "10.0.0.2:80"},
	{inPool, "ipv6_prefix: 128", hostsDiffer, true},
	{inPool, "bounded_load: 1.25", spread, true},
	{inPool, "tries: 5", func(l loaded) any { return l.pool.Tries }, 5},
	{inPool, "tries: all", func(l loaded) any { return l.pool.Tries }, -1},
	{inPool, "half_close: off", func(l loaded) any { return l.pool.Session.KeepHalfClose }, l4.SwitchOff},
	{inPool, "timeouts: {connect: 1s}", func(l loaded) any { return l.pool.ConnectTimeout }, time.Second},
	{inPool, "tcp: {user_timeout: 5s}", func(l loaded) any { return l.pool.TCP.UserTimeout }, 5 * time.Second},
	{inPTimeouts, "connect: 2s", func(l loaded) any { return l.pool.ConnectTimeout }, 2 * time.Second},
	{inPTimeouts, "first_byte: off", func(l loaded) any { return l.pool.FirstByteTimeout }, l4.Off},
	{inPTimeouts, "failover: 9s", func(l loaded) any { return l.pool.FailoverTimeout }, 9 * time.Second},
	{inPTimeouts, "idle: 1d", func(l loaded) any { return l.pool.Session.IdleTimeout }, 24 * time.Hour},
	{inPTimeouts, "half_close: off", func(l loaded) any { return l.pool.Session.HalfCloseTimeout }, l4.Off},
	{inPTimeouts, "lifetime: off", func(l loaded) any { return l.pool.Session.Lifetime }, l4.Off},

	{inServer, "address: '10.0.0.2:80'", func(l loaded) any { return l.pool.Targets[0].Addr().String() }, "10.0.0.2:80"},
	{inServer, "address: 'unix:/run/a'", func(l loaded) any { return l.pool.Targets[0].Addr().String() }, "unix:/run/a"},
	{inServer, "address: '[2001:DB8::2]:80'", func(l loaded) any { return l.server.Name() }, "[2001:DB8::2]:80"},
	{inServer, "name: a", func(l loaded) any { return l.server.Name() }, "a"},
	{inServer, "weight: 7", func(l loaded) any { return l.server.Weight() }, 7},
	{inServer, "backup: on", func(l loaded) any { return l.server.Backup() }, true},
	{inServer, "down: true", func(l loaded) any { return l.server.Down() }, true},
	{inServer, "max_conns: 1", spread, true},
}

// hostsDiffer reports whether two hosts of one /64 can go to two servers.
func hostsDiffer(l loaded) any {
	seen := map[*balancer.Server]bool{}
	for i := range 64 {
		order, _ := l.pool.Balancer.Order(netip.MustParseAddr(fmt.Sprintf("2001:db8::%x", i+1)), 0)
		seen[order[0]] = true
	}
	return len(seen) == 2
}

// spread reports whether the connections of one client, of a sort that
// prefers the first server, go to both servers.
func spread(l loaded) any {
	client := preferring(l.pool.Balancer, 0)
	seen := map[*balancer.Server]bool{}
	for range 10 {
		s := balancer.Selection{Client: client}
		srv, err := l.pool.Balancer.Pick(&s, 0)
		if err != nil {
			return err
		}
		seen[srv] = true
	}
	return len(seen) == 2
}

// preferring returns a client whose first choice is the server with that index.
func preferring(p *balancer.Pool, index int) netip.Addr {
	for a := netip.MustParseAddr("192.0.2.1"); ; a = a.Next() {
		if order, _ := p.Order(a, 0); order[0].Index() == index {
			return a
		}
	}
}

func TestEveryKeyHasItsEffect(t *testing.T) {
	for _, tt := range effects {
		t.Run(tt.where+" "+tt.text, func(t *testing.T) {
			got := tt.get(load(t, fileWith(tt.where, tt.text)))
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
}

// TestNoKeyIsUntested asks each part of the file for its keys, by a key that
// does not exist, and looks for them in the table.
func TestNoKeyIsUntested(t *testing.T) {
	tested := map[string]bool{}
	parts := map[string]bool{}
	for _, e := range effects {
		key, _, _ := strings.Cut(e.text, ":")
		tested[e.where+" "+key] = true
		parts[e.where] = true
	}
	for where := range maps.Keys(parts) {
		_, err := Parse("f", []byte(fileWith(where, "zzzzzzzzzzzz: 1")))
		if err == nil {
			t.Fatalf("%s takes any key", where)
		}
		_, all, ok := strings.Cut(err.Error(), ", expected ")
		if !ok {
			t.Fatalf("no list of keys in %v", err)
		}
		all, _, _ = strings.Cut(all, "\n")
		for _, key := range strings.Split(strings.ReplaceAll(all, " or ", ", "), ", ") {
			if !tested[where+" "+key] && key != "listeners" && key != "pools" {
				t.Errorf("no test sets %s in %s", key, where)
			}
		}
	}
}

// TestDefaultsAreLeftToTheDataPlane: what the file does not say is zero, and
// what zero means is said in l4.
func TestDefaultsAreLeftToTheDataPlane(t *testing.T) {
	l := load(t, "listeners: [{address: ':443', routes: [{server_name: a, pool: p}]}]\n"+goodPool)
	if diff := cmp.Diff(&l4.Config{Limits: l4.Limits{}}, &l4.Config{Loops: l.config.Loops, Limits: l.config.Limits}); diff != "" {
		t.Errorf("config: %s", diff)
	}
	if got := *l.listener; got.Name != ":443" || got.MaxConnections != 0 || got.MaxHello != 0 || got.Backlog != 0 ||
		got.HelloTimeout != 0 || got.Session != (l4.Session{}) || got.TCP != (socket.Options{}) || got.Plaintext != nil || got.Pool != nil {
		t.Errorf("listener: %+v", got)
	}
	if got := l.listener.Table.Lookup(nil, nil).Route; got.Action != l4.Reject || got.Label() != "default" {
		t.Errorf("default: %+v", got)
	}
	p := l.route.Pool
	if p.ConnectTimeout != 0 || p.FirstByteTimeout != 0 || p.FailoverTimeout != 0 || p.Tries != 0 ||
		p.Session != (l4.Session{}) || p.TCP != (socket.Options{}) || p.Balancer.Policy() != balancer.ClientAddress {
		t.Errorf("pool: %+v", p)
	}
	if s := p.Balancer.Servers()[0]; s.Weight() != 1 || s.Backup() || s.Down() || s.Name() != "10.0.0.1:443" {
		t.Errorf("server: %+v", s)
	}
	if f := l.file; f.Admin.Address.IsValid() || f.Log.Access != "stdout" || f.DrainTimeout != l4.DefaultDrainTimeout || len(f.Warnings) > 0 {
		t.Errorf("file: %+v", f)
	}
}

func TestFullFile(t *testing.T) {
	f, err := Load("testdata/full.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Counts{Listeners: 2, Pools: 3, Servers: 5, Routes: 5}, f.Counts()); diff != "" {
		t.Error(diff)
	}
	if len(f.Warnings) > 0 {
		t.Error(f.Warnings)
	}
}

const hostFile = `listeners: [{address: ':443', pool: p}]
pools:
  p:
    balance: %s
    servers:
    - %s
    - "10.0.0.9:443"
`

func TestBuildResolves(t *testing.T) {
	hosts := map[string]string{
		"one": "10.0.0.1", "mapped": "::ffff:10.0.0.1 10.0.0.1", "two": "2001:db8::2 10.0.0.1", "nine": "10.0.0.9", "none": "",
	}
	resolve := func(_ context.Context, host string) (addrs []netip.Addr, err error) {
		text, ok := hosts[host]
		if !ok {
			return nil, errors.New("no such host")
		}
		for _, a := range strings.Fields(text) {
			addrs = append(addrs, netip.MustParseAddr(a))
		}
		return addrs, nil
	}
	tests := []struct {
		name, policy, server string
		want                 string // name=address>target of each, or an error
	}{
		{"one address", "maglev", "one:443", "10.0.0.1:443=10.0.0.1:443>10.0.0.1:443"},
		{"the same address twice", "maglev", "mapped:443", "10.0.0.1:443=10.0.0.1:443>10.0.0.1:443"},
		{"two addresses, sorted", "maglev", "two:443", "10.0.0.1:443=10.0.0.1:443>10.0.0.1:443 [2001:db8::2]:443=[2001:db8::2]:443>[2001:db8::2]:443"},
		{"a name", "maglev", "{address: 'one:443', name: a}", "a=10.0.0.1:443>10.0.0.1:443"},
		{"a name for two", "maglev", "{address: 'two:443', name: a}", "f:6:17: the server a has a name, but two has 2 addresses: list them, or remove the name"},
		{"nginx hashes the text", "nginx-hash", "one:443", "10.0.0.1:443=one:443>10.0.0.1:443"},
		{"nginx takes turns", "nginx-hash", "two:443", "10.0.0.1:443=two:443>10.0.0.1:443 [2001:db8::2]:443=two:443>[2001:db8::2]:443"},
		{"also listed", "maglev", "nine:443", `f:7:7: the server "10.0.0.9:443" is in the pool already, on line 6`},
		{"no address", "maglev", "none:443", "f:6:7: resolve none: it has no address"},
		{"unknown", "maglev", "nowhere:443", "f:6:7: resolve nowhere: no such host"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f, err := Parse("f", fmt.Appendf(nil, hostFile, tt.policy, tt.server))
			if err != nil {
				t.Fatal(err)
			}
			cfg, err := f.Build(context.Background(), resolve)
			if err != nil {
				if err.Error() != tt.want {
					t.Errorf("got %v, want %s", err, tt.want)
				}
				return
			}
			got, ok := strings.CutSuffix(serversOf(cfg), " 10.0.0.9:443=10.0.0.9:443>10.0.0.9:443")
			if got != tt.want || !ok {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

func serversOf(cfg *l4.Config) string {
	var all []string
	p := cfg.Listeners[0].Pool
	for i, s := range p.Balancer.Servers() {
		all = append(all, fmt.Sprintf("%s=%s>%s", s.Name(), s.Address(), p.Targets[i].Addr()))
	}
	return strings.Join(all, " ")
}

func TestUnresolvedAsksNobody(t *testing.T) {
	f, err := Parse("f", fmt.Appendf(nil, hostFile, "maglev", "nowhere:443"))
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := f.Unresolved()
	if err != nil {
		t.Fatal(err)
	}
	p := cfg.Listeners[0].Pool
	if got := p.Balancer.Servers()[0].Name(); got != "nowhere:443" || p.Targets != nil {
		t.Errorf("server is %s, targets %v", got, p.Targets)
	}
}

// TestBuildsShareNoState: a reload builds again, and the counts of the old
// pools must not move with the new ones'.
func TestBuildsShareNoState(t *testing.T) {
	f, err := Parse("f", []byte(goodListener+goodPool))
	if err != nil {
		t.Fatal(err)
	}
	a, b := built(t, f), built(t, f)
	if a.pool == b.pool || a.server == b.server || a.listener == b.listener {
		t.Error("two builds share a pool, a server or a listener")
	}
}

func TestBuildReportsEveryHost(t *testing.T) {
	f, err := Parse("f", fmt.Appendf(nil, hostFile, "maglev", "a:1\n    - b:1\n    - a:2"))
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.Build(context.Background(), noResolve)
	want := "f:6:7: resolve a: asked for a\nf:7:7: resolve b: asked for b\nf:8:7: resolve a: asked for a"
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}
