package l4

import (
	"net"
	"testing"
	"time"

	"culvert/balancer"
	"culvert/l4/limit"
)

// ratedPool is a pool of servers that take so many connections a second.
func ratedPool(t testing.TB, rate float64, wait time.Duration, addrs ...string) *Pool {
	t.Helper()
	var servers []balancer.ServerConfig
	for _, a := range addrs {
		servers = append(servers, balancer.ServerConfig{Address: a, MaxRate: rate, MaxWait: wait})
	}
	return inTurn(t, servers...)
}

// TestConnectionsWaitForTheirSlot: those that come at once reach the server one
// after the other, and the others when the clock says so.
func TestConnectionsWaitForTheirSlot(t *testing.T) {
	o := saying(t, "a")
	r := startRig(t, &Config{Loops: 1, Listeners: []*Listener{plainListener(ratedPool(t, 1, time.Minute, o.addr))}})
	first := r.dial(0)
	hear(t, first, "a")
	var waiting []net.Conn
	for range 3 {
		waiting = append(waiting, r.dial(0))
	}
	eventually(t, "all are accepted", func() bool { return r.e.Active() == 4 })
	if n := o.accepted.Load(); n != 1 {
		t.Fatalf("%d connections at the server, want one", n)
	}
	for i := range waiting {
		r.advance(time.Second)
		eventually(t, "one more is at the server", func() bool { return o.accepted.Load() == int64(2+i) })
	}
	for _, c := range waiting {
		hear(t, c, "a")
	}
}

// TestTurnTooFarAway: who would wait too long goes to the next server, and that
// is nobody's failure.
func TestTurnTooFarAway(t *testing.T) {
	a, b := saying(t, "a"), saying(t, "b")
	pool := ratedPool(t, 0.01, 10*time.Millisecond, a.addr, b.addr)
	r := startRig(t, &Config{Loops: 1, Listeners: []*Listener{plainListener(pool)}})
	hear(t, r.dial(0), "a")
	hear(t, r.dial(0), "b")
	c := r.dial(0)
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("a third connection was served")
	}
	rec := r.next()
	if rec.Reason != ReasonRateLimited || len(rec.Tries) != 2 || rec.Tries[0].Reason != ReasonRateLimited {
		t.Errorf("ended with %s after %v", rec.Reason, rec.Tries)
	}
}

// TestClientLeavesBeforeItsSlot: a reset ends the waiting at once.
func TestClientLeavesBeforeItsSlot(t *testing.T) {
	o := saying(t, "a")
	r := startRig(t, &Config{Loops: 1, Listeners: []*Listener{plainListener(ratedPool(t, 0.1, time.Hour, o.addr))}})
	hear(t, r.dial(0), "a")
	c := r.dial(0)
	eventually(t, "it waits", func() bool { return r.e.Active() == 2 })
	reset(c)
	if rec := r.next(); rec.EndedBy != Client || rec.Reason != ReasonReset {
		t.Errorf("ended by %s: %s", rec.EndedBy, rec.Reason)
	}
}

// TestHandoverKeepsTheSlot: a connection that waits for its slot keeps it.
func TestHandoverKeepsTheSlot(t *testing.T) {
	o := saying(t, "a")
	cfg := func() *Config {
		return &Config{Loops: 1, Listeners: []*Listener{plainListener(ratedPool(t, 0.5, time.Hour, o.addr))}}
	}
	r := startRig(t, cfg())
	hear(t, r.dial(0), "a")
	c := r.dial(0)
	eventually(t, "it waits", func() bool { return r.e.Active() == 2 })
	r.handOver(cfg())
	r.advance(time.Second)
	if n := o.accepted.Load(); n != 1 {
		t.Errorf("%d connections at the server after a second, want one", n)
	}
	r.advance(2 * time.Second)
	hear(t, c, "a")
}

// TestRetryBudget: when nothing is left of it a failed attempt is the last.
func TestRetryBudget(t *testing.T) {
	good := startOrigin(t, tlsEcho(t))
	pool := roundRobin(t, refusedAddr(t), good.addr)
	pool.RetryBudget = 0.1
	r := startRig(t, &Config{Loops: 1, Listeners: []*Listener{routeTo(t, pool)}})
	budget := r.e.config().Pools()[0].budget
	for range limit.BudgetBurst - 100 { // 100 are left
		budget.Take()
	}
	hello := chatHello(t)
	refused := 0
	for range 400 {
		c := r.dial(0)
		if _, err := c.Write(hello); err != nil {
			t.Fatal(err)
		}
		_, err := c.Read(make([]byte, 1))
		c.Close()
		if rec := r.next(); rec.Reason == ReasonRetryBudget {
			refused++
		} else if err != nil {
			t.Fatalf("ended with %s, %v", rec.Reason, err)
		}
	}
	// Half of 400 need a second attempt: 100 are left, 40 are paid for.
	if refused < 40 || refused > 100 {
		t.Errorf("%d connections were refused another attempt, want about 60", refused)
	}
}

// TestNoTurnIsNoAttempt: clients that a server has no turn for go to the next
// one, whatever the budget for further attempts and the number of tries.
func TestNoTurnIsNoAttempt(t *testing.T) {
	a, b := startOrigin(t, tlsEcho(t)), startOrigin(t, tlsEcho(t))
	pool := ratedPool(t, 0.001, time.Millisecond, a.addr, b.addr)
	fast, err := balancer.New(balancer.Config{Name: "pool", Policy: balancer.RoundRobin, Servers: []balancer.ServerConfig{
		{Address: a.addr, MaxRate: 0.001, MaxWait: time.Millisecond}, {Address: b.addr},
	}})
	if err != nil {
		t.Fatal(err)
	}
	pool.Balancer, pool.RetryBudget, pool.Tries = fast, 0.01, 1
	r := startRig(t, &Config{Loops: 1, Listeners: []*Listener{routeTo(t, pool)}})
	for range 300 {
		r.dialTLS("chat.example.com").Close()
		r.next()
	}
}
