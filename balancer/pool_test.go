package balancer

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func mustPool(t testing.TB, cfg Config) *Pool {
	t.Helper()
	p, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// mustPick picks for a new connection of the client and does not release it.
func mustPick(t testing.TB, p *Pool, client netip.Addr) *Server {
	t.Helper()
	s := Selection{Client: client}
	srv, err := p.Pick(&s, 0)
	if err != nil {
		t.Fatalf("Pick for %v: %v", client, err)
	}
	return srv
}

// choice returns the name of the server the client gets, and releases it.
func choice(t testing.TB, p *Pool, client netip.Addr) string {
	t.Helper()
	srv := mustPick(t, p, client)
	srv.Release()
	return srv.Name()
}

// walk picks until an error, as a connection does when every try fails, and
// returns the names in order and that error.
func walk(p *Pool, client netip.Addr) ([]string, error) {
	var tried []string
	s := Selection{Client: client}
	for {
		srv, err := p.Pick(&s, 0)
		if err != nil {
			return tried, err
		}
		srv.Release()
		tried = append(tried, srv.Name())
	}
}

func names(servers []*Server) []string {
	var list []string
	for _, s := range servers {
		list = append(list, s.Name())
	}
	return list
}

// named returns servers with the given names and weight 1.
func named(list ...string) []ServerConfig {
	var servers []ServerConfig
	for _, n := range list {
		servers = append(servers, ServerConfig{Name: n, Address: n + ":443"})
	}
	return servers
}

func TestNewRejects(t *testing.T) {
	tests := []struct {
		name string
		cfg  Config
		want string
	}{
		{"no servers", Config{}, "no server that is not a backup"},
		{"only backups", Config{Servers: []ServerConfig{{Address: "a", Backup: true}}}, "no server that is not a backup"},
		{"no address", Config{Servers: []ServerConfig{{Name: "a"}}}, "no address"},
		{"same address twice", Config{Servers: []ServerConfig{{Address: "a"}, {Address: "a"}}}, "the same name"},
		{"name is another's address", Config{Servers: []ServerConfig{{Address: "a"}, {Name: "a", Address: "b"}}}, "the same name"},
		{"negative weight", Config{Servers: []ServerConfig{{Address: "a", Weight: -1}}}, "weight -1"},
		{"weight too big", Config{Servers: []ServerConfig{{Address: "a", Weight: 65536}}}, "weight 65536"},
		{"negative limit", Config{Servers: []ServerConfig{{Address: "a", MaxConns: -1}}}, "max connections -1"},
		{"too many servers", Config{Servers: addressed(maxServers + 1)}, "at most 16384"},
		{"unknown policy", Config{Policy: "fastest", Servers: named("a")}, `unknown policy "fastest"`},
		{"prefix too long", Config{IPv6Prefix: 129, Servers: named("a")}, "IPv6 prefix 129"},
		{"negative prefix", Config{IPv6Prefix: -1, Servers: named("a")}, "IPv6 prefix -1"},
		{"bound of one", Config{BoundedLoad: 1, Servers: named("a")}, "bounded load 1"},
		{"negative bound", Config{BoundedLoad: -2, Servers: named("a")}, "bounded load -2"},
		{"huge bound", Config{BoundedLoad: 101, Servers: named("a")}, "bounded load 101"},
		{"bound without hashing", Config{BoundedLoad: 2, Policy: RoundRobin, Servers: named("a")}, "round-robin already"},
		{"ring too big", Config{Policy: NGINXHash, Servers: []ServerConfig{
			{Address: "a", Weight: 65535}, {Address: "b", Weight: 65535},
		}}, "add up to 131070"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.cfg.Name = "p"
			_, err := New(tt.cfg)
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.HasPrefix(err.Error(), `pool "p": `) {
				t.Errorf("New: %v, want an error about %q of pool \"p\"", err, tt.want)
			}
		})
	}
}

func TestServerFacts(t *testing.T) {
	p := mustPool(t, Config{Name: "chat", Servers: []ServerConfig{
		{Address: "10.0.0.1:443"},
		{Name: "b", Address: "10.0.0.2:443", Weight: 7, Backup: true, Down: true},
	}})
	if p.Name() != "chat" || p.Policy() != ClientAddress {
		t.Errorf("pool %q with policy %q", p.Name(), p.Policy())
	}
	a, b := p.Servers()[0], p.Servers()[1]
	if a.Name() != "10.0.0.1:443" || a.Weight() != 1 || a.Backup() || a.Down() || a.Index() != 0 {
		t.Errorf("first server: %q weight %d", a.Name(), a.Weight())
	}
	if b.Name() != "b" || b.Address() != "10.0.0.2:443" || b.Weight() != 7 || !b.Backup() || !b.Down() || b.Index() != 1 {
		t.Errorf("second server: %q weight %d", b.Name(), b.Weight())
	}
}

