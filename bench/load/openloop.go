package load

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// maxOutstanding limits the concurrent connections of an open loop.
const maxOutstanding = 1000

// NewConnectionsAtRate is an open loop: perSecond short connections begin at
// their due times, whether or not earlier ones are done. A latency is measured
// from the due time of its connection. Connections beyond 1,000 concurrent ones
// are counted as errors.
func NewConnectionsAtRate(t Target, perSecond int) Load {
	return &openLoop{client: client{Target: t}, every: time.Second / time.Duration(perSecond)}
}

type openLoop struct {
	client
	every time.Duration
}

func (o *openLoop) Close() {}

var errOverload = fmt.Errorf("over %d connections are under way", maxOutstanding)

func (o *openLoop) Run(ctx context.Context) (Outcome, error) {
	late, cancel := graced(ctx)
	defer cancel()
	slots := make(chan []byte, maxOutstanding) // free buffers, one for each connection that may begin
	for range maxOutstanding {
		slots <- nil
	}
	return newCrowd(1).run(ctx, func(_ int, t *tally) {
		var wg sync.WaitGroup
		defer wg.Wait()
		p := newPacer()
		defer p.stop()
		for due := time.Now(); p.until(ctx, due); due = due.Add(o.every) {
			select {
			case buf := <-slots:
				wg.Go(func() { slots <- o.one(late, due, buf, t) })
			default:
				t.failed(late, errOverload)
			}
		}
	}), nil
}

// one makes the connection that was due at due. It returns its buffer to slots.
func (o *openLoop) one(ctx context.Context, due time.Time, buf []byte, t *tally) []byte {
	if buf == nil {
		buf = make([]byte, 4096)
	}
	if err := short(ctx, &o.client, buf); err != nil {
		t.failed(ctx, err)
	} else {
		t.done(time.Since(due))
	}
	return buf
}
