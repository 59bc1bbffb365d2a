package l4

import (
	"context"
	"sync/atomic"
)

// closeAll ends every connection that is left and returns how many were cut:
// those whose end was decided before only get there sooner.
func (l *loop) closeAll() (cut int) {
	for _, c := range l.conns {
		switch {
		case c == nil || c.phase == phaseGone:
		case c.phase == phaseGoodbye || c.phase == phaseAwaitAck:
			l.finish(c, c.bye.by, c.bye.reason)
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
		l.setPaused(a, false)
		for l.accept(a) {
		}
		l.setPaused(a, false)
		a.close()
	}
	l.chores.accept = 0
}

// Shutdown stops accepting, waits for the connections to end, and closes
// those that are left when ctx is done. It returns how many it closed. The
// Engine cannot be used afterwards, except for Stats.
func (e *Engine) Shutdown(ctx context.Context) int {
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
	select {
	case <-ended:
		return 0
	case <-ctx.Done():
	}
	var closed atomic.Int64
	for _, l := range e.loops {
		l.post(func(l *loop) { closed.Add(int64(l.closeAll())) })
	}
	<-ended
	return int(closed.Load())
}