func TestEveryPolicyTriesEachServerOnce(t *testing.T) {
	for _, policy := range Policies() {
		for _, n := range []int{1, 2, 5, 64, 65, 66, 300} {
			t.Run(fmt.Sprintf("%s/%d", policy, n), func(t *testing.T) {
				p := mustPool(t, Config{Policy: policy, Servers: addressed(n)})
				var want []string
				for _, s := range p.Servers() {
					want = append(want, s.Name())
				}
				for _, client := range clients(5) {
					got, err := walk(p, client)
					if !errors.Is(err, ErrAllTried) {
						t.Fatalf("ended with %v, want ErrAllTried", err)
					}
					slices.Sort(got)
					slices.Sort(want)
					if diff := cmp.Diff(want, got); diff != "" {
						t.Fatalf("servers tried (-want +got):\n%s", diff)
					}
				}
			})
		}
	}
}

func TestWhyNothingIsLeft(t *testing.T) {
	full := func(s *Server) { s.Hold() }
	down := func(s *Server) { s.Set(Configured, true, 0) }
	up := func(*Server) {}
	tests := []struct {
		name    string
		a, b    func(*Server)
		tryA    bool
		wantErr error
	}{
		{"both down", down, down, false, ErrAllDown},
		{"both full", full, full, false, ErrAllFull},
		{"one down, one full", down, full, false, ErrAllFull},
		{"one tried, one down", up, down, true, ErrAllTried},
		{"one tried, one full", up, full, true, ErrAllFull},
		{"one tried and gone down, one down", down, down, true, ErrAllTried},
	}
	for _, policy := range Policies() {
		for _, tt := range tests {
			t.Run(string(policy)+"/"+tt.name, func(t *testing.T) {
				servers := named("a", "b")
				servers[0].MaxConns, servers[1].MaxConns = 1, 1
				p := mustPool(t, Config{Policy: policy, Servers: servers})
				var s Selection
				if tt.tryA {
					p.Exclude(&s, p.Servers()[0])
				}
				tt.a(p.Servers()[0])
				tt.b(p.Servers()[1])
				before := [2]int64{p.Servers()[0].Active(), p.Servers()[1].Active()}
				if srv, err := p.Pick(&s, 0); !errors.Is(err, tt.wantErr) {
					t.Errorf("Pick = %v, %v, want %v", srv, err, tt.wantErr)
				}
				after := [2]int64{p.Servers()[0].Active(), p.Servers()[1].Active()}
				if after != before {
					t.Errorf("a failed pick left %v active, want %v", after, before)
				}
			})
		}
	}
}

func TestBackupsServeOnlyWithoutPrimaries(t *testing.T) {
	for _, policy := range Policies() {
		t.Run(string(policy), func(t *testing.T) {
			servers := named("a", "b", "y", "z")
			servers[2].Backup, servers[3].Backup = true, true
			servers[0].MaxConns = 1
			p := mustPool(t, Config{Policy: policy, Servers: servers})
			for _, client := range clients(50) {
				order, err := walk(p, client)
				if !errors.Is(err, ErrAllTried) || len(order) != 4 {
					t.Fatalf("walk: %v, %v", order, err)
				}
				primaries := order[:2]
				if slices.Contains(primaries, "y") || slices.Contains(primaries, "z") {
					t.Fatalf("a backup came before a primary: %v", order)
				}
			}
			a, b := p.Servers()[0], p.Servers()[1]
			a.Hold()
			b.Set(Configured, true, 0)
			if got := choice(t, p, clients(1)[0]); got != "y" && got != "z" {
				t.Errorf("with one primary full and one down: %s", got)
			}
			a.Release()
			if got := choice(t, p, clients(1)[0]); got != "a" {
				t.Errorf("with a primary back: %s", got)
			}
		})
	}
}

func TestOrderIsWhatPicksDo(t *testing.T) {
	for _, policy := range Policies() {
		if policy == RandomTwo {
			continue
		}
		for _, bound := range []float64{0, 1.25} {
			if bound != 0 && !policy.hashes() {
				continue
			}
			t.Run(fmt.Sprintf("%s/%v", policy, bound), func(t *testing.T) {
				servers := addressed(9)
				servers[3].Down, servers[4].MaxConns, servers[7].Backup, servers[8].Backup = true, 1, true, true
				p := mustPool(t, Config{Policy: policy, BoundedLoad: bound, Servers: servers})
				p.Servers()[4].Hold()
				for _, client := range clients(200) {
					got, ok := p.Order(client, 0)
					again, _ := p.Order(client, 0)
					if !ok || !slices.Equal(got, again) {
						t.Fatalf("Order = %v, then %v", names(got), names(again))
					}
					want, _ := walk(p, client)
					if diff := cmp.Diff(want, names(got)); diff != "" {
						t.Fatalf("order for %v (-picked +Order):\n%s", client, diff)
					}
					mustPick(t, p, client) // Make the loads differ.
				}
			})
		}
	}
	p := mustPool(t, Config{Policy: RandomTwo, Servers: named("a", "b")})
	if got, ok := p.Order(netip.Addr{}, 0); ok || got != nil {
		t.Errorf("random-two: Order = %v, %v", got, ok)
	}
}

