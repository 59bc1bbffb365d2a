package config

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"culvert/balancer"
	"culvert/cmd/internal/resolve"
	"culvert/l4"
)

// resolveFunc is a Resolver of hosts alone.
type resolveFunc func(ctx context.Context, host string) ([]netip.Addr, error)

func (f resolveFunc) Addrs(ctx context.Context, host string) ([]netip.Addr, error) {
	return f(ctx, host)
}

func (f resolveFunc) Services(context.Context, string) ([]resolve.Service, error) {
	return nil, errors.New("no SRV records here")
}

// A zone is a Resolver of what is in it.
type zone struct {
	hosts    map[string]string // addresses with spaces between them
	services map[string][]resolve.Service
}

func (z zone) Addrs(_ context.Context, host string) (addrs []netip.Addr, err error) {
	text, ok := z.hosts[host]
	if !ok {
		return nil, errors.New("no such host")
	}
	for _, a := range strings.Fields(text) {
		addrs = append(addrs, netip.MustParseAddr(a))
	}
	return addrs, nil
}

func (z zone) Services(_ context.Context, name string) ([]resolve.Service, error) {
	all, ok := z.services[name]
	if !ok {
		return nil, errors.New("no such service")
	}
	return all, nil
}

func noResolve(_ context.Context, host string) ([]netip.Addr, error) {
	return nil, fmt.Errorf("asked for %s", host)
}

// withServers returns a plain listener and its pool p, of servers that are on
// the lines of f from the sixth on, and of 10.0.0.9:443 on the last.
func withServers(policy balancer.Policy, servers ...Server) *Config {
	p := &Pool{Name: "p", Policy: policy}
	for i, s := range append(servers, Server{Address: "10.0.0.9:443"}) {
		s.Position = inFile(6+i, 7)
		p.Servers = append(p.Servers, &s)
	}
	return &Config{Listeners: []*Listener{{Address: ":443", Pool: To("p")}}, Pools: []*Pool{p}}
}

func mustCheck(t *testing.T, c *Config) {
	t.Helper()
	if errs, _ := c.Check(); len(errs) > 0 {
		t.Fatal(errs)
	}
}

