package balancer

import (
	"cmp"
	"time"

	"culvert/l4/limit"
)

// Defaults of a server with a rate: a burst of as many connections as the rate
// allows in a tenth of a second, and at most one second of waiting for a slot.
const (
	burstTime      = 100 * time.Millisecond
	defaultMaxWait = time.Second
)

func newRate(c ServerConfig) limit.Rate {
	return limit.NewRate(c.MaxRate, burstTime, cmp.Or(c.MaxWait, defaultMaxWait))
}

// Slot takes the server's next free slot for a new connection and returns
// its time: now, or later on the same clock. ok is false, and no slot is taken,
// when the wait would exceed ServerConfig.MaxWait.
func (s *Server) Slot(now time.Duration) (at time.Duration, ok bool) {
	return s.slots.Take(s.rate, now)
}
