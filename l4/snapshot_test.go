package l4

import (
	"crypto/tls"
	"net/netip"
	"reflect"
	"sync"
	"testing"
	"time"

	"culvert/l4/socket"
)

// twoRoutes is a Config of a plain listener and of one that routes by name,
// with a server for each pool.
func twoRoutes(t *testing.T) *Config {
	plain, chat, call := saying(t, "p"), startOrigin(t, tlsEcho(t)), startOrigin(t, tlsEcho(t))
	return &Config{Loops: 2, Listeners: []*Listener{
		plainListener(roundRobin(t, plain.addr)),
		tlsListener(t, nil,
			&Route{ServerName: "chat.example.com", Pool: roundRobin(t, chat.addr)},
			&Route{ServerName: "call.example.com", Pool: roundRobin(t, call.addr)}),
	}}
}

// use makes n connections to the plain server, 2n to chat and 3n to call, and
// waits for their end.
func (r *rig) use(n int) {
	for range n {
		c := r.dial(0)
		hear(r.t, c, "p")
		c.Close()
		r.next()
	}
	for i := range 5 * n {
		name := "chat.example.com"
		if i >= 2*n {
			name = "call.example.com"
		}
		c := tls.Client(r.dial(1), &tls.Config{ServerName: name, InsecureSkipVerify: true})
		if err := c.Handshake(); err != nil {
			r.t.Errorf("%s: %v", name, err)
		}
		c.Close()
		r.next()
	}
}

// wantUsed fails unless the counters say what use of n in all leaves.
func (r *rig) wantUsed(n uint64) {
	r.t.Helper()
	st := r.e.Stats()
	got := []uint64{st.Listeners[0].Accepted, st.Listeners[1].Accepted}
	for _, route := range st.Routes {
		got = append(got, route.Taken)
	}
	for _, s := range st.Servers {
		got = append(got, s.Connections)
	}
	want := []uint64{n, 5 * n, 2 * n, 3 * n, 0, 0, n, 2 * n, 3 * n}
	if !reflect.DeepEqual(got, want) {
		r.t.Errorf("got %v by listener, route and server, want %v", got, want)
	}
}

func TestTwoEnginesServeOneConfig(t *testing.T) {
	cfg := twoRoutes(t)
	one := startRig(t, cfg)
	// The other engine counts something else first, so that its numbers differ.
	two := startRig(t, &Config{Loops: 2, Listeners: []*Listener{
		{Name: "other", Address: ip("127.0.0.1:0"), Pool: roundRobin(t, refusedAddr(t), refusedAddr(t))},
	}})
	if err := two.e.Reload(cfg); err != nil {
		t.Fatal(err)
	}
	two.addrs = nil
	for _, a := range two.e.Addrs() {
		two.addrs = append(two.addrs, a.String())
	}
	var wg sync.WaitGroup
	wg.Go(func() { one.use(5) })
	wg.Go(func() { two.use(10) })
	wg.Wait()
	one.wantUsed(5)
	two.wantUsed(10)
}

