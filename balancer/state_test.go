package balancer

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"testing"
	"time"
)

func TestServerIsInServiceWhenNoCauseIsLeft(t *testing.T) {
	p := mustPool(t, Config{Servers: named("a", "b")})
	s := p.Servers()[0]
	steps := []struct {
		cause   Cause
		holds   bool
		changed bool
		down    bool
	}{
		{Unhealthy, true, true, true},
		{Unhealthy, true, false, true},
		{Ejected, true, true, true},
		{Unhealthy, false, true, true},
		{Drained, true, true, true},
		{Ejected, false, true, true},
		{Drained, false, true, false},
		{Drained, false, false, false},
	}
	for i, st := range steps {
		if got := s.Set(st.cause, st.holds, 0); got != st.changed || s.Down() != st.down {
			t.Errorf("step %d, %v %v: changed %v, down %v (%b)", i, st.cause, st.holds, got, s.Down(), s.Causes())
		}
	}
	if got := (Unhealthy | Drained | Ejected).First(); got != Drained {
		t.Errorf("first cause %v", got)
	}
}

func TestP15PanicUsesWhatIsNotOutOnPurpose(t *testing.T) {
	servers := named("a", "b", "c", "d", "e", "f")
	servers[5].Down = true
	p := mustPool(t, Config{Policy: RoundRobin, Servers: servers, Panic: 0.5})
	all := p.Servers()
	all[4].Set(Drained, true, 0) // 4 are left that should serve
	reach := func() string {
		t.Helper()
		first := map[*Server]bool{}
		for range 2 * len(all) {
			first[mustPick(t, p, client4(1))] = true
		}
		seen := ""
		for _, s := range all {
			if first[s] {
				seen += s.Name()
			}
		}
		return seen
	}
	for i, want := range []string{"abcd", "bcd", "cd", "abcd", "abcd"} {
		if i > 0 {
			all[i-1].Set([]Cause{Unhealthy, Ejected}[i%2], true, 0)
		}
		if got := reach(); got != want || p.Panics() != (i >= 3) {
			t.Errorf("with %d of 4 gone: %q, panics %v, want %q", i, got, p.Panics(), want)
		}
	}
	all[0].Set(Ejected, false, 0)
	all[0].Set(Unhealthy, false, 0)
	all[1].Set(Ejected, false, 0)
	all[1].Set(Unhealthy, false, 0)
	if got := reach(); got != "ab" || p.Panics() {
		t.Errorf("with 2 of 4 back: %q, panics %v", got, p.Panics())
	}
}

// A connection that has failed on every server in service also tries servers
// that are out of service, but not those that are out on purpose.
func TestP15LastResort(t *testing.T) {
	for _, panic := range []float64{0, 0.1} {
		p := mustPool(t, Config{Policy: RoundRobin, Servers: named("a", "b", "c", "d"), Panic: panic})
		p.Servers()[0].Set(Ejected, true, 0)
		p.Servers()[1].Set(Drained, true, 0)
		p.Servers()[2].Set(Unhealthy, true, 0)
		order, _ := p.Order(client4(1), 0)
		var names string
		for _, s := range order {
			names += s.Name()
		}
		want := "dac"
		if panic == 0 {
			want = "d"
		}
		if names != want && names != "dca" {
			t.Errorf("panic %v: tried %q, want %q", panic, names, want)
		}
	}
}

func TestNoPanicWhileABackupCanServe(t *testing.T) {
	servers := append(named("a", "b"), ServerConfig{Address: "spare", Backup: true})
	p := mustPool(t, Config{Servers: servers, Panic: 1})
	for _, s := range p.Servers()[:2] {
		s.Set(Unhealthy, true, 0)
	}
	if got := choice(t, p, client4(1)); got != "spare" || p.Panics() {
		t.Errorf("got %s, panics %v", got, p.Panics())
	}
	p.Servers()[2].Set(Unhealthy, true, 0)
	if got := choice(t, p, client4(1)); got == "spare" || !p.Panics() {
		t.Errorf("without the backup: got %s, panics %v", got, p.Panics())
	}
}

func TestWithoutPanicDownIsDown(t *testing.T) {
	p := mustPool(t, Config{Servers: named("a")})
	p.Servers()[0].Set(Unhealthy, true, 0)
	s := Selection{Client: client4(1)}
	if _, err := p.Pick(&s, 0); !errors.Is(err, ErrAllDown) {
		t.Errorf("got %v", err)
	}
}

// A server that comes back gets a tenth of its share, which then grows
// linearly.
func TestSlowStart(t *testing.T) {
	const n, slow = 4000, 100 * time.Second
	for _, policy := range Policies() {
		t.Run(string(policy), func(t *testing.T) {
			p := mustPool(t, Config{Policy: policy, Servers: named("a", "b", "c", "d"), SlowStart: slow})
			back := p.Servers()[1]
			full := float64(countOn(t, p, back, 0, n))
			back.Set(Unhealthy, true, 0)
			back.Set(Unhealthy, false, 0)
			for _, tt := range []struct {
				at   time.Duration
				want float64
			}{{0, minWarm}, {slow / 2, 0.5}, {slow * 9 / 10, 0.9}, {slow, 1}} {
				got := float64(countOn(t, p, back, tt.at, n)) / full
				if (policy == LeastConnections || policy == RandomTwo) && tt.want < 1 {
					continue // these policies give the less loaded server more connections
				}
				if math.Abs(got-tt.want) > 0.13 {
					t.Errorf("after %v: %.2f of the share, want %.2f", tt.at, got, tt.want)
				}
			}
		})
	}
}

