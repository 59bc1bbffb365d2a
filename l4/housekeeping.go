package l4

import "time"

// housekeeping is the periodic work of a loop itself. Zero means that none is
// due: a loop with nothing to wait for arms no timer.
type housekeeping struct {
	accept appointment // try the paused listeners again
	stuck  appointment // look after pipes that a slow reader holds
	sweep  appointment // close pipes that were not used
}

// The time until each is done.
const (
	acceptRetry = 100 * time.Millisecond
	stuckAfter  = time.Second
	sweepEvery  = 10 * time.Second
)

func (l *loop) doHousekeeping() {
	c := &l.housekeeping
	if c.accept.take(l.now) {
		l.resumeAccepters()
	}
	if c.stuck.take(l.now) {
		l.unstick()
	}
	if c.sweep.take(l.now) {
		l.sweepPipes()
	}
}

// appointment is a moment at which a loop does something for itself; 0: none.
type appointment time.Duration

// set makes the appointment unless there is one.
func (a *appointment) set(at time.Duration) {
	if *a == 0 {
		*a = appointment(at)
	}
}

// take reports whether the appointment is due, and clears it.
func (a *appointment) take(now time.Duration) bool {
	if *a == 0 || now < time.Duration(*a) {
		return false
	}
	*a = 0
	return true
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
	for _, at := range [...]appointment{l.housekeeping.accept, l.housekeeping.stuck, l.housekeeping.sweep} {
		earlier(time.Duration(at), at != 0)
	}
	if next == 0 {
		return time.Time{}
	}
	return l.eng.wall(next)
}