// expectBuilt wants the servers of c to be these, by a text that of makes, or
// Build's error to be it.
func expectBuilt(t *testing.T, names zone, c *Config, want string, of func(*l4.Config) (text string, ok bool)) {
	t.Helper()
	mustCheck(t, c)
	b, err := c.Build(t.Context(), names)
	if err != nil {
		if err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
		return
	}
	if got, ok := of(b.Engine); got != want || !ok {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestBuildResolves(t *testing.T) {
	names := zone{hosts: map[string]string{
		"one": "10.0.0.1", "mapped": "::ffff:10.0.0.1 10.0.0.1", "two": "2001:db8::2 10.0.0.1", "nine": "10.0.0.9", "none": "",
	}}
	tests := []struct {
		name   string
		policy balancer.Policy
		server Server
		want   string // name=address>target of each, or an error
	}{
		{"one address", balancer.Maglev, Server{Address: "one:443"}, "10.0.0.1:443=10.0.0.1:443>10.0.0.1:443"},
		{"the same address twice", balancer.Maglev, Server{Address: "mapped:443"}, "10.0.0.1:443=10.0.0.1:443>10.0.0.1:443"},
		{"two addresses, sorted", balancer.Maglev, Server{Address: "two:443"}, "10.0.0.1:443=10.0.0.1:443>10.0.0.1:443 [2001:db8::2]:443=[2001:db8::2]:443>[2001:db8::2]:443"},
		{"a name", balancer.Maglev, Server{Address: "one:443", Name: "a"}, "a=10.0.0.1:443>10.0.0.1:443"},
		{"a name for two", balancer.Maglev, Server{Address: "two:443", Name: "a"}, "f:6:7: the server a has a name, but two has 2 addresses: list them, or remove the name"},
		{"nginx hashes the text", balancer.NGINXHash, Server{Address: "one:443"}, "10.0.0.1:443=one:443>10.0.0.1:443"},
		{"nginx takes turns", balancer.NGINXHash, Server{Address: "two:443"}, "10.0.0.1:443=two:443>10.0.0.1:443 [2001:db8::2]:443=two:443>[2001:db8::2]:443"},
		{"also listed", balancer.Maglev, Server{Address: "nine:443"}, `f:7:7: the server "10.0.0.9:443" is in the pool already, on line 6`},
		{"no address", balancer.Maglev, Server{Address: "none:443"}, "f:6:7: resolve none: it has no address"},
		{"unknown", balancer.Maglev, Server{Address: "nowhere:443"}, "f:6:7: resolve nowhere: no such host"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			expectBuilt(t, names, withServers(tt.policy, tt.server), tt.want, func(cfg *l4.Config) (string, bool) {
				return strings.CutSuffix(serversOf(cfg), " 10.0.0.9:443=10.0.0.9:443>10.0.0.9:443")
			})
		})
	}
}

// TestBuildResolvesServices: a name of SRV records becomes the servers that
// they say, in an order of their own.
func TestBuildResolvesServices(t *testing.T) {
	names := zone{
		hosts: map[string]string{
			"one": "10.0.0.1", "two": "10.0.0.2", "three": "10.0.0.3", "nine": "10.0.0.9", "both": "2001:db8::4 10.0.0.4", "again": "10.0.0.1", "none": "",
			"_s": "10.0.0.7",
		},
		services: map[string][]resolve.Service{
			"_s":        {{Host: "one.", Port: 443, Weight: 5}},
			"_weights":  {{Host: "two.", Port: 8443}, {Host: "one.", Port: 443, Weight: 65535}},
			"_backups":  {{Host: "three.", Port: 443, Priority: 30, Weight: 7}, {Host: "two.", Port: 443, Priority: 20}, {Host: "one.", Port: 443, Priority: 10, Weight: 2}},
			"_ports":    {{Host: "one.", Port: 8443}, {Host: "one.", Port: 443}},
			"_both":     {{Host: "both.", Port: 443, Weight: 3}},
			"_again":    {{Host: "one.", Port: 443, Priority: 2, Weight: 2}, {Host: "again.", Port: 443, Priority: 1, Weight: 1}},
			"_listed":   {{Host: "nine.", Port: 443}},
			"_empty":    {},
			"_nothing":  {{Host: "none.", Port: 443}},
			"_dangling": {{Host: "one.", Port: 443}, {Host: "nowhere.", Port: 443}},
		},
	}
	tests := []struct {
		name   string
		policy balancer.Policy
		server Server
		want   string // address*weight of each, or an error
	}{
		{"one", balancer.Maglev, Server{Address: "srv:_s"}, "10.0.0.1:443*5"},
		{"weights, of which 0 is the least", balancer.Maglev, Server{Address: "srv:_weights"}, "10.0.0.1:443*65535 10.0.0.2:8443*1"},
		{"the lowest priority are the primaries", balancer.Maglev, Server{Address: "srv:_backups"}, "10.0.0.1:443*2 10.0.0.2:443*1(backup) 10.0.0.3:443*7(backup)"},
		{"two ports of a host", balancer.Maglev, Server{Address: "srv:_ports"}, "10.0.0.1:443*1 10.0.0.1:8443*1"},
		{"two addresses of a host", balancer.Maglev, Server{Address: "srv:_both"}, "10.0.0.4:443*3 [2001:db8::4]:443*3"},
		{"two names of an address", balancer.Maglev, Server{Address: "srv:_again"}, "10.0.0.1:443*1"},
		{"what the file says counts for each", balancer.Maglev, Server{Address: "srv:_ports", Down: true}, "10.0.0.1:443*1(down) 10.0.0.1:8443*1(down)"},
		{"also listed", balancer.Maglev, Server{Address: "srv:_listed"}, `f:7:7: the server "10.0.0.9:443" is in the pool already, on line 6`},
		{"nginx hashes the text", balancer.NGINXHash, Server{Address: "srv:_ports"}, "srv:_ports*1 srv:_ports*1"},
		{"no records", balancer.Maglev, Server{Address: "srv:_empty"}, "f:6:7: resolve _empty: it has no address"},
		{"no address", balancer.Maglev, Server{Address: "srv:_nothing"}, "f:6:7: resolve _nothing: it has no address"},
		{"unknown", balancer.Maglev, Server{Address: "srv:_nowhere"}, "f:6:7: resolve _nowhere: no such service"},
		{"unknown target", balancer.Maglev, Server{Address: "srv:_dangling"}, "f:6:7: resolve _dangling: nowhere: no such host"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			expectBuilt(t, names, withServers(tt.policy, tt.server), tt.want, func(cfg *l4.Config) (string, bool) {
				return strings.CutSuffix(weightsOf(t, cfg), " 10.0.0.9:443*1")
			})
		})
	}
}

func weightsOf(t *testing.T, cfg *l4.Config) string {
	t.Helper()
	var all []string
	p := cfg.Listeners[0].Pool
	for i, s := range p.Balancer.Servers() {
		if s.Name() != p.Targets[i].Addr().String() {
			t.Errorf("the server %s is dialed at %s", s.Name(), p.Targets[i].Addr())
		}
		text := fmt.Sprintf("%s*%d", s.Address(), s.Weight())
		if s.Backup() {
			text += "(backup)"
		}
		if s.Causes() == balancer.Configured {
			text += "(down)"
		}
		all = append(all, text)
	}
	return strings.Join(all, " ")
}

