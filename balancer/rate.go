package balancer

import (
	"cmp"
	"time"

	"culvert/l4/limit"
)

// Defaults of a server with a rate: a tenth of a second's connections at once,
// and a second of waiting for a slot.
const (
	burstTime       = 100 * time.Millisecond
	defaultMaxWait = time.Second
)

func newRate(c ServerConfig) limit.Rate {
	return limit.NewRate(c.MaxRate, burstTime, cmp.Or(c.MaxWait, defaultMaxWait))
}

// Slot takes the server's next free slot for a new connection and returns when
// it is: at now, or later on the same clock. ok is false, and no slot is taken,
// when it would be too late.
func (s *Server) Slot(now time.Duration) (at time.Duration, ok bool) {
	return s.slots.Take(s.rate, now)
}
