package health

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"culvert/balancer"
)

// A probedStub is a server whose probes return scripted results.
type probedStub struct {
	server *balancer.Server
	ill    atomic.Bool
	hangs  atomic.Bool
	probes atomic.Int32
	times  []time.Time
	held   chan struct{} // probes wait until it is closed; nil: none does
}

var errIll = errors.New("ill")

func (s *probedStub) dial(ctx context.Context) (net.Conn, error) {
	s.probes.Add(1)
	s.times = append(s.times, time.Now())
	if s.held != nil {
		<-s.held
	}
	switch {
	case s.hangs.Load():
		<-ctx.Done()
		return nil, ctx.Err()
	case s.ill.Load():
		return nil, errIll
	}
	near, far := net.Pipe()
	far.Close()
	return near, nil
}

// poolOf returns a pool of n servers, s0 and on.
func poolOf(t *testing.T, n int) *balancer.Pool {
	t.Helper()
	var servers []balancer.ServerConfig
	for i := range n {
		servers = append(servers, balancer.ServerConfig{Address: fmt.Sprint("s", i)})
	}
	pool, err := balancer.New(balancer.Config{Servers: servers})
	if err != nil {
		t.Fatal(err)
	}
	return pool
}

func stubs(t *testing.T, n int) []*probedStub {
	t.Helper()
	var all []*probedStub
	for _, s := range poolOf(t, n).Servers() {
		all = append(all, &probedStub{server: s})
	}
	return all
}

// changes collects what a Watch reports.
type changes struct {
	ch chan Change
}

func newChanges() changes { return changes{make(chan Change, 100)} }

func (c changes) note(x Change) { c.ch <- x }

func (c changes) take() string {
	var all []string
	for len(c.ch) > 0 {
		x := <-c.ch
		all = append(all, fmt.Sprintf("%s up=%v after %d: %v", x.Server.Name(), x.Up, x.Probes, x.Err))
	}
	return strings.Join(all, "; ")
}

var testSchedule = Schedule{Interval: 10 * time.Second, Fast: time.Second, Timeout: 2 * time.Second, Rise: 2, Fall: 3}

func realClock() time.Duration { return time.Duration(time.Now().UnixNano()) }

func watchStubs(list []*probedStub, s Schedule, c changes) *Watch {
	var subjects []Subject
	for _, x := range list {
		subjects = append(subjects, Subject{Server: x.server, Dial: x.dial, Check: Check{Kind: TCP}})
	}
	return Start(subjects, s, realClock, c.note, nil)
}

func TestRiseAndFall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, c := stubs(t, 1)[0], newChanges()
		w := watchStubs([]*probedStub{s}, testSchedule, c)
		defer w.Close()
		time.Sleep(30 * time.Second)
		if got := c.take(); got != "" || s.server.Down() || s.probes.Load() < 2 {
			t.Fatalf("while it is well: %q, %d probes", got, s.probes.Load())
		}
		s.ill.Store(true)
		before := s.probes.Load()
		time.Sleep(11*time.Second + 3*time.Second) // the next probe, and two fast ones
		if got := c.take(); got != "s0 up=false after 3: ill" || !s.server.Down() || s.probes.Load()-before < 3 {
			t.Fatalf("ill: %q, down %v, %d probes", got, s.server.Down(), s.probes.Load()-before)
		}
		s.ill.Store(false)
		time.Sleep(11*time.Second + 2*time.Second)
		if got := c.take(); got != "s0 up=true after 2: <nil>" || s.server.Down() {
			t.Fatalf("well again: %q, down %v", got, s.server.Down())
		}
	})
}

func TestP15FlappingChangesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, c := stubs(t, 1)[0], newChanges()
		w := watchStubs([]*probedStub{s}, testSchedule, c)
		defer w.Close()
		for n := int32(0); n < 50; {
			time.Sleep(100 * time.Millisecond)
			if p := s.probes.Load(); p != n { // two fail, one passes
				n = p
				s.ill.Store(n%3 != 0)
			}
		}
		if got := c.take(); got != "" {
			t.Errorf("it changed: %s", got)
		}
	})
}

func TestProbeThatHangsFailsAtItsTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, c := stubs(t, 1)[0], newChanges()
		s.hangs.Store(true)
		w := watchStubs([]*probedStub{s}, testSchedule, c)
		time.Sleep(20 * time.Second)
		if got := c.take(); !strings.Contains(got, "deadline exceeded") {
			t.Errorf("got %q", got)
		}
		if r := w.Status()[0].Last; r.Took != testSchedule.Timeout {
			t.Errorf("the probe took %v", r.Took)
		}
		w.Close() // does not wait for the probe under way
	})
}

func TestInitialState(t *testing.T) {
	for _, tt := range []struct {
		initial     Initial
		ill         bool
		before, now bool // is it down before the first probe, and right after
	}{
		{Up, true, false, false},
		{Down, false, true, true},
		{Probe, true, false, true},
		{Probe, false, false, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			s, c := stubs(t, 1)[0], newChanges()
			s.ill.Store(tt.ill)
			s.held = make(chan struct{})
			schedule := testSchedule
			schedule.Initial = tt.initial
			w := watchStubs([]*probedStub{s}, schedule, c)
			defer w.Close()
			if got := s.server.Down(); got != tt.before {
				t.Errorf("initial %v: down %v before the first probe", tt.initial, got)
			}
			close(s.held)
			if err := w.First(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got := s.server.Down(); got != tt.now {
				t.Errorf("initial %v, ill %v: down %v after the first probe", tt.initial, tt.ill, got)
			}
		})
	}
}

// Probes of many servers do not come together (FAULTS: check storm).
func TestP15ProbesAreSpread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		list, c := stubs(t, 200), newChanges()
		w := watchStubs(list, testSchedule, c)
		begun := time.Now()
		time.Sleep(100 * time.Second)
		w.Close()
		seconds := map[int]int{}
		for _, s := range list {
			for _, at := range s.times {
				seconds[int(at.Sub(begun)/time.Second)]++
			}
		}
		for s, n := range seconds {
			if n > 3*200/10 {
				t.Errorf("%d probes in second %d, the mean is 20", n, s)
			}
		}
	})
}

func TestDeepCheckNowAndThen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, c := stubs(t, 1)[0], newChanges()
		deep := &Check{Kind: HTTP, Request: &Request{}} // fails: the stub says nothing
		w := Start([]Subject{{Server: s.server, Dial: s.dial, Check: Check{Kind: TCP}, Deep: deep, Every: time.Minute}}, testSchedule, realClock, c.note, nil)
		defer w.Close()
		time.Sleep(10 * time.Minute)
		st := w.Status()[0]
		if st.Failed < 8 || st.Failed > 11 {
			t.Errorf("%d deep checks in 10 minutes", st.Failed)
		}
		if got := c.take(); got != "" {
			t.Errorf("changed: %s", got)
		}
	})
}

// TestProbesGoOnInASuccessor: a pool that is replaced more often than it is
// probed is probed all the same, and its failures in a row count.
func TestProbesGoOnInASuccessor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := stubs(t, 1)[0]
		s.ill.Store(true)
		schedule := Schedule{Interval: 5 * time.Second, Fast: 5 * time.Second, Timeout: time.Second, Rise: 2, Fall: 3}
		pool, server := s.server.Pool(), s.server
		var w *Watch
		for range 30 {
			next, err := balancer.New(balancer.Config{Servers: []balancer.ServerConfig{{Address: "s0"}}})
			if err != nil {
				t.Fatal(err)
			}
			next.Adopt(pool)
			after := Start([]Subject{{Server: next.Servers()[0], Dial: s.dial, Check: Check{Kind: TCP}}}, schedule, realClock, func(Change) {}, w)
			if err := after.First(t.Context()); err != nil {
				t.Fatal(err)
			}
			if w != nil {
				w.Close()
			}
			w, pool, server = after, next, next.Servers()[0]
			time.Sleep(time.Second)
			synctest.Wait()
		}
		w.Close()
		if n := s.probes.Load(); n < 4 || n > 8 {
			t.Errorf("%d probes in 30 s, want one every 5 s", n)
		}
		if server.Causes() != balancer.Unhealthy {
			t.Errorf("causes %b after %d failures", server.Causes(), s.probes.Load())
		}
	})
}
