package load

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// mostOutstanding bounds the connections of an open loop that are under way.
const mostOutstanding = 1000

// NewConnectionsAtRate is an open loop: perSecond short connections begin at
// their times, whether or not earlier ones are done. A latency counts from the
// time at which its connection was to begin. Over 1,000 outstanding ones the
// next are counted as errors.
func NewConnectionsAtRate(t Target, perSecond int) Load {
	return &openLoop{client: client{Target: t}, every: time.Second / time.Duration(perSecond)}
}

type openLoop struct {
	client
	every time.Duration
}

func (o *openLoop) Close() {}

var errOverload = fmt.Errorf("over %d connections are under way", mostOutstanding)

func (o *openLoop) Run(ctx context.Context) (Outcome, error) {
	late, cancel := graced(ctx)
	defer cancel()
	slots := make(chan []byte, mostOutstanding) // buffers of those that may begin
	for range mostOutstanding {
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

// one is the connection that was to begin at due. It returns its buffer.
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
