package health

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"culvert/balancer"
)

// Initial is the state of a server until probes have decided it.
type Initial uint8

// The initial states.
const (
	Up    Initial = iota // in service until Fall probes fail
	Down                 // out of service until Rise probes pass
	Probe                // the result of the first probe: see Watch.First
)

// A Schedule says when probes run and how many of them decide.
type Schedule struct {
	Interval time.Duration // from the start of one probe to the start of the next
	Fast     time.Duration // the same, while the last probes contradict the state
	Timeout  time.Duration // of one probe
	Rise     int           // probes in a row that must pass to be up
	Fall     int           // probes in a row that must fail to be down
	Initial  Initial
}

// jitter spreads the probes of many servers: each interval is up to this share
// of it shorter or longer.
const jitter = 0.1

// A Change is a server that went up or down.
type Change struct {
	Server *balancer.Server
	Up     bool
	Err    error // of the last probe; nil when it passed
	Probes int   // the number of probes in a row that led to it
}

// A Subject is a server and how it is probed.
type Subject struct {
	Server *balancer.Server
	Dial   Dial
	Check  Check
	Deep   *Check        // run instead of Check once every Every; nil: never
	Every  time.Duration // interval of Deep
}

// A Watch probes servers until Close. Its methods may be called from any
// goroutine.
type Watch struct {
	schedule Schedule
	clock    func() time.Duration
	changed  func(Change)
	states   []*probeState
	stop     context.CancelFunc
	running  sync.WaitGroup
}

// probeState is the bookkeeping of one server's probes.
type probeState struct {
	Subject
	watch  *Watch
	begun  func()        // called once the first probe has decided, or is not needed
	known  chan struct{} // closed by begun
	deepAt time.Time

	mu     sync.Mutex
	status Status
	due    time.Time // when the next probe starts, or the one under way has started
}

// Status is the state of a server and its probes so far.
type Status struct {
	Server *balancer.Server
	Up     bool
	Since  time.Time // of the last change
	Last   Result    // of the last probe; its At is zero before the first
	Streak int       // probes in a row that contradict Up
	Passed uint64
	Failed uint64
}

// Start probes the subjects. Servers that old watches, too, continue with the
// state that they have there, so old must be closed after Start; it may be nil.
// clock is the clock of the servers' pools. changed is called after each change
// of a server's state, by several goroutines.
func Start(subjects []Subject, s Schedule, clock func() time.Duration, changed func(Change), old *Watch) *Watch {
	before := old.byName()
	ctx, stop := context.WithCancel(context.Background())
	w := &Watch{schedule: s, clock: clock, changed: changed, stop: stop}
	for _, sub := range subjects {
		p := &probeState{Subject: sub, watch: w, known: make(chan struct{})}
		p.begun = sync.OnceFunc(func() { close(p.known) })
		p.status = Status{Server: sub.Server, Up: begins(sub.Server, s.Initial), Since: time.Now()}
		p.due = time.Now().Add(s.firstWait())
		if was := before[sub.Server.Name()]; was != nil && sub.Server.Adopted() {
			p.continueFrom(was)
		}
		if sub.Server.Adopted() {
			p.begun()
		}
		sub.Server.Set(balancer.Unhealthy, !p.status.Up, clock())
		w.states = append(w.states, p)
		w.running.Go(func() { p.run(ctx) })
	}
	return w
}

// byName returns the probe states of w, which may be nil.
func (w *Watch) byName() map[string]*probeState {
	all := map[string]*probeState{}
	if w != nil {
		for _, p := range w.states {
			all[p.Server.Name()] = p
		}
	}
	return all
}

// continueFrom takes over the state of an earlier Watch and the time of the
// next probe.
func (p *probeState) continueFrom(was *probeState) {
	was.mu.Lock()
	defer was.mu.Unlock()
	if p.status.Up != was.status.Up {
		return
	}
	up, server := p.status.Up, p.Server
	p.status, p.due = was.status, was.due
	p.status.Up, p.status.Server = up, server
}

// begins reports whether s is up until probes have decided. A server that was
// watched before keeps its state.
func begins(s *balancer.Server, i Initial) bool {
	if s.Adopted() {
		return s.Causes()&balancer.Unhealthy == 0
	}
	return i != Down
}

// Close ends all probes, also those under way. The servers keep their state.
func (w *Watch) Close() {
	w.stop()
	w.running.Wait()
}

// First waits until each server was probed once, or ctx is done. Servers whose
// state is known from before need no probe.
func (w *Watch) First(ctx context.Context) error {
	for _, p := range w.states {
		select {
		case <-p.known:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// Status returns the state of each server, in the order of the subjects.
func (w *Watch) Status() []Status {
	all := make([]Status, len(w.states))
	for i, p := range w.states {
		p.mu.Lock()
		all[i] = p.status
		p.mu.Unlock()
	}
	return all
}

// firstWait returns the time until the first probe: a random part of the
// interval for servers that start as up, else 0.
func (s *Schedule) firstWait() time.Duration {
	if s.Initial == Up {
		return rand.N(s.Interval)
	}
	return 0
}

// run probes until ctx is done.
func (p *probeState) run(ctx context.Context) {
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
		next := p.note(r, first && s.Initial == Probe && !p.Server.Adopted())
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

func (p *probeState) probe(ctx context.Context) Result {
	ctx, cancel := context.WithTimeout(ctx, p.watch.schedule.Timeout)
	defer cancel()
	check := &p.Check
	if now := time.Now(); p.Deep != nil && !now.Before(p.deepAt) {
		check, p.deepAt = p.Deep, now.Add(vary(p.Every))
	}
	return check.Run(ctx, p.Dial)
}

// note enters a result and returns the time until the next probe. A decisive
// result changes the state whatever Rise and Fall say.
func (p *probeState) note(r Result, decisive bool) time.Duration {
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
	changes := st.Streak >= need || decisive && st.Streak > 0
	if changes {
		st.Up, st.Since, st.Streak = c.Up, time.Now(), 0
	}
	unsure := st.Streak > 0
	p.mu.Unlock()

	if changes {
		p.Server.Set(balancer.Unhealthy, !c.Up, p.watch.clock())
		p.watch.changed(c)
	}
	if unsure {
		return s.Fast
	}
	return s.Interval
}
