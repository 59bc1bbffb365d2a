package l4

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Pace says how fast connections are closed. Clients that are all cut at once
// reconnect at once, which overloads the servers that they reconnect to.
type Pace struct {
	Within      time.Duration // close all over this time, evenly and with jitter; 0: see PerSecond
	PerSecond   float64       // close so many a second; 0, and Within 0 too: all at once
	OldestFirst bool          // else in random order
}

// span is over which time n connections are closed.
func (p Pace) span(n int) time.Duration {
	if p.PerSecond > 0 && p.Within <= 0 {
		return time.Duration(float64(n) / p.PerSecond * float64(time.Second))
	}
	return p.Within
}

// chosen is a connection to be closed.
type chosen struct {
	loop  *loop
	ref   ref
	start time.Duration
}

// CloseConnections closes the connections that match now, at the given pace,
// and returns how many were still there to be closed. It ends early, and
// leaves the rest alone, when ctx is done. Their reason is ReasonDrained.
// match runs on the loops: it must not block, and must not retain its argument.
func (e *Engine) CloseConnections(ctx context.Context, match func(*Connection) bool, p Pace) int {
	all := e.choose(match)
	if p.OldestFirst {
		slices.SortFunc(all, func(a, b chosen) int { return int(a.start - b.start) })
	} else {
		rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	}
	var closed atomic.Int64
	var posted sync.WaitGroup
	begun, step := time.Now(), float64(p.span(len(all)))/float64(max(len(all), 1))
	for i, t := range all {
		at := begun.Add(time.Duration((float64(i) + rand.Float64()) * step))
		if !sleepUntil(ctx, at) {
			break
		}
		posted.Add(1)
		if !t.loop.post(func(l *loop) { closed.Add(int64(l.drain(t.ref))); posted.Done() }) {
			posted.Done()
		}
	}
	posted.Wait()
	return int(closed.Load())
}

func (e *Engine) choose(match func(*Connection) bool) []chosen {
	parts := make([][]chosen, len(e.loops))
	e.each(func(l *loop) {
		l.matching(match, func(c *conn, _ *Connection) {
			parts[l.id] = append(parts[l.id], chosen{l, c.ref(), c.start})
		})
	})
	return slices.Concat(parts...)
}

// sleepUntil reports false when ctx is done before.
func sleepUntil(ctx context.Context, at time.Time) bool {
	wait := time.Until(at)
	if wait <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// drain closes the connection if it is still there, and returns how many that
// makes.
func (l *loop) drain(r ref) int {
	c := r.alive()
	if c == nil || !l.spec(c).open {
		return 0
	}
	l.finish(c, Culvert, ReasonDrained)
	return 1
}
