package l4

import (
	"math/rand/v2"
	"testing"
	"time"
)

// wheelModel drives a wheel and keeps a plain list beside it. Like a loop, it
// puts a connection whose time has not come in again.
type wheelModel struct {
	t     *testing.T
	w     wheel
	now   time.Duration
	at    map[*conn]time.Duration
	fired int
	onDue func(*conn) // called when a connection's time has come
}

func newWheelModel(t *testing.T, tick time.Duration) *wheelModel {
	return &wheelModel{t: t, w: wheel{tick: tick}, at: map[*conn]time.Duration{}}
}

func (m *wheelModel) add(at time.Duration) *conn {
	c := &conn{}
	m.at[c] = at
	m.w.add(c, at)
	return c
}

func (m *wheelModel) remove(c *conn) {
	delete(m.at, c)
	c.timer.remove()
	if c.timer != (timer{}) {
		m.t.Fatal("a removed timer still is somewhere")
	}
}

// expire moves the time and checks that exactly those fire whose tick has
// come.
func (m *wheelModel) expire(now time.Duration) {
	m.t.Helper()
	m.now = now
	m.w.expire(now, func(c *conn) {
		at, known := m.at[c]
		switch {
		case !known || c.timer.in != nil:
			m.t.Fatalf("%v: fired one that is not there, or still in the wheel", now)
		case now < at:
			m.w.add(c, at)
			return
		}
		delete(m.at, c)
		m.fired++
		if m.onDue != nil {
			m.onDue(c)
		}
	})
	for c, at := range m.at {
		if c.timer.in != &m.w {
			m.t.Fatalf("%v: one that waits for %v fell out of the wheel", now, at)
		}
		if due := m.due(at); due <= now && at+m.w.tick < now { // added in this turn: the next tick
			m.t.Fatalf("%v: one that was due at %v is still there", now, at)
		}
	}
	m.checkNext()
}

// due is the first tick that is not before at.
func (m *wheelModel) due(at time.Duration) time.Duration {
	return (at + m.w.tick - 1) / m.w.tick * m.w.tick
}

// checkNext compares next with the list: it is never later than the earliest
// tick, and never in the past.
func (m *wheelModel) checkNext() {
	m.t.Helper()
	next, ok := m.w.next()
	if ok != (len(m.at) > 0) {
		m.t.Fatalf("%v: next says %v with %d in the wheel", m.now, ok, len(m.at))
	}
	if !ok {
		return
	}
	base := m.now / m.w.tick * m.w.tick
	first := time.Duration(1<<63 - 1)
	for _, at := range m.at {
		first = min(first, max(m.due(at), base+m.w.tick))
	}
	if next > first || next <= base {
		m.t.Fatalf("%v: next wakes at %v, want after %v and no later than %v", m.now, next, base, first)
	}
}

func TestWheelNeverFiresEarlyAndLateByLessThanTwoTicks(t *testing.T) {
	for _, tick := range []time.Duration{fineTick, coarseTick} {
		m := newWheelModel(t, tick)
		rng := rand.New(rand.NewPCG(1, uint64(tick)))
		m.expire(time.Duration(rng.Int64N(int64(time.Hour))))
		worst := time.Duration(0)
		for range soak(3000, 300000) {
			at := m.now + time.Duration(rng.Int64N(int64(2*wheelSlots*tick)))
			c := m.add(at)
			m.onDue = func(fired *conn) {
				if fired == c {
					worst = max(worst, m.now-at)
				}
			}
			for m.at[c] != 0 { // wake up when the wheel says so, as a loop does
				next, ok := m.w.next()
				if !ok {
					t.Fatal("nothing to wait for")
				}
				m.expire(next)
			}
		}
		if worst >= 2*tick {
			t.Errorf("a tick of %v: late by %v", tick, worst)
		}
	}
}

