package load

import (
	"context"
	"errors"
	"net"
	"time"
)

// Bounds of what a client waits for.
const (
	dialTimeout = 5 * time.Second
	ioTimeout   = 10 * time.Second
	// endTimeout is how long a unit that is under way when a run ends may take
	// to finish: a lost SYN is sent again after 1 and after 3 seconds (RFC 6298,
	// section 2), and one that finishes thanks to that is slow, not failed.
	endTimeout = 4 * time.Second
	// errorPause keeps a client whose connections are refused from spinning.
	errorPause = 5 * time.Millisecond
)

// endOf is when ctx ended, or now if it has not.
func endOf(ctx context.Context) time.Time {
	now := time.Now()
	if end, ok := ctx.Deadline(); ok && end.Before(now) {
		return end
	}
	return now
}

// graced lasts longer than ctx by endTimeout if ctx ends by its deadline, and
// as long as ctx if that is cancelled. What begins within ctx is done within
// the graced one, so that what a run's end finds under way counts: as slow if
// it still finishes, as an error if not. The caller calls the function.
func graced(ctx context.Context) (context.Context, context.CancelFunc) {
	late, cancel := context.WithCancel(context.WithoutCancel(ctx))
	if end, ok := ctx.Deadline(); ok {
		cancel()
		late, cancel = context.WithDeadline(context.WithoutCancel(ctx), end.Add(endTimeout))
	}
	stop := context.AfterFunc(ctx, func() {
		if errors.Is(ctx.Err(), context.Canceled) {
			cancel()
		}
	})
	return late, func() { stop(); cancel() }
}

// ioDeadline is when a client that begins to wait now gives up.
func ioDeadline(ctx context.Context) time.Time {
	bound := time.Now().Add(ioTimeout)
	if end, ok := ctx.Deadline(); ok && end.Before(bound) {
		return end
	}
	return bound
}

// interrupt lets reads and writes of c fail once ctx ends, and not before. It
// sets no deadline for each, which would cost more than the message. The
// caller calls release before c is used otherwise: then nothing of ctx reaches
// it any more.
func interrupt(ctx context.Context, c net.Conn) (release func()) {
	_ = c.SetDeadline(time.Time{})
	done := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(done)
		_ = c.SetDeadline(time.Now())
	})
	return func() {
		if !stop() {
			<-done
		}
	}
}

// pacer waits for one time after another with one timer. It belongs to one
// goroutine.
type pacer struct{ timer *time.Timer }

func newPacer() pacer { return pacer{time.NewTimer(0)} }

func (p pacer) stop() { p.timer.Stop() }

// until waits for due, not at all if that is past, and reports whether ctx is
// not over.
func (p pacer) until(ctx context.Context, due time.Time) bool {
	wait := time.Until(due)
	if wait <= 0 {
		return ctx.Err() == nil
	}
	p.timer.Reset(wait)
	select {
	case <-ctx.Done():
		return false
	case <-p.timer.C:
		return ctx.Err() == nil
	}
}

// pause waits for d or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	p := newPacer()
	defer p.stop()
	p.until(ctx, time.Now().Add(d))
}
