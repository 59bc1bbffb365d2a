package l4

import (
	"context"
	"sync/atomic"
	"time"
)

// closeAll ends every connection that is left and returns how many were cut:
// those whose end was decided before are not counted.
func (l *loop) closeAll() (cut int) {
	for _, c := range l.conns {
		switch {
		case c == nil || c.phase == phaseGone:
		case !l.spec(c).open:
			l.finishDecided(c)
		default:
			l.finish(c, Culvert, ReasonDrained)
			cut++
		}
	}
	return cut
}

// stopAccepting takes what the accept queues hold and closes the listeners.
func (l *loop) stopAccepting() {
	for _, a := range l.accepters {
		l.retire(a)
	}
	l.housekeeping.accept = 0
}

// lastPart is the part of the time for a shutdown in which the connections
// that are left are closed, evenly: a third.
const lastPart = 3

// Shutdown stops accepting and waits for the connections to end. When ctx has
// a deadline those that are left are closed evenly over the last third of the
// time until then; what is left when ctx is done is closed at once. It returns
// how many it closed. The Engine cannot be used afterwards, except for Stats.
func (e *Engine) Shutdown(ctx context.Context) int {
	e.reloading.Lock()
	e.stopping.Store(true)
	e.reloading.Unlock()
	for _, l := range e.loops {
		l.post(func(l *loop) {
			l.draining = true
			l.stopAccepting()
		})
	}
	ended := make(chan struct{})
	go func() {
		e.done.Wait()
		close(ended)
	}()
	evenly := make(chan int, 1)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() { evenly <- e.closeEvenly(ctx) }()
	select {
	case <-ended:
		cancel()
		return <-evenly
	case <-ctx.Done():
	}
	var closed atomic.Int64
	for _, l := range e.loops {
		l.post(func(l *loop) { closed.Add(int64(l.closeAll())) })
	}
	<-ended
	return <-evenly + int(closed.Load())
}

// closeEvenly closes what is left over the last part of the time that ctx
// leaves.
func (e *Engine) closeEvenly(ctx context.Context) int {
	end, ok := ctx.Deadline()
	if !ok {
		return 0
	}
	begin := end.Add(-time.Until(end) / lastPart)
	if !sleepUntil(ctx, begin) {
		return 0
	}
	return e.CloseConnections(ctx, func(*Connection) bool { return true }, Pace{Within: time.Until(end)})
}
