package l4

import (
	"sync/atomic"
	"syscall"
	"time"

	"culvert/l4/socket"
)

// shortage is what made a listener pause.
type shortage struct {
	of    string       // "max_connections", "connections" or "descriptors"
	limit int64        // the number that was reached; 0: the kernel's
	err   socket.Errno // what the kernel said; 0: nothing
}

// fullBy says which limit a failed reserve ran into.
func (e *Engine) fullBy(a *accepter) shortage {
	if own := &a.shared.active; own.Full() {
		return shortage{of: "max_connections", limit: own.Max()}
	}
	return shortage{of: "connections", limit: e.active.Max()}
}

// pause stops accepting on a until a connection ends or a while has passed.
// Clients wait in the kernel's queue meanwhile.
func (l *loop) pause(a *accepter, why shortage) {
	if l.setPaused(a, true) {
		_ = l.poll.Del(a.sock.FD())
	}
	if l.draining {
		return
	}
	l.housekeeping.accept = appointment(l.now + acceptRetry) // whatever finish thought
	if a.shared.pauses.begin(l.now) {
		l.eng.log().Warn("pausing the listener", append([]any{"listener", a.cfg.Name}, why.attrs()...)...)
	}
}

// attrs is how the log words it.
func (s shortage) attrs() []any {
	if s.err != 0 {
		return []any{"reason", s.of, "error", s.err}
	}
	return []any{"reason", s.of, "limit", s.limit}
}

// setPaused notes whether a accepts, and reports whether that is new.
func (l *loop) setPaused(a *accepter, paused bool) bool {
	if a.paused == paused {
		return false
	}
	a.paused = paused
	switch {
	case paused && a.shared.paused.Add(1) == 1:
		l.eng.paused.Add(1)
	case !paused && a.shared.paused.Add(-1) == 0:
		l.eng.paused.Add(-1)
	}
	return true
}

// resumeAccepters tries the paused listeners again.
func (l *loop) resumeAccepters() {
	for _, a := range l.accepters {
		if a.closed {
			continue
		}
		if l.setPaused(a, false) && l.watchAccepter(a) != 0 {
			l.pause(a, shortage{"descriptors", 0, syscall.ENOMEM})
		}
		l.endPauses(a)
	}
}

// endPauses says that a accepts again, once it has for a while.
func (l *loop) endPauses(a *accepter) {
	if !a.shared.pauses.over(l.now) {
		l.housekeeping.accept.set(l.now + acceptRetry)
		return
	}
	if paused := a.shared.pauses.end(); paused > 0 {
		l.eng.log().Info("accepting again", "listener", a.cfg.Name, "paused", paused)
	}
}

// pauses is a series of pauses of a listener, which the log has as one line at
// its beginning and one at its end.
type pauses struct {
	since, last atomic.Int64 // nanoseconds; since 0: there is none
}

// calm is how long a listener must have accepted for a series to be over.
const calm = time.Second

// begin notes a pause and reports whether it is the first of a series.
func (s *pauses) begin(now time.Duration) bool {
	s.last.Store(int64(now))
	return s.since.CompareAndSwap(0, max(int64(now), 1))
}

// over reports whether there is no series, or its last pause is long past.
func (s *pauses) over(now time.Duration) bool {
	return s.since.Load() == 0 || now >= time.Duration(s.last.Load())+calm
}

// end ends the series and returns how long it was, 0 when there is none.
func (s *pauses) end() time.Duration {
	since := s.since.Swap(0)
	if since == 0 {
		return 0
	}
	return max(time.Duration(s.last.Load()-since), 1)
}
