package load

import (
	"context"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"culvert/bench/origin"
)

// Direction is which way bytes go.
type Direction int

// The directions: from the servers, and to them.
const (
	Down Direction = iota
	Up
)

func (d Direction) String() string { return [...]string{"down", "up"}[d] }

// chunk is how much a stream reads or writes with one call.
const chunk = 256 << 10

// Streams are connections that carry as much as they can, all in one direction.
type Streams struct {
	conns []*net.TCPConn
	dir   Direction
	taken func() (int64, error)
	moved atomic.Int64
}

// NewStreams opens n streams. taken tells how many bytes have arrived at the
// servers, which only Up needs.
func NewStreams(ctx context.Context, t Target, n int, dir Direction, taken func() (int64, error)) (*Streams, error) {
	s := &Streams{dir: dir, taken: taken}
	op := origin.Send
	if dir == Up {
		op = origin.Take
	}
	conns, err := (&client{Target: t}).openAll(ctx, n, start{op: op})
	if err != nil {
		return nil, err
	}
	s.conns = conns
	if dir == Down {
		s.taken = func() (int64, error) { return s.moved.Load(), nil }
	}
	return s, nil
}

// Close ends the streams.
func (s *Streams) Close() { closeAll(s.conns) }

// Run moves bytes until ctx ends. Bytes are counted where they arrive, and only
// those of this run. There are no latencies.
func (s *Streams) Run(ctx context.Context) (Outcome, error) {
	before, err := s.taken()
	if err != nil {
		return Outcome{}, err
	}
	c := make(crowd, len(s.conns))
	for i := range c {
		c[i] = &tally{latency: noLatency}
	}
	out := c.run(func(i int, t *tally) { s.move(ctx, s.conns[i], t) })
	after, err := s.taken()
	out.Bytes, out.Latency = after-before, nil
	return out, err
}

// move uses one stream until ctx ends.
func (s *Streams) move(ctx context.Context, c *net.TCPConn, t *tally) {
	_ = c.SetDeadline(time.Time{})
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Now()) })
	defer stop()
	do, buf := c.Read, make([]byte, chunk)
	if s.dir == Up {
		do = c.Write
	}
	for {
		n, err := do(buf)
		s.moved.Add(int64(n))
		if err != nil {
			t.failed(ctx, fmt.Errorf("stream %s: %w", s.dir, err))
			return
		}
	}
}
