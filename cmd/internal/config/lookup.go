package config

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"culvert/cmd/internal/resolve"
)

// Resolver finds what names stand for. Its methods may be called from several
// goroutines at once.
type Resolver interface {
	Addrs(ctx context.Context, host string) ([]netip.Addr, error)
	Services(ctx context.Context, name string) ([]resolve.Service, error)
}

// maxLookups is how many hosts are resolved at a time.
const maxLookups = 16

// hosts returns the distinct names of the servers.
func (c *Config) hosts() []endpoint {
	seen := map[string]bool{}
	var all []endpoint
	for _, p := range live(c.Pools) {
		for _, s := range live(p.Servers) {
			if e, err := parseServer(s.Address); err == nil && e.isHost() && !seen[e.key()] {
				seen[e.key()] = true
				all = append(all, e)
			}
		}
	}
	return all
}

// An answer is what resolving a name gave.
type answer struct {
	found []location
	err   error
}

// A location is one address that a name stands for, with what an SRV record says
// of it.
type location struct {
	addr   netip.Addr
	port   uint16 // 0: the configured one
	weight int    // 0: the configured one
	backup bool
}

// lookUp resolves names, maxLookups at a time.
func lookUp(ctx context.Context, names []endpoint, r Resolver) map[string]answer {
	found := make([]answer, len(names))
	var all errgroup.Group
	all.SetLimit(maxLookups)
	for i, e := range names {
		all.Go(func() error {
			found[i].found, found[i].err = e.lookUp(ctx, r)
			return nil // one that fails does not stop the others: all are reported
		})
	}
	_ = all.Wait()
	answers := make(map[string]answer, len(names))
	for i, e := range names {
		answers[e.key()] = found[i]
	}
	return answers
}

// lookUp returns the locations of e in an order that does not depend on that of
// an answer, and neither does a server's place in a pool.
func (e endpoint) lookUp(ctx context.Context, r Resolver) ([]location, error) {
	if e.srv {
		return e.services(ctx, r)
	}
	addrs, err := r.Addrs(ctx, e.host)
	var all []location
	for _, a := range sorted(addrs) {
		all = append(all, location{addr: a})
	}
	return all, err
}

func sorted(addrs []netip.Addr) []netip.Addr {
	all := make([]netip.Addr, len(addrs))
	for i, a := range addrs {
		all[i] = a.Unmap()
	}
	slices.SortFunc(all, netip.Addr.Compare)
	return slices.Compact(all)
}

// services returns the locations of an SRV name. Those of the lowest priority are
// primaries, the others backups (RFC 2782).
func (e endpoint) services(ctx context.Context, r Resolver) ([]location, error) {
	services, err := r.Services(ctx, e.host)
	if err != nil {
		return nil, err
	}
	services = slices.SortedFunc(slices.Values(services), byPriority)
	var all []location
	seen := map[netip.AddrPort]bool{}
	for _, s := range services {
		host := strings.TrimSuffix(s.Host, ".")
		addrs, err := r.Addrs(ctx, host)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", host, err)
		}
		for _, a := range sorted(addrs) {
			if to := netip.AddrPortFrom(a, s.Port); !seen[to] { // else two names of one server
				seen[to] = true
				all = append(all, location{a, s.Port, max(1, int(s.Weight)), s.Priority > services[0].Priority})
			}
		}
	}
	return all, nil
}

func byPriority(a, b resolve.Service) int {
	return cmp.Or(cmp.Compare(a.Priority, b.Priority), cmp.Compare(a.Host, b.Host), cmp.Compare(a.Port, b.Port), cmp.Compare(a.Weight, b.Weight))
}
