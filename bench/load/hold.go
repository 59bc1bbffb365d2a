package load

import (
	"context"
	"net"
	"time"

	"culvert/bench/origin"
)

// pingSize is the length of a message on a held connection.
const pingSize = 200

// pingers is how many goroutines ping the held connections.
const pingers = 16

// Held are idle connections that have sent a hello and received an answer. They
// need no goroutine and no buffer in the client.
type Held struct{ conns []net.Conn }

// Hold opens n connections and exchanges one message on each.
func Hold(ctx context.Context, t Target, n int) (*Held, error) {
	conns, err := (&client{Target: t}).openAll(ctx, n, start{origin.Echo, pingSize, pingSize, pingSize})
	if err != nil {
		return nil, err
	}
	h := &Held{}
	for _, conn := range conns {
		h.conns = append(h.conns, conn)
	}
	return h, nil
}

// Close ends them.
func (h *Held) Close() { closeAll(h.conns) }

// Ping sends one message on each connection once per interval, evenly spread,
// until ctx ends. Latency counts from the time at which a ping was due.
func (h *Held) Ping(ctx context.Context, every time.Duration) (Outcome, error) {
	start := time.Now()
	late, cancel := graced(ctx)
	defer cancel()
	workers := min(pingers, len(h.conns))
	return newCrowd(workers).run(ctx, func(first int, t *tally) {
		p := newPacer()
		defer p.stop()
		buf := make([]byte, pingSize)
		for round := start; ; round = round.Add(every) {
			for i := first; i < len(h.conns); i += workers {
				due := round.Add(every * time.Duration(i) / time.Duration(len(h.conns)))
				if !p.until(ctx, due) {
					return
				}
				h.ping(late, i, due, buf, t)
			}
		}
	}), nil
}

// ping closes a connection that does not answer, so that a late answer is not
// taken for that of the next message.
func (h *Held) ping(ctx context.Context, i int, due time.Time, buf []byte, t *tally) {
	c := h.conns[i]
	_ = c.SetDeadline(ioDeadline(ctx))
	if err := exchange(c, buf, pingSize, pingSize); err != nil {
		c.Close()
		t.failed(ctx, err)
		return
	}
	t.done(time.Since(due))
}

// Lost returns how many of the connections have ended unexpectedly, by a FIN or
// a reset, or do not answer. It sends a last message on all at once, and so
// takes as long as the slowest. The result is meaningless once ctx is cancelled.
func (h *Held) Lost(ctx context.Context) int {
	late, cancel := graced(ctx)
	defer cancel()
	out := newCrowd(len(h.conns)).run(ctx, func(i int, t *tally) {
		h.ping(late, i, time.Now(), make([]byte, pingSize), t)
	})
	return int(out.Errors)
}
