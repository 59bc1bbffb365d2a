// Package balancer picks the server of a pool that a connection goes to, and
// counts the connections of each server.
//
// It implements servers, weights, limits and policies. It does no I/O, starts
// no goroutine and reads no clock: the caller passes in the time and sets
// which servers are down.
package balancer

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync"
	"time"
)

// maxServers limits the servers of a pool, so that a server's index fits the
// 16-bit entries of the maglev table.
const maxServers = 1 << 14

// The errors of [Pool.Pick]. When several apply, the first in this order is
// returned: ErrAllFull, ErrAllTried, ErrAllDown.
var (
	// ErrAllFull: some server is up and was not tried, but every such server
	// is at its connection limit.
	ErrAllFull = errors.New("every server left is full")

	// ErrAllTried: at least one server was tried, and no other server is up.
	ErrAllTried = errors.New("every server was tried")

	// ErrAllDown: nothing was tried because every server is down.
	ErrAllDown = errors.New("every server is down")
)

// Config describes a pool.
type Config struct {
	Name    string
	Policy  Policy         // empty means ClientAddress
	Servers []ServerConfig // at least one must not be a backup

	// IPv6Prefix is how many leading bits of an IPv6 client address the
	// policies client-address and maglev use, 1 to 128; 0 means 64. IPv4
	// addresses are always used whole.
	IPv6Prefix int

	// BoundedLoad keeps every server at or under this multiple of its fair
	// share of the connections, 1.001 to 100 in steps of a thousandth;
	// connections beyond it go to the client's next choice. 0 means no bound.
	// Only policies that hash can have one.
	BoundedLoad float64

	// SlowStart is how long a server that comes back into service gets less
	// than its share of the new connections, starting at a tenth; 0 means no
	// slow start.
	SlowStart time.Duration

	// Panic is the panic threshold, 0 to 1, as in Envoy: of the primaries, and
	// of the backups, that are not out of service on purpose, this share must
	// be in service; otherwise all of them are used. 0 means never.
	Panic float64

	// Rand returns 64 random bits for random-two and slow starts. It must be
	// safe for concurrent use. Nil means math/rand/v2's Uint64.
	Rand func() uint64
}

// A Pool is a fixed set of servers and the policy that picks among them. Its
// methods may be called from any goroutine.
type Pool struct {
	name      string
	policy    Policy
	servers   []*Server // in configured order
	primaries *tier
	backups   *tier // nil when there is none

	mu sync.Mutex // held while a server's causes change
}

// New checks cfg and builds a pool from it. It fails when there is no
// primary server, when there are more than 16384 servers, when two servers
// share an identity, and when a value is out of the range its field states.
// It builds the policy's tables: for nginx-hash with weights in the tens of
// thousands that can take seconds.
func New(cfg Config) (*Pool, error) {
	p, err := build(cfg)
	if err != nil {
		return nil, fmt.Errorf("pool %q: %w", cfg.Name, err)
	}
	return p, nil
}

func build(cfg Config) (*Pool, error) {
	policy, err := cfg.Policy.orDefault()
	if err != nil {
		return nil, err
	}
	servers, err := buildServers(cfg.Servers)
	if err != nil {
		return nil, err
	}
	p := &Pool{name: cfg.Name, policy: policy, servers: servers}
	if err := p.buildTiers(cfg); err != nil {
		return nil, err
	}
	p.own()
	return p, nil
}

func buildServers(configs []ServerConfig) ([]*Server, error) {
	if len(configs) > maxServers {
		return nil, fmt.Errorf("%d servers: at most %d can be balanced", len(configs), maxServers)
	}
	servers := make([]*Server, 0, len(configs))
	seen := make(map[string]bool, len(configs))
	for i, c := range configs {
		if err := c.check(); err != nil {
			return nil, fmt.Errorf("server %d (%q): %w", i+1, c.identity(), err)
		}
		if seen[c.identity()] {
			return nil, fmt.Errorf("server %d (%q): another server has the same name", i+1, c.identity())
		}
		seen[c.identity()] = true
		servers = append(servers, newServer(c, i))
	}
	return servers, nil
}