// countOn returns how many of n connections srv gets; each is released at
// once.
func countOn(t *testing.T, p *Pool, srv *Server, now time.Duration, n int) (count int) {
	t.Helper()
	for i := range n {
		s := Selection{Client: client4(i)}
		got, err := p.Pick(&s, now)
		if err != nil {
			t.Fatal(err)
		}
		got.Release()
		if got == srv {
			count++
		}
	}
	return count
}

func TestClientThatCameBackStays(t *testing.T) {
	const slow = 100 * time.Second
	p := mustPool(t, Config{Servers: named("a", "b", "c"), SlowStart: slow})
	back := p.Servers()[0]
	back.Set(Ejected, true, 0)
	back.Set(Ejected, false, 0)
	for i := range 200 {
		came := false
		for at := time.Duration(0); at <= slow; at += slow / 20 {
			s := Selection{Client: client4(i)}
			got, _ := p.Pick(&s, at)
			got.Release()
			if came && got != back {
				t.Fatalf("client %d left again at %v", i, at)
			}
			came = came || got == back
		}
	}
}

func TestSlowStartIsIgnoredWhenNoOtherServerIsLeft(t *testing.T) {
	for _, policy := range Policies() {
		p := mustPool(t, Config{Policy: policy, Servers: named("a", "b"), SlowStart: time.Minute})
		a, b := p.Servers()[0], p.Servers()[1]
		a.Set(Unhealthy, true, 0)
		a.Set(Unhealthy, false, 0)
		b.Set(Unhealthy, true, 0)
		if got := countOn(t, p, a, 0, 100); got != 100 {
			t.Errorf("%s: %d of 100", policy, got)
		}
	}
}

// TestSlowStartTakesItsNewLength: a slow start that a reload shortens ends
// earlier, and one that it lengthens ends later.
func TestSlowStartTakesItsNewLength(t *testing.T) {
	for _, length := range []time.Duration{10 * time.Second, 1000 * time.Second} {
		old := mustPool(t, Config{Servers: named("a", "b"), SlowStart: 100 * time.Second})
		old.Servers()[0].Set(Unhealthy, true, 0)
		old.Servers()[0].Set(Unhealthy, false, 5*time.Second)
		p := mustPool(t, Config{Servers: named("a", "b"), SlowStart: length})
		p.Adopt(old)
		again := mustPool(t, Config{Servers: named("a", "b"), SlowStart: length})
		again.Restore(old.ServerStates())
		for _, next := range []*Pool{p, again} {
			if got, want := next.ServerStates()[0].WarmAt, 5*time.Second+length; got != want {
				t.Errorf("%v instead of 100 s: warm at %v, want %v", length, got, want)
			}
		}
	}
}

func TestAdoptKeepsConnectionsAndHealth(t *testing.T) {
	old := mustPool(t, Config{Servers: []ServerConfig{{Address: "a"}, {Address: "b", Down: true}, {Name: "c", Address: "c1"}, {Address: "d"}}})
	held := old.Servers()[0]
	held.Hold()
	for i, c := range []Cause{Drained, Unhealthy, Ejected, 0} {
		old.Servers()[i].Set(c, true, 0)
	}
	p := mustPool(t, Config{Servers: []ServerConfig{{Address: "e"}, {Address: "b"}, {Name: "c", Address: "c2"}, {Address: "a"}, {Address: "d", Down: true}}})
	p.Adopt(old)
	want := []string{"e 0 0", "b 0 4", "c 0 0", "a 1 2", "d 0 1"}
	for i, s := range p.Servers() {
		if got := fmt.Sprintf("%s %d %d", s.Name(), s.Active(), s.Causes()); got != want[i] {
			t.Errorf("got %q, want %q", got, want[i])
		}
	}
	held.Release()
	if n := p.Servers()[3].Active(); n != 0 {
		t.Errorf("%d connections after the release on the old server", n)
	}
}

func client4(i int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
}

// TestUsable: a pool is usable while a server is in service, or while it is in
// panic, which excludes servers that are out on purpose or have no address.
func TestUsable(t *testing.T) {
	p := mustPool(t, Config{Servers: named("a", "b", "c"), Panic: 0.5})
	s := p.Servers()
	steps := []struct {
		server int
		cause  Cause
		holds  bool
		want   string
	}{
		{0, Drained, true, "2 of 2, usable"},
		{1, Unhealthy, true, "1 of 2, usable"},
		{2, Ejected, true, "0 of 2, usable, panics"},
		{1, Drained, true, "0 of 1, usable, panics"},
		{2, Unresolved, true, "0 of 0"},
		{0, Drained, false, "1 of 1, usable"},
	}
	for i, st := range steps {
		s[st.server].Set(st.cause, st.holds, 0)
		up, of := p.InService()
		got := fmt.Sprintf("%d of %d", up, of)
		if p.Usable() {
			got += ", usable"
		}
		if p.Panics() {
			got += ", panics"
		}
		if got != st.want {
			t.Errorf("step %d: got %s, want %s", i, got, st.want)
		}
	}
}

// TestUnresolvedIsNotInherited: a new pool looks the name up itself.
func TestUnresolvedIsNotInherited(t *testing.T) {
	old, p := mustPool(t, Config{Servers: named("a")}), mustPool(t, Config{Servers: named("a")})
	old.Servers()[0].Set(Unresolved|Drained, true, 0)
	p.Adopt(old)
	if got := p.Servers()[0].Causes(); got != Drained {
		t.Errorf("causes %b, want only Drained", got)
	}
}
