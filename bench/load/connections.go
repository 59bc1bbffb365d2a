package load

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"time"

	"culvert/bench/origin"
)

// replySize is the size in bytes of the reply on a short connection.
const replySize = 2000

// NewConnections is a closed loop of short connections, conc at a time: each
// sends a hello, gets 2,000 bytes, and EOF. A latency is from the start
// of connecting to the end of the stream.
func NewConnections(t Target, conc int) Load { return repeated(t, conc, short) }

// NewHandshakes is a closed loop of logins over TLS, conc at a time: a full
// handshake, a request of 64 bytes, a reply of 2,000, EOF. The target must lead
// to a server with TLS; its Hello is not used.
func NewHandshakes(t Target, conc int) Load { return repeated(t, conc, logIn) }

// repeat repeats a unit of work.
type repeat struct {
	client
	crowd crowd
	once  piece
}

// piece is one complete unit of work.
type piece func(ctx context.Context, c *client, buf []byte) error

func repeated(t Target, conc int, once piece) Load {
	return &repeat{client: client{Target: t}, crowd: newCrowd(conc), once: once}
}

func (r *repeat) Close() {}

func (r *repeat) Run(ctx context.Context) (Outcome, error) {
	late, cancel := graced(ctx)
	defer cancel()
	return r.crowd.run(ctx, func(_ int, t *tally) {
		buf := make([]byte, 4096)
		for ctx.Err() == nil {
			start := time.Now()
			if err := r.once(late, &r.client, buf); err != nil {
				t.failed(late, err)
				pause(ctx, errorPause)
				continue
			}
			t.done(time.Since(start))
		}
	}), nil
}

// short is one short connection.
func short(ctx context.Context, c *client, buf []byte) error {
	conn, err := c.open(ctx, origin.Reply, replySize)
	if err != nil {
		return err
	}
	defer conn.Close()
	return wantEnd(conn, buf, replySize)
}

// wantEnd reads exactly size bytes and EOF.
func wantEnd(r io.Reader, buf []byte, size int) error {
	sum := 0
	for {
		n, err := r.Read(buf)
		sum += n
		if errors.Is(err, io.EOF) && sum == size {
			return nil
		}
		if errors.Is(err, io.EOF) {
			return fmt.Errorf("got %d bytes and the end, want %d", sum, size)
		}
		if err != nil {
			return fmt.Errorf("after %d of %d bytes: %w", sum, size, err)
		}
	}
}

func logIn(ctx context.Context, c *client, buf []byte) error {
	raw, err := c.dial(ctx)
	if err != nil {
		return err
	}
	_ = raw.SetDeadline(ioDeadline(ctx))
	cfg := &tls.Config{ServerName: c.ServerName, InsecureSkipVerify: true, CurvePreferences: []tls.CurveID{tls.X25519}}
	conn := tls.Client(raw, cfg)
	defer conn.Close()
	if _, err := conn.Write(buf[:origin.RequestSize]); err != nil {
		return fmt.Errorf("handshake: %w", err)
	}
	return wantEnd(conn, buf, origin.LoginReply)
}
