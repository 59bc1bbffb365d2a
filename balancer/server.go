package balancer

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"sync/atomic"
	"time"

	"github.com/cespare/xxhash/v2"

	"culvert/l4/limit"
)

// maxWeight keeps every sum and product of weights well inside 64 bits.
const maxWeight = 1<<16 - 1

// maxRate keeps the time between two connections at a microsecond or more.
const maxRate = 1_000_000

// ServerConfig describes one member of a pool.
type ServerConfig struct {
	Name     string // identity, which is hashed and reported; empty means Address
	Address  string // address to dial, as configured; required
	Weight   int    // share of the clients relative to the others, 1 to 65535; 0 means 1
	Backup   bool   // used only while no primary is usable
	Down     bool   // starts out of service
	MaxConns int    // maximum of concurrent connections; 0 means no limit

	// MaxRate is the maximum of new connections a second, up to 1000000; 0
	// means no limit. Connections beyond it wait for a slot, at most MaxWait; 0
	// means one second.
	MaxRate float64
	MaxWait time.Duration
}

// identity is the name that must be unique in a pool.
func (c ServerConfig) identity() string { return cmp.Or(c.Name, c.Address) }

func (c ServerConfig) check() error {
	switch {
	case c.Address == "":
		return errors.New("no address")
	case c.Weight < 0 || c.Weight > maxWeight:
		return fmt.Errorf("weight %d: want 1 to %d", c.Weight, maxWeight)
	case c.MaxConns < 0:
		return fmt.Errorf("max connections %d: want 0 (no limit) or more", c.MaxConns)
	case !(c.MaxRate >= 0 && c.MaxRate <= maxRate) || c.MaxWait < 0:
		return fmt.Errorf("rate %v, wait %v: want 0 (no limit) to %d a second, and no negative duration", c.MaxRate, c.MaxWait, maxRate)
	}
	return nil
}

// A Server is one member of a pool. Its methods may be called from any
// goroutine.
type Server struct {
	name     string
	address  string
	weight   int64
	backup   bool
	index    int   // in the pool
	slot     int   // in the tier
	maxConns int64 // connections allowed, math.MaxInt64 for no limit

	active  *limit.Count // shared with the same server in pools that adopt this one
	causes  atomic.Uint32
	warmAt  atomic.Int64 // when the slow start ends, a time.Duration
	adopted bool         // see Adopted
	rate    limit.Rate   // of new connections
	slots   *limit.Slots // at that rate, shared as active is
	pool    *Pool
	tier    *tier
	salt    uint64 // see randomBits
}

func newServer(c ServerConfig, index int) *Server {
	s := &Server{
		name:     c.identity(),
		address:  c.Address,
		weight:   int64(cmp.Or(c.Weight, 1)),
		backup:   c.Backup,
		index:    index,
		maxConns: int64(cmp.Or(c.MaxConns, math.MaxInt)),
		active:   new(limit.Count),
		rate:     newRate(c),
		slots:    new(limit.Slots),
	}
	s.salt = xxhash.Sum64String(s.name)
	if c.Down {
		s.causes.Store(uint32(Configured))
	}
	return s
}

// clone returns a server with s's configuration and present state that shares
// nothing with s.
func (s *Server) clone() *Server {
	c := &Server{
		name: s.name, address: s.address, weight: s.weight, backup: s.backup,
		index: s.index, slot: s.slot, maxConns: s.maxConns, active: new(limit.Count), salt: s.salt,
	}
	c.causes.Store(s.causes.Load())
	c.warmAt.Store(s.warmAt.Load())
	c.active.Add(s.active.Load())
	return c
}

// Name returns the server's identity: its configured name, else its address.
func (s *Server) Name() string { return s.name }

// Address returns the address to dial, as configured.
func (s *Server) Address() string { return s.address }

// Weight returns the configured weight, at least 1.
func (s *Server) Weight() int { return int(s.weight) }

// Backup reports whether the server is used only when no primary is usable.
func (s *Server) Backup() bool { return s.backup }

// Index returns the server's position in [Pool.Servers].
func (s *Server) Index() int { return s.index }

// Pool returns the pool that the server is a member of.
func (s *Server) Pool() *Pool { return s.pool }

// Active returns how many connections hold a place on the server.
func (s *Server) Active() int64 { return s.active.Load() }

// Hold takes a place on the server without a pick and regardless of its limit,
// for a connection taken over from another process. It must be followed by one
// Release, as a pick must.
func (s *Server) Hold() { s.active.Add(1) }

// Release gives back the place taken by one successful Pick or one Hold. It
// must be called exactly once for each.
func (s *Server) Release() { s.active.Release() }
