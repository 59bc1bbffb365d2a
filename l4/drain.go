package l4

import (
	"context"
	"sync/atomic"
)

// closeAll ends every connection that is left.
func (l *loop) closeAll(r Reason) int {
	n := 0
	for _, c := range l.conns {
		if c != nil && c.phase != phaseGone {
			l.finish(c, Culvert, r)
			n++
		}
	}
	return n
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
		l.post(func(l *loop) { closed.Add(int64(l.closeAll(ReasonDrained))) })
	}
	<-ended
	return int(closed.Load())
}
