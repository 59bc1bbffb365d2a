package socket

import (
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

func newPoller(t testing.TB) *Poller {
	t.Helper()
	p, err := NewPoller()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

func TestWakeFromOtherGoroutines(t *testing.T) {
	p := newPoller(t)
	const tasks, wakes = 4, 5000
	var posted atomic.Int64
	for range tasks {
		go func() {
			for range wakes {
				posted.Add(1)
				p.Wake()
			}
		}()
	}
	for posted.Load() < tasks*wakes { // several may have become one event, but none is lost
		if n, _ := p.Wait(time.Now().Add(patience)); n == 0 {
			t.Fatalf("a wake-up was lost after %d of %d", posted.Load(), tasks*wakes)
		}
	}
}

func TestEachWakeIsSeen(t *testing.T) {
	p := newPoller(t)
	seen := make(chan bool)
	go func() {
		for range 2000 {
			p.Wake()
			<-seen
		}
	}()
	for n := range 2000 {
		if events, _ := p.Wait(time.Now().Add(patience)); events != 1 {
			t.Fatalf("wake-up %d: got %d events, want 1", n, events)
		}
		if _, woken := p.Event(0); !woken {
			t.Fatal("the event is not Wake's")
		}
		seen <- true
	}
}

func TestWakeBeforeWaitIsNotLost(t *testing.T) {
	p := newPoller(t)
	for range 100 {
		p.Wake()
		if n, _ := p.Wait(time.Now().Add(patience)); n != 1 {
			t.Fatalf("got %d events, want 1", n)
		}
		if n := p.Poll(); n != 0 { // an edge, told once
			t.Fatalf("got %d events more, want none", n)
		}
	}
}

func TestWaitEndsAtItsDeadlineAndNotBefore(t *testing.T) {
	p := newPoller(t)
	for _, d := range []time.Duration{20 * time.Millisecond, time.Millisecond, 30 * time.Millisecond} {
		deadline := time.Now().Add(d)
		n, _ := p.Wait(deadline)
		if late := time.Since(deadline); n != 0 || late < 0 || late > 5*time.Second {
			t.Errorf("%v: got %d events, %v after the deadline", d, n, late)
		}
	}
	if n, _ := p.Wait(time.Now().Add(-time.Hour)); n != 0 {
		t.Errorf("got %d events at a deadline in the past, want none", n)
	}
	p.Wake() // a deadline that passed leaves nothing behind
	if n, _ := p.Wait(time.Time{}); n != 1 {
		t.Errorf("got %d events, want 1", n)
	}
}

func TestLaterDeadlineWakesEarlyAtMostOnce(t *testing.T) {
	p := newPoller(t)
	p.Wake()
	p.Wait(time.Now().Add(20 * time.Millisecond)) // armed, and returned before
	far := time.Now().Add(100 * time.Millisecond)
	wakes := 0
	for time.Now().Before(far) {
		p.Wait(far)
		wakes++
	}
	if wakes > 2 {
		t.Errorf("woke up %d times, want at most 2", wakes)
	}
}

func TestPollerReportsWhatItWasToldTo(t *testing.T) {
	p := newPoller(t)
	a, b := pair(t)
	const data = 0xfffffffe_fffffff7
	if e := p.Add(b, In|RdHup|Edge, data); e != 0 {
		t.Fatal(e)
	}
	if n := p.Poll(); n != 0 {
		t.Fatalf("got %d events of a silent socket, want none", n)
	}
	want := func(flags uint32) {
		t.Helper()
		if n, _ := p.Wait(time.Now().Add(patience)); n != 1 {
			t.Fatalf("got %d events, want 1", n)
		}
		if ev, woken := p.Event(0); woken || ev.Data != data || ev.Flags&flags != flags {
			t.Fatalf("got %+v, woken %v, want flags %#x and data %#x", ev, woken, flags, uint64(data))
		}
		if n := p.Poll(); n != 0 {
			t.Fatalf("got the edge twice")
		}
	}
	if _, e := Write(a, []byte("x")); e != 0 {
		t.Fatal(e)
	}
	want(In)
	if e := p.Mod(b, In|Out|RdHup|Edge, data); e != 0 { // tells again what is pending
		t.Fatal(e)
	}
	want(In | Out)
	ShutdownWrite(a)
	want(In | RdHup)
	if e := p.Del(b); e != 0 {
		t.Fatal(e)
	}
	if e := p.Del(b); e != syscall.ENOENT {
		t.Errorf("got %v for what is not watched, want %v", e, syscall.ENOENT)
	}
	Write(a, []byte("y"))
	if n := p.Poll(); n != 0 {
		t.Errorf("got %d events of what is not watched, want none", n)
	}
}

// While events come every moment the Poller waits by itself, and after a
// silence it is parked again, with its deadline.
func TestPollerIsEagerWhileEventsComeAndParksAfterwards(t *testing.T) {
	p := newPoller(t)
	byItself := false
	for tries := 0; tries < 100 && !byItself; tries++ { // on a busy machine the wake may come too late for it
		for !p.eager {
			p.Poll()
		}
		go p.Wake()
		n, parked := p.Wait(time.Time{})
		if n != 1 {
			t.Fatalf("got %d events, want one", n)
		}
		byItself = !parked
	}
	if !byItself {
		t.Error("it parked each time, want it to wait by itself")
	}
	deadline := time.Now().Add(5 * eagerWait)
	if n, parked := p.Wait(deadline); n != 0 || !parked || time.Now().Before(deadline) {
		t.Errorf("got %d events, parked %v, %v before the deadline; want to park until it", n, parked, time.Until(deadline))
	}
	if p.eager {
		t.Error("it is still eager after a silence")
	}
	go p.Wake()
	if n, _ := p.Wait(time.Now().Add(patience)); n != 1 {
		t.Errorf("got %d events after it, want 1", n)
	}
}
