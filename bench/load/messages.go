package load

import (
	"context"
	"io"
	"net"
	"time"

	"culvert/bench/origin"
)

// MessageOptions say how messages are played.
type MessageOptions struct {
	Size  int // bytes of each message, and of its return
	Conns int // connections they are spread over
	Rate  int // messages a second, all connections together; 0: as fast as they return
}

// exchanges are connections on which something is sent and its answer read,
// over and over.
type exchanges struct {
	conns   []*net.TCPConn
	bufs    [][]byte
	request int // bytes of a request; the answer fills a buffer
	every   time.Duration
	crowd   crowd
}

// NewMessages opens the connections of a ping-pong and plays one round on each.
// With a rate every message has its time, evenly spread, and its latency counts
// from then, also when the connection was still waiting for the one before:
// a proxy that stops for a while is late for all messages of that while
// (coordinated omission is corrected).
func NewMessages(ctx context.Context, t Target, o MessageOptions) (Load, error) {
	x, err := newExchanges(ctx, t, o.Conns, origin.Echo, o.Size, o.Size)
	if err == nil && o.Rate > 0 {
		x.every = time.Duration(o.Conns) * time.Second / time.Duration(o.Rate)
	}
	return x, err
}

// NewResponses opens conns connections, on which requests of 64 bytes bring
// responses of size bytes, as fast as they come.
func NewResponses(ctx context.Context, t Target, size, conns int) (Load, error) {
	return newExchanges(ctx, t, conns, origin.Respond, origin.RequestSize, size)
}

func newExchanges(ctx context.Context, t Target, n int, op origin.Op, request, answer int) (*exchanges, error) {
	conns, err := (&client{Target: t}).openAll(ctx, n, start{op, answer, request, answer})
	if err != nil {
		return nil, err
	}
	x := &exchanges{conns: conns, bufs: make([][]byte, n), request: request, crowd: newCrowd(n)}
	for i := range conns {
		x.bufs[i] = make([]byte, max(request, answer))
	}
	return x, nil
}

func (x *exchanges) Close() { closeAll(x.conns) }

func (x *exchanges) Run(ctx context.Context) (Outcome, error) {
	start := time.Now()
	return x.crowd.run(func(i int, t *tally) {
		c := x.conns[i]
		_ = c.SetDeadline(time.Time{})
		stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Now().Add(time.Second)) })
		defer stop()
		if x.every > 0 {
			x.paced(ctx, i, start, t)
		} else {
			x.saturated(ctx, i, t)
		}
	}), nil
}

func (x *exchanges) saturated(ctx context.Context, i int, t *tally) {
	for last := time.Now(); ctx.Err() == nil; {
		if err := x.once(i); err != nil {
			t.failed(ctx, err)
			return
		}
		now := time.Now()
		t.done(now.Sub(last))
		last = now
	}
}

// paced plays messages of connection i at their times.
func (x *exchanges) paced(ctx context.Context, i int, start time.Time, t *tally) {
	due := start.Add(x.every * time.Duration(i) / time.Duration(len(x.conns)))
	timer := time.NewTimer(time.Until(due))
	defer timer.Stop()
	for ; ; due = due.Add(x.every) {
		if wait := time.Until(due); wait > 0 {
			timer.Reset(wait)
			select {
			case <-ctx.Done():
				return
			case <-timer.C:
			}
		}
		if ctx.Err() != nil {
			return
		}
		if err := x.once(i); err != nil {
			t.failed(ctx, err)
			return
		}
		t.done(time.Since(due))
	}
}

func (x *exchanges) once(i int) error {
	return exchange(x.conns[i], x.bufs[i], x.request, len(x.bufs[i]))
}

// exchange sends a request and reads the whole answer. A ctx that has ended
// lets the last one finish for a second, so that the connection can be used
// again.
func exchange(c *net.TCPConn, buf []byte, request, answer int) error {
	if _, err := c.Write(buf[:request]); err != nil {
		return err
	}
	_, err := io.ReadFull(c, buf[:answer])
	return err
}
