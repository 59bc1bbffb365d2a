// Package accesslog writes one line for each connection that ended, and for
// each request on those whose TLS ended here. It takes
// records from event loops without ever making them wait: what the output
// cannot take in time is dropped and counted.
//
// It does not rotate files: they are opened for appending, so a rotation
// that copies and truncates works.
package accesslog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"culvert/l4"
	"culvert/l4/terminate"
)

// Defaults for Options.
const (
	DefaultQueue  = 8192
	DefaultGather = 20 * time.Millisecond
)

// flushAt is how many bytes are formatted before they are written, so that
// a long queue does not become one huge buffer.
const flushAt = 64 << 10

// Options adjust a Log. The zero value means the defaults.
type Options struct {
	// Queue is how many records may wait for the output. 0: DefaultQueue.
	Queue int

	// Gather is how long the writer waits after the first record for more,
	// so that a busy log wakes it 50 times a second and not once a record.
	// 0: DefaultGather.
	Gather time.Duration

	// Format appends a record as one line with its newline. nil: JSON.
	Format func(*bytes.Buffer, *l4.Record)

	// Log is told once when the output starts to fail, and once when it
	// works again. nil: nobody.
	Log *slog.Logger
}

// Log is a bounded queue of records with one writer goroutine behind it. A
// nil Log is valid and discards everything.
type Log struct {
	opts   Options
	out    io.Writer
	closer io.Closer // nil when the output is not ours to close

	wake    chan struct{} // capacity 1: a token says "look at the queue"
	closing chan struct{} // closed by Close
	done    chan struct{} // closed when the writer has returned
	dropped atomic.Uint64

	mu     sync.Mutex // guards the fields below; nothing blocks under it
	ring   []entry
	head   int
	count  int
	closed bool
}

// entry is a connection's record, or a request's.
type entry struct {
	l4.Record
	request *terminate.Request // nil: it is a connection's
}

// New starts a Log that writes to w, which the caller closes, after Close.
func New(w io.Writer, opts Options) *Log {
	if opts.Queue <= 0 {
		opts.Queue = DefaultQueue
	}
	if opts.Gather <= 0 {
		opts.Gather = DefaultGather
	}
	if opts.Format == nil {
		opts.Format = newJSON().append
	}
	l := &Log{
		opts:    opts,
		out:     w,
		wake:    make(chan struct{}, 1),
		closing: make(chan struct{}),
		done:    make(chan struct{}),
		ring:    make([]entry, opts.Queue),
	}
	go l.write()
	return l
}

// Add queues a copy of r, or drops it when the queue is full or the Log is
// closed. It never waits for the output and is safe for concurrent use.
func (l *Log) Add(r *l4.Record) {
	if l == nil {
		return
	}
	l.add(&entry{Record: *r})
}

// AddRequest is Add for a request on a connection whose TLS ends here. r is
// the Log's from then on.
func (l *Log) AddRequest(r *terminate.Request) {
	if l != nil {
		l.add(&entry{request: r})
	}
}

func (l *Log) add(e *entry) {
	switch l.push(e) {
	case dropped:
		l.dropped.Add(1)
	case first:
		select {
		case l.wake <- struct{}{}:
		default: // a token is there already
		}
	}
}

// pushed is what became of a record in push.
type pushed uint8

const (
	queued  pushed = iota
	first          // queued, and the queue was empty: the writer may sleep
	dropped        // no room
)

func (l *Log) push(e *entry) pushed {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.count == len(l.ring) || l.closed {
		return dropped
	}
	i := l.head + l.count
	if i >= len(l.ring) {
		i -= len(l.ring)
	}
	l.ring[i] = *e
	l.ring[i].Tries = nil // the caller's array is the caller's
	if len(e.Tries) > 0 {
		l.ring[i].Tries = slices.Clone(e.Tries)
	}
	l.count++
	if l.count > 1 {
		return queued
	}
	return first
}

// take moves the oldest entry to e.
func (l *Log) take(e *entry) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.count == 0 {
		return false
	}
	*e = l.ring[l.head]
	l.ring[l.head] = entry{} // releases its strings
	l.head++
	if l.head == len(l.ring) {
		l.head = 0
	}
	l.count--
	return true
}

// Dropped returns how many records have not reached the output, because the
// queue was full or the output failed.
func (l *Log) Dropped() uint64 {
	if l == nil {
		return 0
	}
	return l.dropped.Load()
}

// Close takes no more records, waits until those queued are written, and
// closes an output that Open opened. When ctx is done first it gives up: the
// output is closed under the writer, and the error says that lines are
// missing.
func (l *Log) Close(ctx context.Context) error {
	if l == nil {
		return nil
	}
	l.mu.Lock()
	wasClosed := l.closed
	l.closed = true
	l.mu.Unlock()
	if !wasClosed {
		close(l.closing)
	}
	select {
	case <-l.done:
		return l.closeOutput()
	case <-ctx.Done():
		_ = l.closeOutput() // the writer is stuck in it
		return fmt.Errorf("access log: output does not take the last lines: %w", ctx.Err())
	}
}

func (l *Log) closeOutput() error {
	if l.closer == nil {
		return nil
	}
	if err := l.closer.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
		return fmt.Errorf("close access log: %w", err)
	}
	return nil
}
