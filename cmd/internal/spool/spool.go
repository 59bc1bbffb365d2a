// Package spool passes elements to an output that may be slow, without ever
// making their producers wait: event loops log through it, and a stopped
// terminal, a full disk or a pipe without a reader must not stop them. A queue
// of bounded length is in front of one goroutine that formats and writes; what
// finds the queue full, or what the output does not take, is dropped and
// counted.
//
// It does not open or close the output, and it does not write anything twice.
package spool

import (
	"bytes"
	"context"
	"io"
	"time"
)

// Options adjust a Spool. Format must be set.
type Options[E any] struct {
	// Queue is how many elements may wait for the output, at least 1.
	Queue int

	// Gather is how long the writer waits after the first element for more,
	// so that a busy producer does not wake it for each one. 0: not at all.
	Gather time.Duration

	// Batch is how many bytes are formatted before they are written, so that
	// a long queue does not become one huge buffer. 0: each element is written
	// on its own.
	Batch int

	// Format appends an element as one or more whole lines. One goroutine
	// calls it; the element is valid until it returns.
	Format func(*bytes.Buffer, *E)

	// Report is called with the error when the output begins to fail, and with
	// nil and the number of elements lost meanwhile when it works again. nil:
	// no reports.
	Report func(err error, lost uint64)
}

// Spool is a Queue with a goroutine that writes what is in it.
type Spool[E any] struct {
	*Queue[E]
	done chan struct{} // closed when the writer has returned
}

// Start starts a Spool that writes to out, which stays the caller's.
func Start[E any](out io.Writer, opts Options[E]) *Spool[E] {
	s := &Spool[E]{Queue: NewQueue[E](opts.Queue), done: make(chan struct{})}
	w := &writer[E]{queue: s.Queue, out: out, opts: opts}
	go func() {
		defer close(s.done)
		w.run()
	}()
	return s
}

// Close drops what is added from now on and waits until the queued elements
// are written or ctx is done, whose error it then returns. The writer may be
// stuck in the output at that moment; a later Close waits for it again.
func (s *Spool[E]) Close(ctx context.Context) error {
	s.close()
	select {
	case <-s.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
