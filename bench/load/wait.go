package load

import (
	"context"
	"errors"
	"net"
	"time"
)

// Limits of a client's waits.
const (
	dialTimeout = 5 * time.Second
	ioTimeout   = 10 * time.Second
	// endTimeout is how long a unit in progress at the end of a run may take to
	// finish: a lost SYN is sent again after 1 and after 3 seconds (RFC 6298,
	// section 2), and a unit that succeeds after that is slow, not failed.
	endTimeout = 4 * time.Second
	// errorPause is the pause after an error, so that a client whose
	// connections are refused does not spin.
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

// graced returns a context that ends endTimeout after the deadline of ctx, or
// with ctx if ctx is cancelled. A unit that begins within ctx uses it, so that
// units in progress at the end of a run are counted: as slow if they finish, as
// errors if not. The caller must call the function.
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

// ioDeadline returns the deadline of a wait that begins now.
func ioDeadline(ctx context.Context) time.Time {
	bound := time.Now().Add(ioTimeout)
	if end, ok := ctx.Deadline(); ok && end.Before(bound) {
		return end
	}
	return bound
}

// interrupt makes reads and writes of c fail when ctx ends. It sets no deadline
// for each of them, which would cost more than the message. The caller must call
// release before it uses c for anything else; after that ctx does not affect c.
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

// pacer waits for a sequence of times with one timer. It must be used by one
// goroutine.
type pacer struct{ timer *time.Timer }

func newPacer() pacer { return pacer{time.NewTimer(0)} }

func (p pacer) stop() { p.timer.Stop() }

// until waits until due, or returns at once if due has passed. It reports false
// if ctx has ended.
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
