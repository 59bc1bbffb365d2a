package config

import (
	"context"
	"slices"
	"testing"

	"culvert/balancer"
	"culvert/l4"
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
	cfg, err := f.Build(context.Background(), resolveFunc(noResolve))
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
