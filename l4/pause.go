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
	l.chores.accept = appointment(l.now + acceptRetry) // whatever finish thought
	if a.shared.spell.begin(l.now) {
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
		l.endSpell(a)
	}
}

// endSpell says that a accepts again, once it has for a while.
func (l *loop) endSpell(a *accepter) {
	if !a.shared.spell.over(l.now) {
		l.chores.accept.set(l.now + acceptRetry)
		return
	}
	if paused := a.shared.spell.end(); paused > 0 {
		l.eng.log().Info("accepting again", "listener", a.cfg.Name, "paused", paused)
	}
}

// spell is a time in which a listener paused again and again, for the log:
// one line at its beginning and one at its end.
type spell struct {
	since, last atomic.Int64 // nanoseconds; since 0: there is none
}

// calm is how long a listener must have accepted for a spell to be over.
const calm = time.Second

// begin notes a pause and reports whether a spell begins with it.
func (s *spell) begin(now time.Duration) bool {
	s.last.Store(int64(now))
	return s.since.CompareAndSwap(0, max(int64(now), 1))
}

// over reports whether there is no spell, or its last pause is long past.
func (s *spell) over(now time.Duration) bool {
	return s.since.Load() == 0 || now >= time.Duration(s.last.Load())+calm
}

// end ends the spell and returns how long it was, 0 when there is none.
func (s *spell) end() time.Duration {
	since := s.since.Swap(0)
	if since == 0 {
		return 0
	}
	return max(time.Duration(s.last.Load()-since), 1)
}
