package l4

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"regexp"
	"sync"
	"testing"
	"time"

	"culvert/balancer"
	"culvert/sniff"
)

// A benchmark called reference is the measure of those beside it: a fixed
// piece of work that no change of the package makes faster or slower.
// bench/check compares with it in the same run.

// hostNames are n names at random that hosts(n) has routes for; of a large
// table they are more than the caches hold.
func hostNames(n int) [][]byte {
	names := make([][]byte, 1<<12)
	rng := rand.New(rand.NewPCG(7, 8))
	for i := range names {
		names[i] = []byte("chat.example.com")
		if n > 1 {
			k := rng.IntN(n - 1)
			names[i] = fmt.Appendf(nil, "host-%d.zone-%d.example.com", k, k%100)
		}
	}
	return names
}

// wildNames are names under wildcards of hosts(n).
func wildNames(n int) [][]byte {
	names := make([][]byte, 1<<12)
	rng := rand.New(rand.NewPCG(9, 10))
	for i := range names {
		names[i] = []byte("a.b.wild.example.com")
		if n > 1 {
			names[i] = fmt.Appendf(nil, "a.b.w%d.example.net", rng.IntN((n+8)/10)*10)
		}
	}
	return names
}

// BenchmarkLookup's reference looks the exact names up in a plain map of as
// many.
func BenchmarkLookup(b *testing.B) {
	for _, n := range []int{1, 100, 100000} {
		table, names := hosts(b, n), hostNames(n)
		b.Run(fmt.Sprintf("%d/exact", n), func(b *testing.B) { benchmarkLookup(b, table, names, byName.plain) })
		b.Run(fmt.Sprintf("%d/wildcard", n), func(b *testing.B) { benchmarkLookup(b, table, wildNames(n), byWildcard.plain) })
		b.Run(fmt.Sprintf("%d/miss", n), func(b *testing.B) {
			benchmarkLookup(b, table, [][]byte{[]byte("nobody.knows.example.org")}, "no pattern matches the name")
		})
		b.Run(fmt.Sprintf("%d/reference", n), func(b *testing.B) { benchmarkMap(b, len(table.exact), names) })
	}
}

func benchmarkLookup(b *testing.B, table *Table, names [][]byte, why string) {
	h := &sniff.Hello{}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if got := table.Lookup(names[i%len(names)], h).Why; got != why {
			b.Fatalf("found by %s, want %s", got, why)
		}
	}
}

func benchmarkMap(b *testing.B, n int, names [][]byte) {
	m := map[string]*ruleSet{"chat.example.com": {}}
	for i := range n - 1 {
		m[fmt.Sprintf("host-%d.zone-%d.example.com", i, i%100)] = &ruleSet{}
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if m[string(names[i%len(names)])] == nil {
			b.Fatal("not found")
		}
	}
}

// BenchmarkLookupRegexp has ten expressions, of which the last matches. The
// reference asks the same ten without a table.
func BenchmarkLookupRegexp(b *testing.B) {
	var routes []*Route
	var exprs []*regexp.Regexp
	for i := range 10 {
		expr := fmt.Sprintf(`^(chat|call)%d-[a-z]+\.example\.org$`, i)
		routes = append(routes, named("~"+expr))
		exprs = append(exprs, regexp.MustCompile(expr))
	}
	table, name := newTable(b, routes...), []byte("chat9-berlin.example.org")
	b.Run("last-of-10", func(b *testing.B) { benchmarkLookup(b, table, [][]byte{name}, byRegexp.plain) })
	b.Run("reference", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			for _, re := range exprs {
				re.Match(name)
			}
		}
	})
}

// BenchmarkRecord writes the account of a connection that has ended, for
// somebody who only takes it. The reference is what that cannot do without: a
// locked count by ending, and a copy of a record.
func BenchmarkRecord(b *testing.B) {
	bound := netip.MustParseAddrPort("192.0.2.7:40000")
	srv := addressedServer(b)
	c := &conn{
		id: 7, client: bound, name: "chat.example.com", alpn: "h2,http/1.1",
		helloAt: 1500, connectAt: 2000, firstAt: 3000, server: srv,
		route: named("chat.example.com"), from: &accepter{cfg: &Listener{Name: ":443"}, shared: &listenerState{}},
	}
	b.Run("relayed", func(b *testing.B) { benchmarkRecord(b, *c) })
	c.past = &past{tries: []Try{{Server: "10.0.0.12:443", Reason: ReasonRefused, Duration: time.Millisecond}}}
	b.Run("failed-over", func(b *testing.B) { benchmarkRecord(b, *c) })
	b.Run("reference", func(b *testing.B) {
		var mu sync.Mutex
		var from, to Record
		endings := map[Ending]uint64{}
		b.ReportAllocs()
		for b.Loop() {
			mu.Lock()
			endings[Ending{Client, ReasonClosed}]++
			mu.Unlock()
			to = from
			from.ID = to.ID + 1
		}
	})
}

func benchmarkRecord(b *testing.B, c conn) {
	taken := uint64(0)
	l := &loop{eng: &Engine{start: time.Now(), hooks: Hooks{Record: func(r *Record) { taken += r.ID }}}, now: time.Second}
	l.counters.grow(sizes{1, 1, 1})
	b.ReportAllocs()
	for b.Loop() {
		l.writeRecord(&c, Client, ReasonClosed)
	}
	if taken == 0 {
		b.Fatal("nobody was told")
	}
}

func addressedServer(b *testing.B) *balancer.Server {
	p, err := balancer.New(balancer.Config{Servers: []balancer.ServerConfig{{Address: "10.0.0.11:443"}}})
	if err != nil {
		b.Fatal(err)
	}
	return p.Servers()[0]
}
