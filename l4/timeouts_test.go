package l4

import (
	"io"
	"net"
	"testing"
	"time"
)

// sessionTimes is a relay with these limits of a session.
func sessionTimes(s Session) func(*Config) {
	return func(c *Config) { c.Listeners[0].Session = s }
}

// alive fails the test if the only connection has ended.
func (p *pairs) alive(when string) {
	p.t.Helper()
	if p.state() == "gone" {
		rec := p.next()
		p.t.Fatalf("%s: ended by %v, %v, after %v", when, rec.EndedBy, rec.Reason, rec.Total)
	}
}

const hour = time.Hour

func TestAbandonedHalfOpenIsReapedAndNotEarly(t *testing.T) {
	for _, by := range []side{client, server} {
		t.Run(by.party().String(), func(t *testing.T) {
			p := startPairs(t, 0, sessionTimes(Session{IdleTimeout: 24 * hour, HalfCloseTimeout: hour}))
			c, s := p.connect()
			first, second := c, s
			if by == server {
				first, second = s, c
			}
			p.advance(20 * hour) // of silence before, which do not count
			p.alive("idle")
			_ = first.CloseWrite()
			if err := lastWord(second); !isErr(err, io.EOF) {
				t.Fatal(err)
			}
			p.advance(hour - patience)
			p.alive("half-closed for less than the time")
			if _, err := second.Write([]byte("a")); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(first, make([]byte, 1)); err != nil {
				t.Fatal(err)
			}
			p.advance(hour - patience)
			p.alive("after a byte, for less than the time")
			p.advance(patience + 2*coarseTick)
			if rec := p.next(); rec.Reason != ReasonHalfCloseTimeout || rec.EndedBy != Culvert {
				t.Errorf("got %v by %v, want %v", rec.Reason, rec.EndedBy, ReasonHalfCloseTimeout)
			}
		})
	}
}

func TestIdleConnectionIsReapedAndNotEarly(t *testing.T) {
	p := startPairs(t, 0, sessionTimes(Session{IdleTimeout: hour}))
	c, s := p.connect()
	for i := range 4 {
		p.advance(hour - patience)
		p.alive("idle for less than the time")
		from, to := c, s
		if i%2 == 1 {
			from, to = s, c
		}
		if _, err := from.Write([]byte("a")); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(to, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
	}
	p.advance(hour + 2*coarseTick)
	if rec := p.next(); rec.Reason != ReasonIdleTimeout || rec.EndedBy != Culvert {
		t.Errorf("got %v by %v, want %v", rec.Reason, rec.EndedBy, ReasonIdleTimeout)
	}
	for _, e := range []net.Conn{c, s} {
		if err := lastWord(e); !isErr(err, io.EOF) {
			t.Errorf("got %v, want both ends closed", err)
		}
	}
}

func TestLifetimeEndsABusyConnection(t *testing.T) {
	p := startPairs(t, 0, sessionTimes(Session{IdleTimeout: hour, Lifetime: 3 * hour}))
	c, s := p.connect()
	for range 5 {
		p.advance(hour/2 + 5*time.Minute)
		p.alive("younger than its lifetime")
		_, _ = c.Write([]byte("a"))
		if _, err := io.ReadFull(s, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
	}
	p.advance(5*time.Minute - patience)
	p.alive("younger than its lifetime")
	p.advance(patience + 2*coarseTick)
	if rec := p.next(); rec.Reason != ReasonLifetime || rec.EndedBy != Culvert {
		t.Errorf("got %v by %v, want %v", rec.Reason, rec.EndedBy, ReasonLifetime)
	}
}

func TestTimeoutsThatAreOffNeverFire(t *testing.T) {
	p := startPairs(t, 0, sessionTimes(Session{IdleTimeout: Off, HalfCloseTimeout: Off, Lifetime: Off}))
	c, s := p.connect()
	p.advance(1000 * hour)
	p.alive("idle")
	_ = c.CloseWrite()
	_ = lastWord(s)
	p.advance(1000 * hour)
	p.alive("half-closed")
	if err := transfer(s, c, 1, 100); err != nil {
		t.Fatal(err)
	}
}
