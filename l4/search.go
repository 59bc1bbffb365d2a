package l4

import (
	"time"

	"culvert/balancer"
	"culvert/sniff"
)

// answered ends the search: the server has spoken, or need not. What was held
// for another attempt is let go.
func (l *loop) answered(c *conn) {
	l.eng.outcome(c.server, "", l.now)
	l.freeAttempt(c)
}

// attempt is what a connection needs only until the first byte of a server:
// the bytes to give to it, and the way through the pool.
type attempt struct {
	hello  []byte // every byte received from the client so far, and owned
	parser sniff.Parser
	sel    balancer.Selection
	tries  int
	picked time.Duration // the present server's turn came
	since  time.Duration // the same, then its connect: what the deadlines count from
	limit  time.Duration // when failing over stops; 0: never
	kept   int           // bytes counted against the engine's bound
	replay bool          // the hello may be given to another server
	left   int           // the server that failed last, as serverID counts
	why    Reason        // how it failed
}

// past lists the attempts that failed.
type past struct{ tries []Try }

// newAttempt returns a spare attempt, or a new one.
func (l *loop) newAttempt() *attempt {
	if n := len(l.attempts); n > 0 {
		a := l.attempts[n-1]
		l.attempts = l.attempts[:n-1]
		return a
	}
	return new(attempt)
}

// What is kept of attempts for reuse: most hellos are shorter than
// spareHello, also those with a post-quantum key share.
const (
	spareHello    = 2 << 10
	spareAttempts = 64
)

// freeAttempt lets go what was held for another attempt.
func (l *loop) freeAttempt(c *conn) {
	a := c.try
	if a == nil {
		return
	}
	c.try = nil
	if cap(a.hello) > spareHello || len(l.attempts) >= spareAttempts {
		return
	}
	a.parser.Reset()
	*a = attempt{hello: a.hello[:0], parser: a.parser}
	l.attempts = append(l.attempts, a)
}
