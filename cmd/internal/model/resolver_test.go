package config

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"culvert/cmd/internal/resolve"
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
