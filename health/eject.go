package health

import (
	"sync"
	"sync/atomic"
	"time"

	"culvert/balancer"
)

// Ejection says when servers are taken out of service because connections to
// them fail.
type Ejection struct {
	// Failures is the number of failed attempts that ejects a server: in a row
	// or, with a Window, within that time, even when other attempts succeeded
	// in between. The latter is what nginx's max_fails and fail_timeout mean.
	Failures int
	Window   time.Duration

	// Time is how long the first ejection lasts. Each one that follows soon is
	// twice as long, up to MaxTime.
	Time    time.Duration
	MaxTime time.Duration

	// Share bounds the part of a pool that is ejected at a time, 0 to 1. One
	// server may always be ejected, unless it is the only one.
	Share float64
}

// An Ejector watches the attempts to connect to the servers of a pool. Its
// methods may be called from any goroutine.
type Ejector struct {
	policy  Ejection
	clock   func() time.Duration
	changed func(Ejected)
	records map[*balancer.Server]*record // not changed after NewEjector

	mu     sync.Mutex
	out    int // ejected now
	closed bool
}

// Ejected is a server that was ejected, or whose ejection is over.
type Ejected struct {
	Server *balancer.Server
	For    time.Duration // 0: it is over
	Why    string        // the last failure; "" if another process saw it
}

// record is the ejection state of one server.
type record struct {
	failures atomic.Int32 // in a row, or within the window

	// The rest is guarded by Ejector.mu.
	begun time.Duration // the first failure of the window
	times int           // ejections that followed each other soon
	why   string        // the failure that ejected it
	back  time.Duration // when the last one was over, or will be
	timer *time.Timer   // ends the present one; nil: there is none
}

// NewEjector watches the servers of pool. Servers that were in the pool of old
// continue with the state that they have there; old may be nil. changed is
// called after each change of a server's state, by several goroutines.
func NewEjector(pool *balancer.Pool, e Ejection, clock func() time.Duration, changed func(Ejected), old *Ejector) *Ejector {
	j := &Ejector{policy: e, clock: clock, changed: changed, records: map[*balancer.Server]*record{}}
	before := old.byName()
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, s := range pool.Servers() {
		r := &record{}
		j.records[s] = r
		was, known := before[s.Name()]
		if known && s.Adopted() {
			r.begun, r.times, r.back, r.why = was.begun, was.times, was.back, was.why
			r.failures.Store(was.failures)
		}
		switch {
		case s.Causes()&balancer.Ejected == 0:
		case known && s.Adopted():
			j.hold(s, r, was.back-clock())
		default: // another process ejected it
			j.eject(s, r, clock())
		}
	}
	return j
}

// past is the state that an earlier Ejector had of a server.
type past struct {
	failures    int32
	begun, back time.Duration
	times       int
	why         string
}

// byName returns the state of each server by name. j may be nil.
func (j *Ejector) byName() map[string]past {
	all := map[string]past{}
	if j == nil {
		return all
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	for s, r := range j.records {
		all[s.Name()] = past{r.failures.Load(), r.begun, r.back, r.times, r.why}
	}
	return all
}

// Ejections returns the servers that are ejected now, in no order, each with
// the time that is left. j may be nil.
func (j *Ejector) Ejections() (all []Ejected) {
	if j == nil {
		return nil
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	for s, r := range j.records {
		if r.timer != nil {
			all = append(all, Ejected{Server: s, For: max(r.back-j.clock(), 0), Why: r.why})
		}
	}
	return all
}

// Passed notes that s answered.
func (j *Ejector) Passed(s *balancer.Server) {
	if r := j.records[s]; r.failures.Load() != 0 && j.policy.Window == 0 {
		r.failures.Store(0)
	}
}

// Failed notes that an attempt at s failed, and why.
func (j *Ejector) Failed(s *balancer.Server, why string) {
	if d := j.decide(s, why); d > 0 {
		j.changed(Ejected{Server: s, For: d, Why: why})
	}
}

// decide counts a failure of s and ejects it when it has reached the limit. It
// returns for how long, or 0.
func (j *Ejector) decide(s *balancer.Server, why string) time.Duration {
	j.mu.Lock()
	defer j.mu.Unlock()
	r, now := j.records[s], j.clock()
	if w := j.policy.Window; w > 0 && now-r.begun > w {
		r.failures.Store(0)
		r.begun = now
	}
	if int(r.failures.Add(1)) < j.policy.Failures || r.timer != nil || j.closed || !j.mayEject() {
		return 0
	}
	r.failures.Store(0)
	r.why = why
	return j.eject(s, r, now)
}

// mayEject reports whether Share allows one more ejection.
func (j *Ejector) mayEject() bool {
	n := len(j.records)
	return n > 1 && j.out < max(1, int(j.policy.Share*float64(n)))
}

func (j *Ejector) eject(s *balancer.Server, r *record, now time.Duration) time.Duration {
	if now-r.back > j.policy.MaxTime {
		r.times = 0
	}
	d := j.policy.Time
	for range r.times {
		if d = 2 * d; d >= j.policy.MaxTime {
			break
		}
	}
	d = min(d, max(j.policy.MaxTime, j.policy.Time))
	r.times++
	r.back = now + d
	s.Set(balancer.Ejected, true, now)
	j.hold(s, r, d)
	return d
}

// hold keeps an ejected server out of service for d.
func (j *Ejector) hold(s *balancer.Server, r *record, d time.Duration) {
	j.out++
	r.timer = time.AfterFunc(d, func() { j.readmit(s, r) })
}

// readmit ends an ejection.
func (j *Ejector) readmit(s *balancer.Server, r *record) {
	j.mu.Lock()
	if j.closed {
		j.mu.Unlock()
		return
	}
	r.timer, r.back = nil, j.clock()
	r.failures.Store(0)
	j.out--
	s.Set(balancer.Ejected, false, r.back)
	j.mu.Unlock()
	j.changed(Ejected{Server: s})
}

// Close ends all ejections. The Ejector must not be used afterwards.
func (j *Ejector) Close() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.closed = true
	for s, r := range j.records {
		if r.timer != nil {
			r.timer.Stop()
			r.timer = nil
			s.Set(balancer.Ejected, false, j.clock())
		}
	}
}
