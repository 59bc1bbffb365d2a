package health

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"culvert/balancer"
)

func ejector(t *testing.T, n int, e Ejection) (*Ejector, []*balancer.Server, func() string) {
	t.Helper()
	pool := poolOf(t, n)
	log := make(chan Ejected, 1000)
	j := NewEjector(pool, e, realClock, func(x Ejected) { log <- x }, nil)
	t.Cleanup(j.Close)
	return j, pool.Servers(), func() string {
		var all []string
		for len(log) > 0 {
			x := <-log
			all = append(all, fmt.Sprint(x.Server.Name(), " ", x.For))
		}
		return strings.Join(all, ", ")
	}
}

func fail(j *Ejector, s *balancer.Server, n int) {
	for range n {
		j.Failed(s, "refused")
	}
}

var testEjection = Ejection{Failures: 3, Time: 10 * time.Second, MaxTime: time.Minute, Share: 0.5}

func TestEjectedAfterFailuresInARow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j, s, log := ejector(t, 4, testEjection)
		fail(j, s[0], 2)
		j.Passed(s[0])
		fail(j, s[0], 2)
		if s[0].Down() {
			t.Error("ejected though one passed between")
		}
		fail(j, s[0], 1)
		if s[0].Causes() != balancer.Ejected {
			t.Errorf("causes %b after three failures in a row", s[0].Causes())
		}
		time.Sleep(4 * time.Second)
		if got, want := j.Ejections(), (Ejected{s[0], 6 * time.Second, "refused"}); len(got) != 1 || got[0] != want {
			t.Errorf("ejections %v, want %v", got, want)
		}
		time.Sleep(6 * time.Second)
		synctest.Wait()
		if got := j.Ejections(); len(got) > 0 {
			t.Errorf("ejections %v when they are over", got)
		}
		if got := log(); s[0].Down() || got != "s0 10s, s0 0s" {
			t.Errorf("down %v, log %s", s[0].Down(), got)
		}
	})
}

func TestEjectionsGrow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j, s, log := ejector(t, 4, testEjection)
		for range 5 {
			fail(j, s[1], 3)
			time.Sleep(time.Minute + time.Second)
		}
		synctest.Wait()
		if got := log(); got != "s1 10s, s1 0s, s1 20s, s1 0s, s1 40s, s1 0s, s1 1m0s, s1 0s, s1 1m0s, s1 0s" {
			t.Errorf("log %s", got)
		}
		time.Sleep(2 * time.Minute)
		fail(j, s[1], 3)
		if got := log(); got != "s1 10s" {
			t.Errorf("after a good time: %s", got)
		}
	})
}

func TestShareOfEjected(t *testing.T) {
	for _, tt := range []struct{ servers, most int }{{1, 0}, {2, 1}, {3, 1}, {4, 2}, {9, 4}} {
		synctest.Test(t, func(t *testing.T) {
			j, s, _ := ejector(t, tt.servers, testEjection)
			for _, x := range s {
				fail(j, x, 10)
			}
			out := 0
			for _, x := range s {
				if x.Down() {
					out++
				}
			}
			if out != tt.most {
				t.Errorf("%d of %d ejected, want %d", out, tt.servers, tt.most)
			}
		})
	}
}

// nginx's max_fails=2 fail_timeout=10s.
func TestFailuresWithinAWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := testEjection
		e.Failures, e.Window = 2, 10*time.Second
		j, s, log := ejector(t, 2, e)
		fail(j, s[0], 1)
		time.Sleep(11 * time.Second)
		fail(j, s[0], 1)
		if s[0].Down() {
			t.Error("ejected though the first failure is too long ago")
		}
		j.Passed(s[0])
		fail(j, s[0], 1)
		if got := log(); got != "s0 10s" {
			t.Errorf("log %q", got)
		}
	})
}

func TestClosedEjectorHoldsNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j, s, _ := ejector(t, 2, testEjection)
		fail(j, s[0], 3)
		j.Close()
		if s[0].Down() {
			t.Error("still ejected")
		}
		fail(j, s[0], 3)
		if s[0].Down() {
			t.Error("ejected after Close")
		}
	})
}

// TestEjectionsGoOnInASuccessor: however often the pool is replaced, a server
// is out for as long as it was ejected for, and its next time is longer.
func TestEjectionsGoOnInASuccessor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j, s, _ := ejector(t, 4, testEjection)
		fail(j, s[0], 3)
		pool := s[0].Pool()
		for range 9 {
			time.Sleep(time.Second)
			next, err := balancer.New(balancer.Config{Servers: []balancer.ServerConfig{{Address: "s0"}, {Address: "s1"}, {Address: "s2"}, {Address: "s3"}}})
			if err != nil {
				t.Fatal(err)
			}
			next.Adopt(pool)
			after := NewEjector(next, testEjection, realClock, func(Ejected) {}, j)
			j.Close()
			j, pool = after, next
		}
		defer func() { j.Close() }()
		out := pool.Servers()[0]
		if out.Causes() != balancer.Ejected {
			t.Error("back before its time")
		}
		time.Sleep(time.Second + time.Millisecond)
		synctest.Wait()
		if out.Down() {
			t.Error("still out after its time")
		}
		fail(j, out, 3)
		time.Sleep(11 * time.Second)
		synctest.Wait()
		if !out.Down() {
			t.Error("the second ejection was as short as the first")
		}
	})
}

// TestFailuresWhileEjectedDoNotCount: what still fails while a server is out is
// known already.
func TestFailuresWhileEjectedDoNotCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j, s, _ := ejector(t, 4, testEjection)
		fail(j, s[0], 10)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		fail(j, s[0], 1)
		if s[0].Down() {
			t.Error("a single failure after the ejection ejects again")
		}
	})
}
