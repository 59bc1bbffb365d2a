package l4

import (
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"

	"culvert/sniff"
)

// offers is an Offer of these protocols.
type offers []string

func (o offers) OffersALPN(p string) bool { return slices.Contains(o, p) }

// named is a route that a test tells from others by its pattern.
func named(pattern string, alpn ...string) *Route {
	return &Route{ServerName: pattern, ALPN: alpn, Action: Close}
}

func newTable(t testing.TB, routes ...*Route) *Table {
	t.Helper()
	table, err := NewTable(routes, named(""))
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// find looks up a name as a client wrote it and returns the route's label.
func find(t testing.TB, table *Table, name string, alpn ...string) string {
	t.Helper()
	norm, err := sniff.AppendName(nil, name)
	if err != nil && name != "" {
		t.Fatalf("%q: %v", name, err)
	}
	return table.Lookup(norm, offers(alpn)).Route.Label()
}

func TestExactNameThenLongestWildcardThenRegexpThenDefault(t *testing.T) {
	table := newTable(t,
		named(`~^chat\.`), named(`~^chat[0-9]+\.`), named(`~\.test$`), named(`~^a\.b\.example\.com$`),
		named("*.com"), named("*.example.com"), named("*.a.example.com"), named("*.b.a.example.com"),
		named("chat.example.com"), named("deep.x.a.example.com"), named("example.net"), named("*.example.net"),
		named("*.chat.example.org"), named("xn--bcher-kva.example"), named("*.under_score.example"), named("*.single"),
		named("UPPER.example.edu."), named("*.Mixed.Example.EDU"), named("localhost"),
	)
	for _, tt := range []struct {
		name string // why
		want string
		in   []string
	}{
		{"exact", "chat.example.com", []string{"chat.example.com", "CHAT.EXAMPLE.COM", "cHaT.eXample.Com", "chat.example.com.", "Chat.Example.com."}},
		{"exact before wildcard and regexp", "deep.x.a.example.com", []string{"deep.x.a.example.com", "DEEP.x.a.example.com."}},
		{"a pattern is normalised like a name", "UPPER.example.edu.", []string{"upper.example.edu", "UPPER.EXAMPLE.EDU.", "Upper.example.edu"}},
		{"a wildcard too", "*.Mixed.Example.EDU", []string{"a.mixed.example.edu", "A.MIXED.EXAMPLE.EDU.", "a.b.mixed.example.edu"}},
		{"one label", "*.example.com", []string{"a.example.com", "a.example.com.", "www.example.com", "A.Example.Com.", "x_y.example.com", "1.example.com", "-.example.com"}},
		{"more labels", "*.example.com", []string{"a.b.example.com", "a.b.c.d.e.f.example.com", "xa.xb.xexample.example.com"}},
		{"wildcard before regexp", "*.example.com", []string{"chat.b.example.com", "chat7.example.com", "a.b.example.com"}},
		{"longest wildcard", "*.a.example.com", []string{"x.a.example.com", "y.x.a.example.com", "X.A.EXAMPLE.COM", "bb.a.example.com"}},
		{"longest of three", "*.b.a.example.com", []string{"x.b.a.example.com", "y.x.b.a.example.com"}},
		{"apex of a longer one is under the shorter", "*.a.example.com", []string{"b.a.example.com"}},
		{"apex under a wildcard of the parent", "*.com", []string{"example.com", "example.com.", "xexample.com", "chat.com", "notexample.com", "a-example.com"}},
		{"never part of a label", "*.com", []string{"xa.xexample.com", "chatexample.com"}},
		{"apex with a route of its own", "example.net", []string{"example.net", "EXAMPLE.NET."}},
		{"beside it", "*.example.net", []string{"a.example.net", "www.example.net", "a.b.example.net"}},
		{"apex without", "", []string{"example.org", "single", "under_score.example", "com", "mixed.example.edu", "example.edu"}},
		{"sibling", "", []string{"bcher.example", "xn--bcher-kva.example.org2", "localhost.localdomain"}},
		{"punycode", "xn--bcher-kva.example", []string{"xn--bcher-kva.example", "XN--BCHER-KVA.example"}},
		{"underscore", "*.under_score.example", []string{"a.under_score.example", "_a._b.under_score.example"}},
		{"single label suffix", "*.single", []string{"a.single", "a.b.single", "single.single"}},
		{"single label", "localhost", []string{"localhost", "LOCALHOST", "localhost."}},
		{"first regexp in order", `~^chat\.`, []string{"chat.test", "chat.example.org", "chat.anything", "CHAT.x"}},
		{"second", `~^chat[0-9]+\.`, []string{"chat1.test", "chat22.example.org"}},
		{"third", `~\.test$`, []string{"a.test", "chatx.test", "A.B.TEST."}},
		{"not the apex of a wildcard under chat", "*.chat.example.org", []string{"a.chat.example.org"}},
		{"nothing", "", []string{"", "nothing.example", "comm", "a.b.c.d.e.f", "example.comm", "test", "xchat.example.org"}},
	} {
		if tt.want == "" {
			tt.want = "default"
		}
		for _, in := range tt.in {
			if got := find(t, table, in); got != tt.want {
				t.Errorf("%s: %q went to %q, want %q", tt.name, in, got, tt.want)
			}
		}
	}
}

func TestWildcardOfEveryDepth(t *testing.T) {
	for labels := 1; labels <= 126; labels++ {
		suffix := strings.TrimSuffix(strings.Repeat("a.", labels), ".")
		table := newTable(t, named("*."+suffix))
		for _, tt := range []struct{ in, want string }{
			{suffix, "default"},
			{"b." + suffix, "*." + suffix},
			{"b" + suffix, "default"},
			{"b.c." + suffix, "*." + suffix},
			{suffix + ".b", "default"},
		} {
			if len(tt.in) > 253 {
				continue
			}
			if got := find(t, table, tt.in); got != tt.want {
				t.Errorf("%d labels: %q went to %q, want %q", labels, tt.in, got, tt.want)
			}
		}
	}
}

// naive is the rule that Table implements, written down simply.
func naive(patterns []string, name string) string {
	if slices.Contains(patterns, name) {
		return name
	}
	best := "default"
	for _, p := range patterns {
		if suffix, ok := strings.CutPrefix(p, "*"); ok && strings.HasSuffix(name, suffix) && len(name) > len(suffix) && (best == "default" || len(p) > len(best)) {
			best = p
		}
	}
	if best != "default" {
		return best
	}
	for _, p := range patterns {
		if expr, ok := strings.CutPrefix(p, "~"); ok && regexp.MustCompile(expr).MatchString(name) {
			return p
		}
	}
	return best
}

func TestLookupAgreesWithTheRuleOnRandomTables(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	label := func() string { return []string{"a", "b", "ab", "ba", "c-c"}[rng.IntN(5)] }
	name := func() string {
		s := label()
		for range rng.IntN(5) {
			s += "." + label()
		}
		return s
	}
	for range soak(200, 20000) {
		var patterns []string
		var routes []*Route
		for range 1 + rng.IntN(20) {
			p := name()
			switch rng.IntN(6) {
			case 0, 1, 2:
				p = "*." + p
			case 3:
				p = "~^" + regexp.QuoteMeta(p)
			}
			if !slices.Contains(patterns, p) {
				patterns, routes = append(patterns, p), append(routes, named(p))
			}
		}
		table := newTable(t, routes...)
		for range 100 {
			in := name()
			if got, want := find(t, table, in), naive(patterns, in); got != want {
				t.Fatalf("%q in %q: got %q, want %q", in, patterns, got, want)
			}
		}
	}
}

func TestALPNDecidesAmongTheRoutesOfOnePattern(t *testing.T) {
	table := newTable(t,
		named("chat.example.com", "acme-tls/1"), named("chat.example.com"),
		named("h2.example.com", "h2"), named("h2.example.com", "http/1.1", "h3"),
		named("*.example.com"), named("*.wild.example.com", "h2"), named("~.*", "h2"),
	)
	const refused = "no alpn match"
	for _, tt := range []struct {
		name string
		alpn []string
		want string
	}{
		{"chat.example.com", nil, "chat.example.com"},
		{"chat.example.com", []string{"h2", "http/1.1"}, "chat.example.com"},
		{"chat.example.com", []string{"acme-tls/1"}, "chat.example.com alpn=acme-tls/1"},
		{"chat.example.com", []string{"h2", "acme-tls/1"}, "chat.example.com alpn=acme-tls/1"},
		{"chat.example.com", []string{"acme-tls/2", "ACME-TLS/1", "acme-tls/1 "}, "chat.example.com"},
		{"h2.example.com", []string{"h2"}, "h2.example.com alpn=h2"},
		{"h2.example.com", []string{"http/1.1", "h2"}, "h2.example.com alpn=h2"},
		{"h2.example.com", []string{"h3"}, "h2.example.com alpn=http/1.1,h3"},
		{"h2.example.com", nil, refused},
		{"h2.example.com", []string{"h4"}, refused},
		{"a.wild.example.com", []string{"h2"}, "*.wild.example.com alpn=h2"},
		{"a.wild.example.com", []string{"h3"}, refused},
		{"a.example.com", nil, "*.example.com"},
		{"example.org", []string{"h2"}, "~.* alpn=h2"},
		{"example.org", nil, refused},
		{"", []string{"h2"}, "default"},
	} {
		if got := find(t, table, tt.name, tt.alpn...); got != tt.want {
			t.Errorf("%q with %q went to %q, want %q", tt.name, tt.alpn, got, tt.want)
		}
	}
}

func TestLookupSaysWhy(t *testing.T) {
	table := newTable(t, named("a.example"), named("a.example", "h2"), named("*.w.example"), named("~^x"), named("n.example", "h2"))
	for in, want := range map[string]string{
		"a.example":   "exact name",
		"b.w.example": "wildcard",
		"x.y":         "regular expression",
		"n.example":   "exact name, but no ALPN condition holds",
		"b.example":   "no pattern matches the name",
		"":            "the hello names no server",
	} {
		if got := table.Lookup([]byte(in), offers(nil)).Why; got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
	if got, want := table.Lookup([]byte("a.example"), offers{"h2"}).Why, "exact name and ALPN"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestTableRefusesBadRoutes(t *testing.T) {
	pool := roundRobin(t, "127.0.0.1:1")
	for _, tt := range []struct {
		name   string
		routes []*Route
		want   string
	}{
		{"same name twice", []*Route{named("a.example"), named("A.Example.")}, "another route has the same name"},
		{"same wildcard twice", []*Route{named("*.a.example"), named("*.A.example")}, "another route has the same name"},
		{"same expression twice", []*Route{named("~a"), named("~a")}, "another route has the same name"},
		{"bad name", []*Route{named("a b")}, "bad server name"},
		{"no name", []*Route{named("")}, "bad server name"},
		{"bare wildcard", []*Route{named("*")}, "bad server name"},
		{"wildcard of nothing", []*Route{named("*.")}, "bad server name"},
		{"inner wildcard", []*Route{named("a.*.example")}, "bad server name"},
		{"partial wildcard", []*Route{named("a*.example")}, "bad server name"},
		{"long label", []*Route{named(strings.Repeat("a", 64) + ".example")}, "bad server name"},
		{"IPv4 address", []*Route{named("192.0.2.1")}, "an IP address is never"},
		{"IPv6 address", []*Route{named("2001:db8::1")}, "bad server name"},
		{"bad expression", []*Route{named("~(")}, "missing closing"},
		{"empty ALPN", []*Route{named("a.example", "")}, "1 to 255 bytes"},
		{"long ALPN", []*Route{named("a.example", strings.Repeat("a", 256))}, "1 to 255 bytes"},
		{"forward to nowhere", []*Route{{ServerName: "a.example"}}, "a pool if and only if"},
		{"close with a pool", []*Route{{ServerName: "a.example", Action: Close, Pool: pool}}, "a pool if and only if"},
	} {
		if _, err := NewTable(tt.routes, nil); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q", tt.name, err, tt.want)
		}
	}
}

func TestEveryRouteOfATableIsListed(t *testing.T) {
	routes := []*Route{named("a.example"), named("a.example", "h2"), named("*.b.example"), named("~c")}
	table := newTable(t, routes...)
	listed := table.Routes()
	for _, in := range []string{"a.example", "x.b.example", "c", "", "zz"} {
		for _, alpn := range []offers{nil, {"h2"}} {
			if r := table.Lookup([]byte(in), alpn).Route; !slices.Contains(listed, r) {
				t.Errorf("%q with %q leads to a route that Routes does not list", in, alpn)
			}
		}
	}
}

// hosts is a table of n exact names and n/10 wildcards.
func hosts(t testing.TB, n int) *Table {
	routes := []*Route{named("chat.example.com"), named("*.wild.example.com")}
	for i := range n - 1 {
		routes = append(routes, named(fmt.Sprintf("host-%d.zone-%d.example.com", i, i%100)))
		if i%10 == 0 {
			routes = append(routes, named(fmt.Sprintf("*.w%d.example.net", i)))
		}
	}
	return newTable(t, routes...)
}

var lookups = []struct{ kind, name string }{
	{"exact", "chat.example.com"},
	{"wildcard", "a.b.wild.example.com"},
	{"miss", "nobody.knows.example.org"},
	{"nameless", ""},
}

func TestLookupDoesNotAllocate(t *testing.T) {
	table := hosts(t, 1000)
	h := &sniff.Hello{}
	if err := new(sniff.Parser).Parse(craftHello(alpnExtension("h2", "http/1.1")), h); err != nil {
		t.Fatal(err)
	}
	table.exact["alpn.example.com"] = &ruleSet{byALPN: []*Route{named("alpn.example.com", "http/1.1")}}
	for _, tt := range append(slices.Clone(lookups), struct{ kind, name string }{"ALPN", "alpn.example.com"}) {
		name := []byte(tt.name)
		if n := testing.AllocsPerRun(100, func() { table.Lookup(name, h) }); n != 0 {
			t.Errorf("%s: %v allocations, want 0", tt.kind, n)
		}
	}
}
