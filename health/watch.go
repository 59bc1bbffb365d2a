package health

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"culvert/balancer"
)

// Initial is what a server counts as until probes have decided.
type Initial uint8

// The initial states.
const (
	Up    Initial = iota // in service until Fall probes fail
	Down                 // out of service until Rise probes pass
	Probe                // what the first probe says: see Watch.First
)

// A Schedule says when probes run and what they decide.
type Schedule struct {
	Interval time.Duration // from the begin of one probe to that of the next
	Fast     time.Duration // the same while the last probes contradict the state
	Timeout  time.Duration // of one probe
	Rise     int           // probes in a row that must pass to be up
	Fall     int           // probes in a row that must fail to be down
	Initial  Initial
}

// jitter spreads the probes of many servers: an interval is up to so much of
// it shorter or longer.
const jitter = 0.1

// A Change is a server that went up or down.
type Change struct {
	Server *balancer.Server
	Up     bool
	Err    error // of the last probe; nil when it passed
	Probes int   // how many in a row said so
}

// A Subject is a server and how it is probed.
type Subject struct {
	Server *balancer.Server
	Dial   Dial
	Check  Check
	Deep   *Check        // run instead of Check now and then; nil: never
	Every  time.Duration // how often Deep is
}

// A Watch probes servers until Close. Its methods may be called from any
// goroutine.
type Watch struct {
	schedule Schedule
	clock    func() time.Duration
	changed  func(Change)
	patients []*patient
	stop     context.CancelFunc
	running  sync.WaitGroup
}

// patient is one server under watch.
type patient struct {
	Subject
	watch  *Watch
	begun  func()        // called once the first probe has decided, or need not
	known  chan struct{} // closed by begun
	deepAt time.Time

	mu     sync.Mutex
	status Status
	due    time.Time // of the next probe, or of the one under way
}

// Status is what is known of a server.
type Status struct {
	Server *balancer.Server
	Up     bool
	Since  time.Time // of the last change
	Last   Result    // of the last probe; its At is zero before the first
	Streak int       // probes in a row that contradict Up
	Passed uint64
	Failed uint64
}

// Start probes the subjects, which go on where old, if there is one, is with
// the servers that they succeed: so it is started before old is closed. clock
// is the one that picks are told the time by; changed is called, by several
// goroutines, at each change after the state has become the server's.
func Start(subjects []Subject, s Schedule, clock func() time.Duration, changed func(Change), old *Watch) *Watch {
	before := old.byName()
	ctx, stop := context.WithCancel(context.Background())
	w := &Watch{schedule: s, clock: clock, changed: changed, stop: stop}
	for _, sub := range subjects {
		p := &patient{Subject: sub, watch: w, known: make(chan struct{})}
		p.begun = sync.OnceFunc(func() { close(p.known) })
		p.status = Status{Server: sub.Server, Up: begins(sub.Server, s.Initial), Since: time.Now()}
		p.due = time.Now().Add(s.firstWait())
		if was := before[sub.Server.Name()]; was != nil && sub.Server.Succeeds() {
			p.goOn(was)
		}
		if sub.Server.Succeeds() {
			p.begun()
		}
		sub.Server.Set(balancer.Unhealthy, !p.status.Up, clock())
		w.patients = append(w.patients, p)
		w.running.Go(func() { p.run(ctx) })
	}
	return w
}

// byName returns the patients of w, which may be nil.
func (w *Watch) byName() map[string]*patient {
	all := map[string]*patient{}
	if w != nil {
		for _, p := range w.patients {
			all[p.Server.Name()] = p
		}
	}
	return all
}

// goOn takes over what was known of a server, and when its next probe is due.
func (p *patient) goOn(was *patient) {
	was.mu.Lock()
	defer was.mu.Unlock()
	if p.status.Up != was.status.Up {
		return
	}
	up, server := p.status.Up, p.Server
	p.status, p.due = was.status, was.due
	p.status.Up, p.status.Server = up, server
}

// begins reports whether s counts as up until probes have decided. One that
// was watched before stays what it was.
func begins(s *balancer.Server, i Initial) bool {
	if s.Succeeds() {
		return s.Causes()&balancer.Unhealthy == 0
	}
	return i != Down
}

// Close ends all probes, also those under way. What is known of the servers
// stays theirs.
func (w *Watch) Close() {
	w.stop()
	w.running.Wait()
}

// First waits until each server was probed once, but for those that are known.
func (w *Watch) First(ctx context.Context) error {
	for _, p := range w.patients {
		select {
		case <-p.known:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// Status returns what is known now, in the order of the subjects.
func (w *Watch) Status() []Status {
	all := make([]Status, len(w.patients))
	for i, p := range w.patients {
		p.mu.Lock()
		all[i] = p.status
		p.mu.Unlock()
	}
	return all
}

// firstWait is how long the first probe waits. When a change depends on it, or
// servers start as down, it comes at once; else some time within the interval.
func (s *Schedule) firstWait() time.Duration {
	if s.Initial == Up {
		return rand.N(s.Interval)
	}
	return 0
}

// run probes for ever.
func (p *patient) run(ctx context.Context) {
	s := &p.watch.schedule
	timer := time.NewTimer(min(time.Until(p.due), s.Interval))
	defer timer.Stop()
	for first := true; ; first = false {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		begun := time.Now()
		r := p.probe(ctx)
		if ctx.Err() != nil {
			return
		}
		next := p.note(r, first && s.Initial == Probe && !p.Server.Succeeds())
		p.begun()
		due := begun.Add(vary(next))
		p.mu.Lock()
		p.due = due
		p.mu.Unlock()
		timer.Reset(time.Until(due))
	}
}

// vary returns d with its jitter.
func vary(d time.Duration) time.Duration {
	return d + time.Duration((2*rand.Float64()-1)*jitter*float64(d))
}

func (p *patient) probe(ctx context.Context) Result {
	ctx, cancel := context.WithTimeout(ctx, p.watch.schedule.Timeout)
	defer cancel()
	check := &p.Check
	if now := time.Now(); p.Deep != nil && !now.Before(p.deepAt) {
		check, p.deepAt = p.Deep, now.Add(vary(p.Every))
	}
	return check.Run(ctx, p.Dial)
}

// note enters a result and returns when the next probe is due. A decisive one
// needs no others.
func (p *patient) note(r Result, decisive bool) time.Duration {
	p.mu.Lock()
	st, s := &p.status, &p.watch.schedule
	st.Last = r
	if r.Err == nil {
		st.Passed++
	} else {
		st.Failed++
	}
	if up := r.Err == nil; up == st.Up {
		st.Streak = 0
	} else {
		st.Streak++
	}
	need := s.Fall
	if !st.Up {
		need = s.Rise
	}
	c := Change{Server: p.Server, Up: !st.Up, Err: r.Err, Probes: st.Streak}
	turns := st.Streak >= need || decisive && st.Streak > 0
	if turns {
		st.Up, st.Since, st.Streak = c.Up, time.Now(), 0
	}
	unsure := st.Streak > 0
	p.mu.Unlock()

	if turns {
		p.Server.Set(balancer.Unhealthy, !c.Up, p.watch.clock())
		p.watch.changed(c)
	}
	if unsure {
		return s.Fast
	}
	return s.Interval
}