// A client's failover order must not depend on which server failed.
func TestFailoverOrderIsTheOrderWithoutTheFailed(t *testing.T) {
	for _, policy := range []Policy{ClientAddress, Maglev} {
		t.Run(string(policy), func(t *testing.T) {
			p := mustPool(t, Config{Policy: policy, Servers: addressed(12)})
			for i, client := range clients(300) {
				whole, _ := walk(p, client)
				out := p.Servers()[i%12]
				out.Set(Configured, true, 0)
				got, _ := walk(p, client)
				out.Set(Configured, false, 0)
				want := slices.DeleteFunc(whole, func(n string) bool { return n == out.Name() })
				if diff := cmp.Diff(want, got); diff != "" {
					t.Fatalf("%v without %s (-want +got):\n%s", client, out.Name(), diff)
				}
			}
		})
	}
}

// A client must hash the same whether it comes over an IPv4 or a dual-stack
// socket (see CVE-2024-24790 for bugs of this kind).
func TestMappedAddressIsIPv4(t *testing.T) {
	for _, policy := range []Policy{ClientAddress, Maglev, NGINXHash} {
		t.Run(string(policy), func(t *testing.T) {
			p := mustPool(t, Config{Policy: policy, Servers: addressed(16)})
			for i := range 2000 {
				v4 := netip.AddrFrom4([4]byte{192, 0, byte(i >> 8), byte(i)})
				mapped := netip.AddrFrom16(v4.As16())
				if !mapped.Is4In6() {
					t.Fatalf("%v is not IPv4-mapped", mapped)
				}
				want, got := choice(t, p, v4), choice(t, p, mapped)
				if got != want {
					t.Fatalf("%v goes to %s, %v to %s", v4, want, mapped, got)
				}
			}
		})
	}
}

func TestIPv6PrefixIsOneClient(t *testing.T) {
	tests := []struct {
		name   string
		prefix int
		a, b   string
		same   bool
	}{
		{"default, one /64", 0, "2001:db8:1:2::1", "2001:db8:1:2:ffff:ffff:ffff:ffff", true},
		{"default, neighbours", 0, "2001:db8:1:2::1", "2001:db8:1:3::1", false},
		{"56", 56, "2001:db8:1:200::1", "2001:db8:1:2ff::1", true},
		{"56, neighbours", 56, "2001:db8:1:200::1", "2001:db8:1:300::1", false},
		{"128", 128, "2001:db8::1", "2001:db8::2", false},
		{"zone does not count", 128, "fe80::1%eth0", "fe80::1%eth1", true},
		{"IPv4 is never cut", 1, "192.0.2.1", "192.0.2.2", false},
	}
	for _, policy := range []Policy{ClientAddress, Maglev} {
		for _, tt := range tests {
			t.Run(string(policy)+"/"+tt.name, func(t *testing.T) {
				p := mustPool(t, Config{Policy: policy, IPv6Prefix: tt.prefix, Servers: addressed(200)})
				a, _ := p.Order(netip.MustParseAddr(tt.a), 0)
				b, _ := p.Order(netip.MustParseAddr(tt.b), 0)
				if got := slices.Equal(names(a), names(b)); got != tt.same {
					t.Errorf("%s and %s alike: %v, want %v", tt.a, tt.b, got, tt.same)
				}
			})
		}
	}
}

func TestMaxTries(t *testing.T) {
	servers := named("a", "b", "c")
	servers[0].Down, servers[2].Backup = true, true
	p := mustPool(t, Config{Servers: servers})
	if got := p.MaxTries(); got != 2 {
		t.Errorf("MaxTries = %d, want 2", got)
	}
	p.Servers()[0].Set(Configured, false, 0)
	if got := p.MaxTries(); got != 3 {
		t.Errorf("MaxTries = %d, want 3", got)
	}
}

func TestFirstPickDoesNotAllocate(t *testing.T) {
	from := clients(64)
	for _, policy := range Policies() {
		for _, n := range []int{3, 64, 1000} {
			p := mustPool(t, Config{Policy: policy, Servers: addressed(n)})
			i := 0
			got := testing.AllocsPerRun(200, func() {
				s := Selection{Client: from[i%len(from)]}
				srv, err := p.Pick(&s, 0)
				if err != nil {
					t.Fatal(err)
				}
				srv.Release()
				i++
			})
			if got != 0 {
				t.Errorf("%s with %d servers: %v allocations a pick", policy, n, got)
			}
		}
	}
}
