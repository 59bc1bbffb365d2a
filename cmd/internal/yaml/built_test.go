package yaml

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"testing"

	"culvert/balancer"
	"culvert/cmd/internal/config"
	"culvert/cmd/internal/resolve"
	"culvert/l4"
)

// loaded is what a test of one key looks at.
type loaded struct {
	file     *config.Config
	warnings config.Errors
	built    *config.Built
	config   *l4.Config
	listener *l4.Listener // the first
	route    *l4.Route    // its first
	pool     *l4.Pool     // p, where its default leads
	server   *balancer.Server
}

// noNames is a resolver that knows no name.
type noNames struct{}

func (noNames) Addrs(context.Context, string) ([]netip.Addr, error) {
	return nil, errors.New("no such host")
}

func (noNames) Services(context.Context, string) ([]resolve.Service, error) {
	return nil, errors.New("no such name")
}

func load(t *testing.T, src string) loaded {
	t.Helper()
	c, warnings, err := Parse("f", []byte(src))
	if err != nil {
		t.Fatalf("%v\nin\n%s", err, src)
	}
	l := built(t, c)
	l.warnings = warnings
	return l
}

func built(t *testing.T, c *config.Config) loaded {
	t.Helper()
	b, err := c.Build(context.Background(), noNames{})
	if err != nil {
		t.Fatal(err)
	}
	l := loaded{file: c, built: b, config: b.Engine, listener: b.Engine.Listeners[0]}
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

// parseErr returns what Parse says of src.
func parseErr(src string) error {
	_, _, err := Parse("f", []byte(src))
	return err
}
