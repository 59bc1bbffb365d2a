package l4

import (
	"context"
	"io"
	"net"
	"testing"
	"time"
)

// opened returns n connections through the rig that have spoken.
func (r *rig) opened(n int) []net.Conn {
	r.t.Helper()
	var all []net.Conn
	for range n {
		c := r.dial(0)
		tell(r.t, c, "x")
		all = append(all, c)
	}
	return all
}

func TestConnectionsCanBeListed(t *testing.T) {
	o := startOrigin(t, tlsEcho(t))
	r := startRig(t, &Config{Loops: 2, Listeners: []*Listener{tlsListener(t, &Route{Action: Reject}, &Route{ServerName: "chat.example.com", Pool: roundRobin(t, o.addr)})}})
	c := r.dialTLS("chat.example.com")
	tell(t, c, "hello")
	r.dial(0) // says nothing: accepted a second later
	all := r.e.Connections(func(x *Connection) bool { return x.ServerName == "chat.example.com" })
	if len(all) != 1 {
		t.Fatalf("%d connections", len(all))
	}
	x := all[0]
	if x.Pool != "pool" || x.Server != o.addr || x.Listener != "tls" || x.Client.String() != c.LocalAddr().String() ||
		x.BytesUp < 300 || x.BytesDown < 100 || time.Since(x.Start) > patience {
		t.Errorf("got %+v", x)
	}
	if n := len(r.e.Connections(func(*Connection) bool { return false })); n != 0 {
		t.Errorf("%d match nothing", n)
	}
}

// P17 in small: no more than its share is closed at a time.
func TestP17ConnectionsAreClosedAtAPace(t *testing.T) {
	o := startOrigin(t, echo)
	r := startRig(t, &Config{Loops: 2, Listeners: []*Listener{plainListener(roundRobin(t, o.addr))}})
	const n, window = 100, 2 * time.Second
	conns := r.opened(n)
	begun := time.Now()
	done := make(chan int)
	go func() {
		done <- r.e.CloseConnections(t.Context(), func(*Connection) bool { return true }, Pace{Within: window})
	}()
	perTenth := map[int]int{}
	for range n {
		rec := r.next()
		if rec.Reason != ReasonDrained || rec.EndedBy != Culvert {
			t.Fatalf("%s by %v", rec.Reason, rec.EndedBy)
		}
		perTenth[int(time.Since(begun)*10/window)]++
	}
	if closed := <-done; closed != n {
		t.Errorf("%d closed, want %d", closed, n)
	}
	if took := time.Since(begun); took < window*9/10 {
		t.Errorf("it took %v, want %v", took, window)
	}
	if perTenth[0] > n/2 {
		t.Errorf("%d of %d were closed in the first tenth of the time", perTenth[0], n)
	}
	for _, c := range conns {
		if _, err := c.Read(make([]byte, 1)); err != io.EOF {
			t.Fatalf("a client sees %v, want an end", err)
		}
	}
}

func TestOldestAreClosedFirst(t *testing.T) {
	o := startOrigin(t, echo)
	r := startRig(t, &Config{Loops: 1, Listeners: []*Listener{plainListener(roundRobin(t, o.addr))}})
	conns := r.opened(20)
	r.e.CloseConnections(t.Context(), func(*Connection) bool { return true }, Pace{PerSecond: 1000, OldestFirst: true})
	for i := range conns {
		if rec := r.next(); rec.Client.String() != conns[i].LocalAddr().String() {
			t.Fatalf("closed as number %d: %s, want %s", i, rec.Client, conns[i].LocalAddr())
		}
	}
}

func TestClosingStopsWithItsContext(t *testing.T) {
	o := startOrigin(t, echo)
	r := startRig(t, &Config{Loops: 2, Listeners: []*Listener{plainListener(roundRobin(t, o.addr))}})
	r.opened(10)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan int)
	go func() {
		done <- r.e.CloseConnections(ctx, func(*Connection) bool { return true }, Pace{Within: 1000 * time.Hour})
	}()
	cancel()
	if n := <-done; n > 1 || r.e.Active() < 9 {
		t.Errorf("%d closed, %d are left", n, r.e.Active())
	}
}

func TestOnlyWhatMatchesIsClosed(t *testing.T) {
	a, b := startOrigin(t, echo), startOrigin(t, echo)
	r := startRig(t, &Config{Loops: 2, Listeners: []*Listener{plainListener(roundRobin(t, a.addr, b.addr))}})
	r.opened(10)
	n := r.e.CloseConnections(t.Context(), func(x *Connection) bool { return x.Server == a.addr }, Pace{})
	if n != 5 {
		t.Errorf("%d closed, want 5", n)
	}
	left := r.e.Connections(func(*Connection) bool { return true })
	for _, x := range left {
		if x.Server != b.addr {
			t.Errorf("left on %s", x.Server)
		}
	}
}

// A shutdown lets connections go on for two thirds of its time.
func TestP17ShutdownClosesEvenlyInTheEnd(t *testing.T) {
	o := startOrigin(t, echo)
	r := startRig(t, &Config{Loops: 2, Listeners: []*Listener{plainListener(roundRobin(t, o.addr))}})
	const n, limit = 60, 3 * time.Second
	r.opened(n)
	begun := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	done := make(chan int, 1)
	go func() { done <- r.e.Shutdown(ctx) }()
	thirds := map[int]int{}
	for range n {
		if rec := r.next(); rec.Reason != ReasonDrained {
			t.Fatalf("reason %s", rec.Reason)
		}
		thirds[int(time.Since(begun)*3/limit)]++
	}
	if thirds[0]+thirds[1] > 0 {
		t.Errorf("closed by thirds of the time: %v", thirds)
	}
	if closed := <-done; closed != n {
		t.Errorf("%d closed, want %d", closed, n)
	}
}
