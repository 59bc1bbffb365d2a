package load

import (
	"context"
	"io"
	"net"
	"time"

	"culvert/bench/origin"
)

// MessageOptions describe a ping-pong of messages.
type MessageOptions struct {
	Size  int // bytes of each message, and of its echo
	Conns int // number of connections
	Rate  int // messages a second, all connections together; 0 means as fast as they return
}

// exchanges are connections on which a request is sent and its answer read,
// repeatedly.
type exchanges struct {
	lines []line
	every time.Duration
	crowd crowd
}

// NewMessages opens the connections of a ping-pong and sends one message on each.
// With a rate every message has its due time, evenly spread, and its latency is
// measured from that time, even if the connection was still waiting for the
// previous answer, or the run ended before the message could be sent: a proxy
// that stalls delays all messages of that time (this corrects coordinated
// omission). A connection that breaks is reopened.
func NewMessages(ctx context.Context, t Target, o MessageOptions) (Load, error) {
	x, err := newExchanges(ctx, t, o.Conns, start{origin.Echo, o.Size, o.Size, o.Size})
	if err == nil && o.Rate > 0 {
		x.every = time.Duration(o.Conns) * time.Second / time.Duration(o.Rate)
	}
	return x, err
}

// NewResponses opens conns connections, on which requests of 64 bytes get
// responses of size bytes, as fast as possible.
func NewResponses(ctx context.Context, t Target, size, conns int) (Load, error) {
	return newExchanges(ctx, t, conns, start{origin.Respond, size, origin.RequestSize, size})
}

func newExchanges(ctx context.Context, t Target, n int, s start) (*exchanges, error) {
	c := &client{Target: t}
	conns, err := c.openAll(ctx, n, s)
	if err != nil {
		return nil, err
	}
	x := &exchanges{lines: make([]line, n), crowd: newCrowd(n)}
	for i, conn := range conns {
		x.lines[i] = line{client: c, start: s, conn: conn, buf: make([]byte, max(s.request, s.answer))}
	}
	return x, nil
}

func (x *exchanges) Close() {
	for i := range x.lines {
		x.lines[i].close()
	}
}

func (x *exchanges) Run(ctx context.Context) (Outcome, error) {
	late, cancel := graced(ctx)
	defer cancel()
	for i := range x.lines { // before the clock starts: for thousands of lines it takes longer than a message
		x.lines[i].use(late)
		defer x.lines[i].leave()
	}
	start := time.Now()
	return x.crowd.run(ctx, func(i int, t *tally) {
		l := &x.lines[i]
		if x.every > 0 {
			first := start.Add(x.every * time.Duration(i) / time.Duration(len(x.lines)))
			x.paced(ctx, late, l, first, t)
		} else {
			x.saturated(ctx, late, l, t)
		}
	}), nil
}

func (x *exchanges) saturated(ctx, late context.Context, l *line, t *tally) {
	for last := time.Now(); ctx.Err() == nil; {
		err := l.once(late)
		now := time.Now()
		if err != nil {
			t.failed(late, err)
		} else {
			t.done(now.Sub(last))
		}
		last = now
	}
}

// paced sends the messages of a connection at their due times, the first at due.
// Messages not sent when the run ends have at least the latency up to that time.
func (x *exchanges) paced(ctx, late context.Context, l *line, due time.Time, t *tally) {
	p := newPacer()
	defer p.stop()
	for ; p.until(ctx, due); due = due.Add(x.every) {
		if err := l.once(late); err != nil {
			t.failed(late, err)
			continue
		}
		t.done(time.Since(due))
	}
	now := time.Now()
	for end := endOf(ctx); due.Before(end); due = due.Add(x.every) {
		t.overdue(now.Sub(due))
	}
}

// exchange sends a request and reads the whole answer.
func exchange(c net.Conn, buf []byte, request, answer int) error {
	if _, err := c.Write(buf[:request]); err != nil {
		return err
	}
	_, err := io.ReadFull(c, buf[:answer])
	return err
}
