package load

import (
	"context"
	"fmt"
	"net"
	"sync/atomic"

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

// Streams are connections at full speed, all in one direction.
type Streams struct {
	client *client
	start  start
	conns  []*net.TCPConn // nil: broken
	bufs   [][]byte
	dir    Direction
	taken  func() (int64, error)
	moved  atomic.Int64
}

// NewStreams opens n streams. It returns when a first byte from each server has
// shown that the stream is established. taken returns how many bytes have
// arrived at the servers; only Up needs it.
func NewStreams(ctx context.Context, t Target, n int, dir Direction, taken func() (int64, error)) (*Streams, error) {
	s := &Streams{client: &client{Target: t}, start: start{op: origin.Send, answer: 1}, dir: dir, taken: taken}
	if dir == Up {
		s.start.op = origin.Take
	} else {
		s.taken = func() (int64, error) { return s.moved.Load(), nil }
	}
	var err error
	if s.conns, err = s.client.openAll(ctx, n, s.start); err != nil {
		return nil, err
	}
	for range n {
		s.bufs = append(s.bufs, make([]byte, chunk))
	}
	return s, nil
}

// Close ends the streams.
func (s *Streams) Close() { closeAll(s.conns) }

// Run transfers bytes until ctx ends. Bytes are counted at the receiver, and
// only those of this run. There are no latencies. A stream that breaks is
// reopened.
func (s *Streams) Run(ctx context.Context) (Outcome, error) {
	before, err := s.taken()
	if err != nil {
		return Outcome{}, err
	}
	out := newSilentCrowd(len(s.conns)).run(ctx, func(i int, t *tally) {
		for ctx.Err() == nil {
			if err := s.move(ctx, i); ctx.Err() == nil {
				t.failed(ctx, fmt.Errorf("stream %s: %w", s.dir, err))
				pause(ctx, errorPause)
			}
		}
	})
	after, err := s.taken()
	out.Bytes, out.Latency = after-before, nil
	return out, err
}

// move uses stream i until ctx ends or the stream breaks.
func (s *Streams) move(ctx context.Context, i int) (err error) {
	buf := s.bufs[i]
	if s.conns[i] == nil {
		if s.conns[i], err = s.client.begin(ctx, s.start, buf); err != nil {
			return err
		}
	}
	c := s.conns[i]
	release := interrupt(ctx, c)
	defer release()
	do := c.Read
	if s.dir == Up {
		do = c.Write
	}
	for {
		n, err := do(buf)
		s.moved.Add(int64(n))
		if err == nil {
			continue
		}
		if ctx.Err() == nil {
			c.Close()
			s.conns[i] = nil
		}
		return err
	}
}
