package balancer

import (
	"testing"
	"time"
)

func pacedServer(t *testing.T, rate float64, wait time.Duration) *Server {
	t.Helper()
	p, err := New(Config{Name: "p", Servers: []ServerConfig{{Address: "a", MaxRate: rate, MaxWait: wait}}})
	if err != nil {
		t.Fatal(err)
	}
	return p.Servers()[0]
}

func TestSlotWithoutALimit(t *testing.T) {
	s := pacedServer(t, 0, 0)
	for range 1000 {
		if at, ok := s.Slot(time.Second); !ok || at != time.Second {
			t.Fatalf("slot at %s, %v", at, ok)
		}
	}
}

// TestSlotLimitsTheRate: of a thousand connections that arrive at once,
// those that need not wait longer than allowed get slots at the rate.
func TestSlotLimitsTheRate(t *testing.T) {
	s := pacedServer(t, 100, time.Second)
	now := time.Hour
	atOnce, later, refused := 0, 0, 0
	last := now
	for range 1000 {
		at, ok := s.Slot(now)
		switch {
		case !ok:
			refused++
		case at == now:
			atOnce++
		default:
			if at < last || at > now+time.Second {
				t.Fatalf("a slot at %s after one at %s", at, last)
			}
			later, last = later+1, at
		}
	}
	if atOnce != 11 || later != 100 || refused != 889 {
		t.Errorf("%d at once, %d later, %d refused, want 11, 100 and 889", atOnce, later, refused)
	}
	if at, ok := s.Slot(now + 500*time.Millisecond); !ok || at <= now+time.Second {
		t.Errorf("half a second later the next slot is at %s, %v", at-now, ok)
	}
}

func TestNewRejectsNegativeRateAndWait(t *testing.T) {
	for _, c := range []ServerConfig{{Address: "a", MaxRate: -1}, {Address: "a", MaxWait: -time.Second}} {
		if _, err := New(Config{Name: "p", Servers: []ServerConfig{c}}); err == nil {
			t.Errorf("%+v was accepted", c)
		}
	}
}
