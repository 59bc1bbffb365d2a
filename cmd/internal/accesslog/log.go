// Package accesslog writes one line for each connection that has ended, and for
// each request on a route that terminates TLS. It accepts records from event
// loops without ever blocking them: records that the output cannot take in time
// are dropped and counted.
//
// It does not rotate files. They are opened for appending, so a rotation that
// copies and truncates (copytruncate of logrotate) works.
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
	"time"

	"culvert/cmd/internal/spool"
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
	// Queue is how many records may wait for the output. 0 means DefaultQueue.
	Queue int

	// Gather is how long the writer waits for more records after the first,
	// so that a busy log wakes it 50 times a second and not once per record.
	// 0 means DefaultGather.
	Gather time.Duration

	// Format appends a record as one line with its newline. nil means JSON.
	Format func(*bytes.Buffer, *l4.Record)

	// Log gets one message when the output starts to fail, and one when it
	// works again. nil disables them.
	Log *slog.Logger
}

// Log writes records through a spool.Spool. A nil Log is valid and discards
// everything.
type Log struct {
	spool  *spool.Spool[entry]
	closer io.Closer // the output, if Open opened it; else nil
}

// entry is the record of a connection or of a request.
type entry struct {
	l4.Record
	request *terminate.Request // nil: a connection
}

// New starts a Log that writes to w. The caller closes w, after Close.
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
	return &Log{spool: spool.Start(w, spool.Options[entry]{
		Queue: opts.Queue, Gather: opts.Gather, Batch: flushAt,
		Format: formatter(opts.Format), Report: reporter(opts.Log),
	})}
}

// formatter formats connections with connection, and requests as JSON.
func formatter(connection func(*bytes.Buffer, *l4.Record)) func(*bytes.Buffer, *entry) {
	requests := newJSON()
	return func(b *bytes.Buffer, e *entry) {
		if e.request != nil {
			requests.appendRequest(b, e.request)
			return
		}
		connection(b, &e.Record)
	}
}

// reporter returns a function that logs when the output starts to fail and when
// it works again, or nil if log is nil.
func reporter(log *slog.Logger) func(error, uint64) {
	if log == nil {
		return nil
	}
	return func(err error, lost uint64) {
		if err != nil {
			log.Error("access log cannot be written, dropping lines", "error", err)
			return
		}
		log.Info("access log is written again", "lines_lost", lost)
	}
}

// Add queues a copy of r, or drops it when the queue is full or the Log is
// closed. It never waits for the output and is safe for concurrent use.
func (l *Log) Add(r *l4.Record) {
	if l == nil {
		return
	}
	var e entry
	e.Record = *r // entry{Record: *r} would be copied once more
	e.Tries = nil // the caller keeps its array
	if len(r.Tries) > 0 {
		e.Tries = slices.Clone(r.Tries)
	}
	l.spool.Add(&e)
}

// AddRequest is Add for a request on a route that terminates TLS. The Log owns
// r from then on.
func (l *Log) AddRequest(r *terminate.Request) {
	if l != nil {
		l.spool.Add(&entry{request: r})
	}
}

// Dropped returns how many records have not reached the output, because the
// queue was full or the output failed.
func (l *Log) Dropped() uint64 {
	if l == nil {
		return 0
	}
	return l.spool.Dropped()
}

// Close accepts no more records, waits until the queued ones are written, and
// closes an output that Open opened. When ctx is done first, it closes that
// output although the writer still uses it, and returns an error that wraps
// ctx's.
func (l *Log) Close(ctx context.Context) error {
	if l == nil {
		return nil
	}
	if err := l.spool.Close(ctx); err != nil {
		_ = l.closeOutput() // unblocks the writer
		return fmt.Errorf("access log: the last lines could not be written: %w", err)
	}
	return l.closeOutput()
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
