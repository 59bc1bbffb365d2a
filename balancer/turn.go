package balancer

import (
	"sync/atomic"
	"time"
)

// pacing bounds how fast a server gets new connections: one every interval on
// average, a few at once after a pause, and who comes in between waits for its
// turn (the virtual scheduling form of the generic cell rate algorithm, ITU-T
// I.371). It needs one word, and no queue: a turn is a time.
type pacing struct {
	interval time.Duration // between two connections; 0: no limit
	wait     time.Duration // how far the next turn may lie in the future
	next     *atomic.Int64 // the next free turn, a time.Duration; shared with successors
}

// Defaults of a paced server: a tenth of a second's connections at once, and
// a second of patience.
const (
	burstTime       = 100 * time.Millisecond
	defaultTurnWait = time.Second
)

func newPacing(c ServerConfig) pacing {
	p := pacing{next: new(atomic.Int64), wait: c.MaxWait}
	if c.MaxRate > 0 {
		p.interval = time.Duration(float64(time.Second) / c.MaxRate)
	}
	if p.wait == 0 {
		p.wait = defaultTurnWait
	}
	return p
}

// Turn takes the server's next free turn for a new connection and returns when
// it is: at now, or later on the same clock. ok is false, and no turn is taken,
// when it would be too late.
func (s *Server) Turn(now time.Duration) (at time.Duration, ok bool) {
	p := &s.pacing
	if p.interval == 0 {
		return now, true
	}
	for {
		next := p.next.Load()
		turn := max(next, int64(now-burstTime))
		if turn > int64(now+p.wait) {
			return 0, false
		}
		if p.next.CompareAndSwap(next, turn+int64(p.interval)) {
			return max(time.Duration(turn), now), true
		}
	}
}