func TestEnginesStartFromOneConfigAtOnce(t *testing.T) {
	cfg := twoRoutes(t)
	rigs := make([]*rig, 2)
	var wg sync.WaitGroup
	for i := range rigs {
		wg.Go(func() {
			r := &rig{t: t, records: make(chan Record, 1000), clock: &clock{start: time.Now()}}
			e, err := Start(cfg, Hooks{Now: r.clock.now, Record: func(rec *Record) { r.records <- *rec }})
			if err != nil {
				t.Error(err)
				return
			}
			r.e, rigs[i] = e, r
			for _, a := range e.Addrs() {
				r.addrs = append(r.addrs, a.String())
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		t.FailNow()
	}
	for i, r := range rigs {
		r.use(i + 1)
		r.wantUsed(uint64(i + 1))
		r.stop(1<<20, 1<<20)
	}
}

func TestReloadWithTheSameConfig(t *testing.T) {
	cfg := twoRoutes(t)
	r := startRig(t, cfg)
	open := r.dial(0)
	hear(t, open, "p")
	var wg sync.WaitGroup
	wg.Go(func() {
		for range 20 {
			if err := r.e.Reload(cfg); err != nil {
				t.Error(err)
			}
		}
	})
	r.use(10)
	wg.Wait()
	tell(t, open, "still here")
	open.Close()
	r.next()
	st := r.e.Stats()
	if n := st.Listeners[0].Accepted; n != 11 || st.Servers[0].Connections != 11 || st.Routes[1].Taken != 30 {
		t.Errorf("got %d accepted, %d relayed, %d by a route, want 11, 11 and 30", n, st.Servers[0].Connections, st.Routes[1].Taken)
	}
	if k := &r.e.catalog; len(k.servers) != 3 || len(k.routes) != 4 {
		t.Errorf("the catalog has grown to %d servers and %d routes", len(k.servers), len(k.routes))
	}
}

// TestTableOfTwoListeners: what one listener's routes took is not counted at
// the other.
func TestTableOfTwoListeners(t *testing.T) {
	o := startOrigin(t, tlsEcho(t))
	a := tlsListener(t, nil, &Route{ServerName: "chat.example.com", Pool: roundRobin(t, o.addr)})
	b := &Listener{Name: "b", Address: ip("127.0.0.1:0"), Table: a.Table}
	r := startRig(t, &Config{Loops: 1, Listeners: []*Listener{a, b}})
	r.dialTLS("chat.example.com").Close()
	r.next()
	for _, route := range r.e.Stats().Routes {
		if want := route.Listener == "tls" && route.Route == "chat.example.com"; (route.Taken == 1) != want {
			t.Errorf("%s at %s: got %d taken", route.Route, route.Listener, route.Taken)
		}
	}
}

func TestChangedConfigChangesNoEngine(t *testing.T) {
	right, wrong := saying(t, "right"), saying(t, "wrong")
	pool := roundRobin(t, right.addr)
	cfg := &Config{Loops: 1, Listeners: []*Listener{plainListener(pool)}}
	r := startRig(t, cfg)
	pool.Targets[0] = target(t, wrong.addr)
	pool.Tries = 1
	cfg.Listeners[0].Pool = roundRobin(t, wrong.addr)
	cfg.Listeners[0].Name = "wrong"
	cfg.Listeners[0] = plainListener(roundRobin(t, wrong.addr))
	c := r.dial(0)
	hear(t, c, "right")
	c.Close()
	if rec := r.next(); rec.Listener != "plain" {
		t.Errorf("got the listener %q", rec.Listener)
	}
	if err := r.e.Reload(cfg); err != nil {
		t.Fatal(err)
	}
	c = r.dial(0)
	hear(t, c, "wrong") // only a Reload looks again
}

// TestSnapshotSharesNothingThatChanges changes a Config in one place at a
// time, and looks whether its snapshot has changed with it.
func TestSnapshotSharesNothingThatChanges(t *testing.T) {
	shared := roundRobin(t, "192.0.2.1:443").Balancer
	build := func() *Config {
		pool := &Pool{
			Balancer: shared, Targets: []socket.Target{target(t, "192.0.2.1:443")},
			Sources: []netip.Addr{netip.MustParseAddr("192.0.2.2")},
		}
		table, err := NewTable([]*Route{
			{ServerName: "chat.example.com", ALPN: []string{"h2"}, Pool: pool},
			{ServerName: "*.example.com", Pool: pool},
			{ServerName: "~^a", Pool: pool},
		}, nil)
		if err != nil {
			t.Fatal(err)
		}
		return &Config{Listeners: []*Listener{
			{
				Name: "tls", Address: ip("127.0.0.1:443"), ProxyFrom: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}, Plaintext: pool,
				Table: table,
			},
			{Name: "plain", Address: ip("127.0.0.1:80"), Pool: pool},
		}}
	}
	for _, tt := range []struct {
		name   string
		change func(*Config)
	}{
		{"nothing", func(*Config) {}},
		{"the limits", func(c *Config) { c.Limits.Connections = 7 }},
		{"the list of listeners", func(c *Config) { c.Listeners[0] = c.Listeners[1] }},
		{"a listener", func(c *Config) { c.Listeners[0].MaxConnections = 7 }},
		{"the proxies of a listener", func(c *Config) { c.Listeners[0].ProxyFrom[0] = netip.Prefix{} }},
		{"a pool", func(c *Config) { c.Listeners[1].Pool.Tries = 7 }},
		{"a pool for another", func(c *Config) { c.Listeners[0].Plaintext = &Pool{} }},
		{"a server's address", func(c *Config) { c.Listeners[1].Pool.Targets[0] = socket.NewTarget(ip("192.0.2.7:443")) }},
		{"a source address", func(c *Config) { c.Listeners[1].Pool.Sources[0] = netip.Addr{} }},
		{"what a route does", func(c *Config) { c.Listeners[0].Table.Routes()[0].Action = Close }},
		{"the route of a wildcard", func(c *Config) { c.Listeners[0].Table.Routes()[1].Action = Close }},
		{"the route of an expression", func(c *Config) { c.Listeners[0].Table.Routes()[2].Action = Close }},
		{"the default route", func(c *Config) { c.Listeners[0].Table.Routes()[3].Action = Close }},
		{"a route's pool", func(c *Config) { c.Listeners[0].Table.Routes()[0].Pool = &Pool{} }},
		{"a route's ALPN", func(c *Config) { c.Listeners[0].Table.Routes()[0].ALPN[0] = "h3" }},
		{"the table", func(c *Config) { c.Listeners[0].Table = newTable(t) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg := build()
			got, want := cfg.snapshot(), build().snapshot()
			tt.change(cfg)
			if !reflect.DeepEqual(got, want) {
				t.Error("the snapshot has changed")
			}
			if pools := got.Pools(); len(pools) != 1 {
				t.Errorf("the snapshot has %d pools, want one that all share", len(pools))
			}
			listed := map[*Route]bool{}
			table := got.Listeners[0].Table
			for _, r := range table.Routes() {
				listed[r] = true
			}
			for _, name := range []string{"chat.example.com", "b.example.com", "abc", "nobody.example.org", ""} {
				if m := table.Lookup([]byte(name), offers{"h2"}); !listed[m.Route] {
					t.Errorf("%q: found a route that Routes does not list", name)
				}
			}
		})
	}
}