// TestServicesInAnyOrder: where a server is in its pool does not depend on the
// order of an answer.
func TestServicesInAnyOrder(t *testing.T) {
	z := zone{
		hosts:    map[string]string{"one": "10.0.0.1", "two": "10.0.0.2"},
		services: map[string][]resolve.Service{"_s": {{Host: "one.", Port: 1}, {Host: "one.", Port: 2}, {Host: "two.", Port: 1}, {Host: "one.", Port: 3, Priority: 1}}},
	}
	c := withServers(balancer.Maglev, Server{Address: "srv:_s"})
	for range 2 {
		b, err := c.Build(t.Context(), z)
		if err != nil {
			t.Fatal(err)
		}
		want := "10.0.0.1:1*1 10.0.0.1:2*1 10.0.0.2:1*1 10.0.0.1:3*1(backup) 10.0.0.9:443*1"
		if got := weightsOf(t, b.Engine); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		slices.Reverse(z.services["_s"])
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

// TestServiceBesideAHostOfItsName: the two are looked up in different ways.
func TestServiceBesideAHostOfItsName(t *testing.T) {
	names := zone{
		hosts:    map[string]string{"_s": "10.0.0.7", "one": "10.0.0.1"},
		services: map[string][]resolve.Service{"_s": {{Host: "one.", Port: 443, Weight: 5}}},
	}
	c := withServers(balancer.Maglev, Server{Address: "srv:_s"}, Server{Address: "_s:443"})
	expectBuilt(t, names, c, "10.0.0.1:443*5 10.0.0.7:443*1 10.0.0.9:443*1", func(cfg *l4.Config) (string, bool) { return weightsOf(t, cfg), true })
}

func TestUnresolvedResolvesNothing(t *testing.T) {
	cfg, err := withServers(balancer.Maglev, Server{Address: "nowhere:443"}).Unresolved()
	if err != nil {
		t.Fatal(err)
	}
	p := cfg.Listeners[0].Pool
	if got := p.Balancer.Servers()[0].Name(); got != "nowhere:443" || p.Targets != nil {
		t.Errorf("server is %s, targets %v", got, p.Targets)
	}
}

func TestBuildReportsEveryHost(t *testing.T) {
	c := withServers(balancer.Maglev, Server{Address: "a:1"}, Server{Address: "b:1"}, Server{Address: "a:2"})
	_, err := c.Build(t.Context(), resolveFunc(noResolve))
	want := "f:6:7: resolve a: asked for a\nf:7:7: resolve b: asked for b\nf:8:7: resolve a: asked for a"
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	if errs := (Errors)(nil); !errors.As(err, &errs) || len(errs) != 3 {
		t.Errorf("the error is a %T", err)
	}
}

// TestLookupsAreBounded: as many as allowed are under way at a time, and no
// more, and each name is asked for once.
func TestLookupsAreBounded(t *testing.T) {
	var servers []Server
	for i := range 3 * maxLookups {
		name := fmt.Sprintf("h%d", i)
		servers = append(servers, Server{Address: name + ":1"}, Server{Address: name + ":2"})
	}
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int32
		gate, built := make(chan struct{}), make(chan error)
		go func() {
			_, err := withServers(balancer.Maglev, servers...).Build(t.Context(), resolveFunc(func(_ context.Context, host string) ([]netip.Addr, error) {
				asked.Add(1)
				<-gate
				var i byte
				_, _ = fmt.Sscanf(host, "h%d", &i)
				return []netip.Addr{netip.AddrFrom4([4]byte{10, 1, 0, i})}, nil
			}))
			built <- err
		}()
		synctest.Wait()
		if n := asked.Load(); n != maxLookups {
			t.Errorf("%d lookups are under way, want %d", n, maxLookups)
		}
		close(gate)
		if err := <-built; err != nil || asked.Load() != 3*maxLookups {
			t.Errorf("%d names were looked up, want %d; error %v", asked.Load(), 3*maxLookups, err)
		}
	})
}

// TestNamesThatNeedNotBe: without an answer there is a server that is down.
func TestNamesThatNeedNotBe(t *testing.T) {
	c := withServers("", Server{Address: "chat.example.com:443"})
	if _, err := c.Build(t.Context(), zone{}); err == nil {
		t.Error("a required name without an answer is no error")
	}
	c.DNS.Optional = true
	b, err := c.Build(t.Context(), zone{})
	if err != nil {
		t.Fatal(err)
	}
	s := b.Engine.Pools()[0].Balancer.Servers()
	if len(s) != 2 || s[0].Name() != "chat.example.com:443" || !s[0].Down() || s[1].Down() {
		t.Errorf("servers %v, want the first down", s)
	}
}