func TestWheelAgreesWithAPlainList(t *testing.T) {
	for seed := range uint64(soak(30, 3000)) {
		rng := rand.New(rand.NewPCG(seed, 3))
		m := newWheelModel(t, fineTick)
		var live []*conn
		m.onDue = func(*conn) {
			if rng.IntN(3) == 0 { // a connection that goes to its next phase
				live = append(live, m.add(m.now+time.Duration(rng.Int64N(int64(10*time.Second)))))
			}
		}
		for range 500 {
			for range rng.IntN(4) {
				live = append(live, m.add(m.now+time.Duration(rng.Int64N(int64(8*time.Second)))))
			}
			if len(live) > 0 && rng.IntN(2) == 0 {
				c := live[rng.IntN(len(live))]
				if _, waits := m.at[c]; waits {
					m.remove(c)
				}
			}
			step := fineTick
			switch rng.IntN(10) {
			case 0:
				step = 20 * time.Second // farther than the wheel reaches
			case 1, 2:
				step = time.Second
			case 3:
				step = 0
			}
			m.expire(m.now + time.Duration(rng.Int64N(int64(step)+1)))
		}
	}
}

func TestNextIsTheTickOfTheFirst(t *testing.T) {
	rng := rand.New(rand.NewPCG(4, 4))
	for range soak(2000, 200000) {
		m := newWheelModel(t, fineTick)
		m.expire(time.Duration(rng.Int64N(int64(time.Hour))))
		want := m.now/fineTick*fineTick + (wheelSlots-1)*fineTick // as far as it sees
		for range 1 + rng.IntN(5) {
			at := m.now + 1 + time.Duration(rng.Int64N(int64(10*time.Second)))
			m.add(at)
			want = min(want, m.due(at))
		}
		if got, _ := m.w.next(); got != want {
			t.Fatalf("at %v: got %v, want %v", m.now, got, want)
		}
	}
}

// A loop that sleeps because it has nothing to wait for leaves its wheels
// behind. What it adds when it wakes up, before it looks at the wheels, must
// still be on time.
func TestWheelThatWasLeftBehindIsOnTime(t *testing.T) {
	for _, asleep := range []time.Duration{0, time.Second, 5 * time.Second, 6 * time.Second, 8 * time.Second, time.Minute, time.Hour} {
		for wait := fineTick; wait < 4*time.Second; wait += 7 * fineTick {
			m := newWheelModel(t, fineTick)
			m.now = asleep
			c := m.add(m.now + wait)
			due := m.now + wait
			for m.expire(m.now); m.at[c] != 0; {
				next, _ := m.w.next()
				m.expire(next)
			}
			if late := m.now - due; late < 0 || late >= 2*fineTick {
				t.Fatalf("after %v asleep, a wait of %v ended late by %v", asleep, wait, late)
			}
		}
	}
}

func TestWheelIsEmptyAfterRemovingEverything(t *testing.T) {
	m := newWheelModel(t, coarseTick)
	rng := rand.New(rand.NewPCG(9, 9))
	var conns []*conn
	for range 1000 {
		conns = append(conns, m.add(time.Duration(rng.Int64N(int64(time.Minute)))))
	}
	rng.Shuffle(len(conns), func(i, j int) { conns[i], conns[j] = conns[j], conns[i] })
	for _, c := range conns {
		m.remove(c)
		m.checkNext()
	}
	if m.w.used != [len(m.w.used)]uint64{} || m.w.slots != [wheelSlots]*conn{} {
		t.Error("the wheel still holds something")
	}
	m.expire(time.Hour)
	if m.fired != 0 {
		t.Errorf("%d fired, want none", m.fired)
	}
}

func TestRemovingATimerThatIsInNoWheelIsHarmless(t *testing.T) {
	var c conn
	c.timer.remove()
	m := newWheelModel(t, fineTick)
	d := m.add(time.Second)
	m.remove(d)
	d.timer.remove()
	m.checkNext()
}

func BenchmarkWheel(b *testing.B) {
	w := &wheel{tick: coarseTick}
	conns := make([]conn, 10000)
	for i := range conns {
		w.add(&conns[i], time.Duration(i)*time.Millisecond)
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		c := &conns[i%len(conns)]
		c.timer.remove()
		w.add(c, time.Duration(i%60)*time.Second)
		w.next()
	}
}
