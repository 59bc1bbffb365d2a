package l4

import "time"

// chores are a loop's own appointments, as opposed to its connections'. Zero
// means none: a loop with nothing to wait for arms no timer.
type chores struct {
	accept time.Duration // try the paused listeners again
	starve time.Duration // try the connections that the bound on kept bytes stopped
	stuck  time.Duration // look after pipes that a slow reader holds
	sweep  time.Duration // close pipes that nobody used
}

// How long each chore is put off.
const (
	acceptRetry = 100 * time.Millisecond
	starveRetry = 10 * time.Millisecond
	stuckAfter  = time.Second
	sweepEvery  = 10 * time.Second
)

func (l *loop) doChores() {
	c := &l.chores
	if due(&c.accept, l.now) {
		l.resumeAccepters()
	}
	if due(&c.starve, l.now) {
		l.feedStarved()
	}
	if due(&c.stuck, l.now) {
		l.unstick()
	}
	if due(&c.sweep, l.now) {
		l.sweepPipes()
	}
}

// due reports whether an appointment is to be kept now, and crosses it out.
func due(at *time.Duration, now time.Duration) bool {
	if *at == 0 || now < *at {
		return false
	}
	*at = 0
	return true
}

// appoint makes an appointment unless there is one.
func appoint(at *time.Duration, when time.Duration) {
	if *at == 0 {
		*at = when
	}
}

// deadline is when the loop has to wake up if nothing happens. The zero Time
// means never.
func (l *loop) deadline() time.Time {
	next := time.Duration(0)
	earlier := func(at time.Duration, ok bool) {
		if ok && (next == 0 || at < next) {
			next = at
		}
	}
	earlier(l.fine.next())
	earlier(l.coarse.next())
	for _, at := range [...]time.Duration{l.chores.accept, l.chores.starve, l.chores.stuck, l.chores.sweep} {
		earlier(at, at != 0)
	}
	if next == 0 {
		return time.Time{}
	}
	return l.eng.wall(next)
}
