package terminate

import (
	"context"

	"golang.org/x/sync/semaphore"
)

// HandshakeLimiter bounds how many handshakes compute at the same time, so
// that they leave processors to other work. A handshake holds a slot while it
// signs and verifies, and gives it back while it waits for its client.
//
// A limiter is shared by all Servers of a process and safe for concurrent use.
// A nil *HandshakeLimiter sets no bound; the zero value must not be used.
type HandshakeLimiter struct{ slots *semaphore.Weighted }

// NewHandshakeLimiter returns a limiter with n slots, at least one.
func NewHandshakeLimiter(n int) *HandshakeLimiter {
	return &HandshakeLimiter{semaphore.NewWeighted(int64(max(1, n)))}
}

// acquire waits for a slot, in the order of the calls. It takes none and
// returns ctx.Err() when ctx is done first, or is done already.
func (l *HandshakeLimiter) acquire(ctx context.Context) error {
	if l == nil {
		return nil
	}
	return l.slots.Acquire(ctx, 1)
}

// release gives back a slot that acquire took. It never blocks.
func (l *HandshakeLimiter) release() {
	if l != nil {
		l.slots.Release(1)
	}
}
