package bench

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Workload is one kind of load. run puts it on a proxy until ctx ends and
// returns how much work was done, in units.
type Workload struct {
	Name string
	Unit string  // what a cost is per
	Per  float64 // how many counts of run make a unit
	run  func(ctx context.Context, l *load) (count int64, err error)
	// idle workloads measure memory instead of time.
	idle int
}

// Workloads returns what is measured.
func Workloads() []Workload {
	list := []Workload{
		{Name: "new connections", Unit: "us/conn", Per: 1, run: connections},
		{Name: "messages 500/s", Unit: "us/msg", Per: 1, run: paced(500)},
		{Name: "messages 5000/s", Unit: "us/msg", Per: 1, run: paced(5000)},
		{Name: "messages saturated", Unit: "us/msg", Per: 1, run: saturated},
	}
	for _, n := range []int{1, 4, 64, 512} {
		list = append(list, Workload{Name: fmt.Sprintf("bulk %d streams", n), Unit: "s/GiB", Per: 1 << 30, run: bulk(n)})
	}
	for _, kib := range []int{4, 64, 256} {
		list = append(list, Workload{Name: fmt.Sprintf("responses %d KiB", kib), Unit: "us/resp", Per: 1, run: responses(kib << 10)})
	}
	return append(list, Workload{Name: "idle connections", Unit: "KiB/conn", idle: 4000})
}

// load is what a workload needs to reach the proxy under test.
type load struct {
	addr  string
	hello []byte
}

// open connects and says the hello and the order in one segment, as a client
// with something to say does.
func (l *load) open(op byte, size int) (*net.TCPConn, error) {
	c, err := net.DialTimeout("tcp", l.addr, 5*time.Second)
	if err != nil {
		return nil, err
	}
	if _, err := c.Write(append(append([]byte(nil), l.hello...), order(op, size)...)); err != nil {
		c.Close()
		return nil, err
	}
	return c.(*net.TCPConn), nil
}

// chatHello is the hello of a crypto/tls client without a post-quantum key
// share, about as long as a browser's was for years.
func chatHello() ([]byte, error) {
	near, far := net.Pipe()
	defer near.Close()
	go func() {
		cfg := &tls.Config{ServerName: serverName, NextProtos: []string{"h2", "http/1.1"}, CurvePreferences: []tls.CurveID{tls.X25519}}
		_ = tls.Client(far, cfg).Handshake()
		far.Close()
	}()
	buf := make([]byte, 4096)
	n, err := near.Read(buf)
	return buf[:n], err
}

// parallel runs n copies of work until ctx ends and sums what they count.
func parallel(ctx context.Context, n int, work func(ctx context.Context) (int64, error)) (int64, error) {
	var sum atomic.Int64
	var wg sync.WaitGroup
	errs := make(chan error, n)
	for range n {
		wg.Go(func() {
			count, err := work(ctx)
			sum.Add(count)
			if err != nil && ctx.Err() == nil {
				errs <- err
			}
		})
	}
	wg.Wait()
	select {
	case err := <-errs:
		return sum.Load(), err
	default:
		return sum.Load(), nil
	}
}

const replySize = 2000

// connections opens connections, 32 at a time, each for a reply of
// replySize bytes, after which the server ends it.
func connections(ctx context.Context, l *load) (int64, error) {
	return parallel(ctx, 32, func(ctx context.Context) (n int64, _ error) {
		buf := make([]byte, 4096)
		for ctx.Err() == nil {
			c, err := l.open(opReply, replySize)
			if err != nil {
				return n, err
			}
			got, err := drain(c, buf)
			c.Close()
			if err != nil {
				return n, fmt.Errorf("read the reply: %w", err)
			}
			if got != replySize {
				return n, fmt.Errorf("reply of %d bytes, want %d", got, replySize)
			}
			n++
		}
		return n, nil
	})
}

func drain(r io.Reader, buf []byte) (int, error) {
	sum := 0
	for {
		n, err := r.Read(buf)
		sum += n
		if errors.Is(err, io.EOF) {
			return sum, nil
		}
		if err != nil {
			return sum, err
		}
	}
}

const messageSize = 200

// pingPong sends one message and waits for its return.
func pingPong(c net.Conn, buf []byte) error {
	if _, err := c.Write(buf); err != nil {
		return err
	}
	_, err := io.ReadFull(c, buf)
	return err
}

// saturated plays ping-pong on 32 connections without a pause.
func saturated(ctx context.Context, l *load) (int64, error) {
	return pings(ctx, l, 32, func(ctx context.Context) bool { return ctx.Err() == nil })
}

// paced plays ping-pong at a fixed rate spread over 50 connections.
func paced(rate int) func(context.Context, *load) (int64, error) {
	const conns = 50
	return func(ctx context.Context, l *load) (int64, error) {
		every := time.Duration(conns) * time.Second / time.Duration(rate)
		var seq atomic.Int64
		return pings(ctx, l, conns, func(ctx context.Context) bool {
			n := seq.Add(1)
			first := n <= conns
			wait := every
			if first {
				wait = every * time.Duration(n) / conns
			}
			select {
			case <-ctx.Done():
				return false
			case <-time.After(wait):
				return true
			}
		})
	}
}

func pings(ctx context.Context, l *load, conns int, next func(context.Context) bool) (int64, error) {
	return parallel(ctx, conns, func(ctx context.Context) (n int64, _ error) {
		c, err := l.open(opEcho, messageSize)
		if err != nil {
			return 0, err
		}
		defer c.Close()
		buf := make([]byte, messageSize)
		for next(ctx) {
			if err := pingPong(c, buf); err != nil {
				return n, err
			}
			n++
		}
		return n, nil
	})
}

// responses asks for size bytes again and again on 8 connections.
func responses(size int) func(context.Context, *load) (int64, error) {
	return func(ctx context.Context, l *load) (int64, error) {
		return parallel(ctx, 8, func(ctx context.Context) (n int64, _ error) {
			c, err := l.open(opEcho, size)
			if err != nil {
				return 0, err
			}
			defer c.Close()
			buf := make([]byte, size)
			for ctx.Err() == nil {
				if err := pingPong(c, buf); err != nil {
					return n, err
				}
				n++
			}
			return n, nil
		})
	}
}

// bulk takes what n streams bring, and counts bytes.
func bulk(n int) func(context.Context, *load) (int64, error) {
	return func(ctx context.Context, l *load) (int64, error) {
		return parallel(ctx, n, func(ctx context.Context) (int64, error) {
			c, err := l.open(opSend, 0)
			if err != nil {
				return 0, err
			}
			stop := context.AfterFunc(ctx, func() { c.Close() })
			defer stop()
			return take(c), nil
		})
	}
}
