package load

import (
	"context"
	"fmt"
	"io"
	"time"
)

// FirstBytes makes n connections, conc at a time, from the target's addresses
// in rotation, sends only the hello, and measures the time from connecting to
// the first byte of an answer, which a TLS server sends. A connection that waits
// longer than timeout is an error.
func FirstBytes(ctx context.Context, t Target, n, conc int, timeout time.Duration) Outcome {
	c := &client{Target: t}
	return newCrowd(conc).run(ctx, func(i int, t *tally) {
		for ; i < n && ctx.Err() == nil; i += conc {
			start := time.Now()
			if err := c.firstByte(ctx, timeout); err != nil {
				t.failed(ctx, err)
				continue
			}
			t.done(time.Since(start))
		}
	})
}

func (c *client) firstByte(ctx context.Context, timeout time.Duration) error {
	conn, err := c.dial(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	_ = conn.SetWriteDeadline(ioDeadline(ctx))
	if _, err := conn.Write(c.Hello); err != nil {
		return fmt.Errorf("send hello: %w", err)
	}
	_ = conn.SetReadDeadline(time.Now().Add(timeout))
	if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil {
		return fmt.Errorf("wait for an answer: %w", err)
	}
	return nil
}