func (p *Pool) buildTiers(cfg Config) error {
	bound, err := newBound(cfg.BoundedLoad, p.policy)
	if err != nil {
		return err
	}
	keys, err := newKeyer(cfg.IPv6Prefix)
	if err != nil {
		return err
	}
	draw := cfg.Rand
	if draw == nil {
		draw = rand.Uint64
	}
	if !(cfg.Panic >= 0 && cfg.Panic <= 1) || cfg.SlowStart < 0 {
		return fmt.Errorf("panic %v, slow start %v: want 0 to 1, and no negative duration", cfg.Panic, cfg.SlowStart)
	}
	plan := tierPlan{
		policy: p.policy, bound: bound, keys: keys, rand: draw, pool: len(p.servers),
		slowStart: cfg.SlowStart, panic: cfg.Panic,
	}
	primaries, backups := split(p.servers)
	if len(primaries) == 0 {
		return errors.New("no server that is not a backup")
	}
	if p.primaries, err = newTier(plan, primaries); err != nil || len(backups) == 0 {
		return err
	}
	p.backups, err = newTier(plan.forBackups(), backups)
	return err
}

// own sets the servers' pool and assesses their state.
func (p *Pool) own() {
	for _, s := range p.servers {
		s.pool = p
	}
	p.assess()
}

// split divides servers into primaries and backups, keeping their order.
func split(servers []*Server) (primaries, backups []*Server) {
	for _, s := range servers {
		if s.backup {
			backups = append(backups, s)
			continue
		}
		primaries = append(primaries, s)
	}
	return primaries, backups
}

// Name returns the configured name.
func (p *Pool) Name() string { return p.name }

// Policy returns the policy in use, never empty.
func (p *Pool) Policy() Policy { return p.policy }

// Servers returns the servers in configured order. The slice belongs to the
// pool and must not be modified.
func (p *Pool) Servers() []*Server { return p.servers }

// MaxTries returns how many servers are usable now, which is the number of
// tries after which a connection has tried all of them.
func (p *Pool) MaxTries() int {
	n := 0
	for _, s := range p.servers {
		if s.usable(s.tier.panics.Load()) {
			n++
		}
	}
	return n
}

// Pick chooses a server that s has not tried, takes a place on it and marks
// it tried. Backups are considered only when no primary is left. Servers that
// are out of service, but not on purpose, are considered when every other
// server was tried and Config.Panic is not 0. The caller must call Release
// once on the server. s must not have been used with another pool since its
// Reset. now is the time on the caller's monotonic clock, the same one for
// all calls on the pool.
//
// The error is [ErrAllFull], [ErrAllTried] or [ErrAllDown].
func (p *Pool) Pick(s *Selection, now time.Duration) (*Server, error) {
	if srv := p.primaries.pick(s, now); srv != nil {
		return srv, nil
	}
	if p.backups != nil {
		if srv := p.backups.pick(s, now); srv != nil {
			return srv, nil
		}
	}
	if s.count > 0 {
		if srv := p.lastResort(s, now); srv != nil {
			return srv, nil
		}
	}
	return nil, p.exhausted(s)
}

func (p *Pool) lastResort(s *Selection, now time.Duration) *Server {
	srv := p.primaries.lastResort(s, now)
	if srv == nil && p.backups != nil {
		srv = p.backups.lastResort(s, now)
	}
	return srv
}

// exhausted returns the reason why no server could be picked.
func (p *Pool) exhausted(s *Selection) error {
	for _, srv := range p.servers {
		if srv.usable(srv.tier.panics.Load()) && !s.has(srv.index) {
			return ErrAllFull
		}
	}
	if s.count > 0 {
		return ErrAllTried
	}
	return ErrAllDown
}

// Exclude marks srv, one of the pool's servers, as tried by s without picking
// it, for a connection whose earlier tries were made by another process.
func (p *Pool) Exclude(s *Selection, srv *Server) { s.mark(srv.index, len(p.servers)) }

// Order returns the servers in the order in which Pick would try them for
// this client if each one failed, in the pool's present state. It takes no
// place and changes nothing. For round-robin and least-connections this is
// the order for the next connection of any client. random-two has no fixed
// order, and ok is false.
func (p *Pool) Order(client netip.Addr, now time.Duration) (servers []*Server, ok bool) {
	if p.policy == RandomTwo {
		return nil, false
	}
	c := p.clone()
	s := Selection{Client: client}
	for {
		srv, err := c.Pick(&s, now)
		if err != nil {
			return servers, true
		}
		srv.Release()
		servers = append(servers, p.servers[srv.index])
	}
}

// clone returns a pool in the same state as p that shares only p's immutable
// tables. The counts are read one after the other, not as one snapshot.
func (p *Pool) clone() *Pool {
	c := &Pool{name: p.name, policy: p.policy, servers: make([]*Server, len(p.servers))}
	for i, s := range p.servers {
		c.servers[i] = s.clone()
	}
	primaries, backups := split(c.servers)
	c.primaries = p.primaries.clone(primaries)
	if p.backups != nil {
		c.backups = p.backups.clone(backups)
	}
	c.own()
	return c
}
