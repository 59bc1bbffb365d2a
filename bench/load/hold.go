package load

import (
	"context"
	"net"
	"sync"
	"time"

	"culvert/bench/origin"
)

// pingSize is the length of a message on a held connection.
const pingSize = 200

// pingers is how many goroutines ping the connections that are held.
const pingers = 16

// Held are connections that have said hello, got an answer, and wait. They cost
// the client no goroutine and no buffer.
type Held struct{ conns []*net.TCPConn }

// Hold opens n connections and exchanges one message on each.
func Hold(ctx context.Context, t Target, n int) (*Held, error) {
	conns, err := (&client{Target: t}).openAll(ctx, n, start{origin.Echo, pingSize, pingSize, pingSize})
	if err != nil {
		return nil, err
	}
	return &Held{conns}, nil
}

// Len is how many there are.
func (h *Held) Len() int { return len(h.conns) }

// Close ends them.
func (h *Held) Close() { closeAll(h.conns) }

// Ping plays one message on each connection once per interval, evenly spread,
// until ctx ends. Latency counts from the time at which a ping was due.
func (h *Held) Ping(ctx context.Context, every time.Duration) (Outcome, error) {
	start := time.Now()
	n := len(h.conns)
	return newCrowd(min(pingers, n)).run(func(i int, t *tally) {
		buf := make([]byte, pingSize)
		for ; ; i += pingers {
			due := start.Add(every * time.Duration(i) / time.Duration(n))
			if !pause(ctx, time.Until(due)) {
				return
			}
			h.ping(ctx, i%n, due, buf, t)
		}
	}), nil
}

func (h *Held) ping(ctx context.Context, i int, due time.Time, buf []byte, t *tally) {
	c := h.conns[i]
	_ = c.SetDeadline(time.Now().Add(ioTimeout))
	if err := exchange(c, buf, pingSize, pingSize); err != nil {
		t.failed(ctx, err)
		return
	}
	t.done(time.Since(due))
}

// Lost is how many of the connections have ended by now, by a FIN or a reset
// that nobody asked for. It plays a last message on each.
func (h *Held) Lost(ctx context.Context) int {
	var mu sync.Mutex
	lost := 0
	newCrowd(pingers).run(func(i int, t *tally) {
		buf := make([]byte, pingSize)
		for ; i < len(h.conns); i += pingers {
			h.ping(ctx, i, time.Now(), buf, t)
		}
		mu.Lock()
		lost += int(t.errors)
		mu.Unlock()
	})
	return lost
}
