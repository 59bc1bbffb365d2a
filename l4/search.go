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
	l.freeSearch(c)
}

// search is what a connection needs only until the first byte of a server: the
// bytes to give to one, and the way through the pool.
type search struct {
	hello   []byte // every byte received from the client so far, and owned
	parser  sniff.Parser
	sel     balancer.Selection
	tries   int
	picked  time.Duration // the present server was picked, or its slot came
	since   time.Duration // the same, then its connect: what the deadlines count from
	limit   time.Duration // when failing over stops; 0: never
	slotAt  time.Duration // when the present server may be dialed
	counted int           // bytes counted against the engine's bound
	replay  bool          // the hello may be given to another server
	left    int           // the server that failed last, as serverID counts
	why     Reason        // how it failed
}

// past lists the attempts that failed. Nearly every connection has none, and a
// pointer is a third of a slice.
type past struct{ tries []Try }

// newSearch returns a spare search, or a new one.
func (l *loop) newSearch() *search {
	if n := len(l.searches); n > 0 {
		a := l.searches[n-1]
		l.searches = l.searches[:n-1]
		return a
	}
	return new(search)
}

// What is kept of searches for reuse: most hellos are shorter than
// spareHello, also those with a post-quantum key share.
const (
	spareHello    = 2 << 10
	spareSearches = 64
)

// freeSearch lets go what was held for another attempt.
func (l *loop) freeSearch(c *conn) {
	a := c.search
	if a == nil {
		return
	}
	c.search = nil
	l.eng.hellos.Add(-int64(a.counted))
	if cap(a.hello) > spareHello || len(l.searches) >= spareSearches {
		return
	}
	a.parser.Reset()
	*a = search{hello: a.hello[:0], parser: a.parser}
	l.searches = append(l.searches, a)
}
