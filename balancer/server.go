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

// maxWeight is the heaviest server accepted. It keeps every sum and product
// of weights well inside 64 bits.
const maxWeight = 1<<16 - 1

// maxRate keeps the time between two connections a microsecond at least.
const maxRate = 1_000_000

// ServerConfig describes one member of a pool.
type ServerConfig struct {
	Name     string // what the server is hashed and reported as; empty means Address
	Address  string // where to dial, as the operator wrote it; required
	Weight   int    // share of the clients relative to the others, 1 to 65535; 0 means 1
	Backup   bool   // only used while no primary can be
	Down     bool   // starts out of service
	MaxConns int    // most connections at one time; 0 means no limit

	// MaxRate is the most new connections a second, 0 for no limit. Others
	// wait for their turn, at most MaxWait; 0 means a second.
	MaxRate float64
	MaxWait time.Duration
}

// identity is what must be unique in a pool.
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
	name    string
	address string
	weight  int64
	backup  bool
	index   int   // in the pool
	slot    int   // in the tier
	most    int64 // connections allowed, math.MaxInt64 for no limit

	active *limit.Count // shared with the server's successors in later pools
	causes atomic.Uint32
	warmAt atomic.Int64 // when the slow start ends, a time.Duration
	heir   bool         // see Succeeds
	rate   limit.Rate   // of new connections
	slots  *limit.Slots // at that rate, shared like active
	pool   *Pool
	tier   *tier
	salt   uint64 // of its lots
}

func newServer(c ServerConfig, index int) *Server {
	s := &Server{
		name:    c.identity(),
		address: c.Address,
		weight:  int64(cmp.Or(c.Weight, 1)),
		backup:  c.Backup,
		index:   index,
		most:    int64(cmp.Or(c.MaxConns, math.MaxInt)),
		active:  new(limit.Count),
		rate:    newRate(c),
		slots:   new(limit.Slots),
	}
	s.salt = xxhash.Sum64String(s.name)
	if c.Down {
		s.causes.Store(uint32(Configured))
	}
	return s
}

// clone returns a server with s's facts and its present state, sharing
// nothing with it.
func (s *Server) clone() *Server {
	c := &Server{
		name: s.name, address: s.address, weight: s.weight, backup: s.backup,
		index: s.index, slot: s.slot, most: s.most, active: new(limit.Count), salt: s.salt,
	}
	c.causes.Store(s.causes.Load())
	c.warmAt.Store(s.warmAt.Load())
	c.active.Add(s.active.Load())
	return c
}

// Name returns the server's identity: its configured name, else its address.
func (s *Server) Name() string { return s.name }

// Address returns where to dial, as configured.
func (s *Server) Address() string { return s.address }

// Weight returns the configured weight, at least 1.
func (s *Server) Weight() int { return int(s.weight) }

// Backup reports whether the server is used only when no primary can be.
func (s *Server) Backup() bool { return s.backup }

// Index returns the server's position in [Pool.Servers].
func (s *Server) Index() int { return s.index }

// Pool returns the pool that the server is a member of.
func (s *Server) Pool() *Pool { return s.pool }

// Active returns how many connections hold a place on the server.
func (s *Server) Active() int64 { return s.active.Load() }

// Hold takes a place on the server without picking it and whatever its limit,
// for a connection adopted from another process. Like a pick it is undone by
// one Release.
func (s *Server) Hold() { s.active.Add(1) }

// Release gives back the place that one successful Pick or one Hold took. It
// must be called exactly once for each.
func (s *Server) Release() { s.active.Release() }
