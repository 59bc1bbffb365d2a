package spool

import (
	"bytes"
	"io"
	"sort"
	"time"
)

// writer is the state of the goroutine that writes.
type writer[E any] struct {
	queue *Queue[E]
	out   io.Writer
	opts  Options[E]

	buf     bytes.Buffer
	ends    []int // where each element in buf ends
	torn    bool  // the output ends in the middle of an element
	failing bool
	lost    uint64 // elements lost since the output began to fail
}

// run gathers and drains until the queue is closed and empty.
func (w *writer[E]) run() {
	for w.gather() {
		w.drain()
	}
	w.drain()
}

// gather waits for a first element and then a little for more. It returns
// false, at once, when the queue is closed.
func (w *writer[E]) gather() bool {
	select {
	case <-w.queue.wake:
	case <-w.queue.closing:
		return false
	}
	if w.opts.Gather <= 0 {
		return true
	}
	select {
	case <-time.After(w.opts.Gather):
		return true
	case <-w.queue.closing:
		return false
	}
}

// drain writes until the queue is empty.
func (w *writer[E]) drain() {
	var e E
	for w.queue.Take(&e) {
		w.opts.Format(&w.buf, &e)
		w.ends = append(w.ends, w.buf.Len())
		if w.buf.Len() >= w.opts.Batch {
			w.flush()
		}
	}
	w.flush()
}

// flush writes the buffered elements. Those that the output did not take whole
// are dropped: waiting for room would only move the loss to the queue.
func (w *writer[E]) flush() {
	if len(w.ends) == 0 {
		return
	}
	whole, err := w.output(w.buf.Bytes())
	lost := uint64(len(w.ends) - whole)
	w.buf.Reset()
	w.ends = w.ends[:0]
	w.queue.dropped.Add(lost)
	w.report(err, lost)
}

// output writes b and returns how many of its elements arrived whole. A line
// that an earlier failure cut off is ended first, so that it spoils no other.
func (w *writer[E]) output(b []byte) (whole int, err error) {
	if w.torn {
		if _, err := w.out.Write([]byte{'\n'}); err != nil {
			return 0, err
		}
		w.torn = false
	}
	n, err := w.out.Write(b)
	n = max(0, min(n, len(b)))
	whole = sort.SearchInts(w.ends, n+1)
	w.torn = n > 0 && (whole == 0 || w.ends[whole-1] != n)
	return whole, err
}

// report tells when the output begins to fail and when it works again, not
// once an element.
func (w *writer[E]) report(err error, lost uint64) {
	w.lost += lost
	if w.failing == (err != nil) {
		return
	}
	w.failing = err != nil
	if w.opts.Report != nil {
		w.opts.Report(err, w.lost)
	}
	if err == nil {
		w.lost = 0
	}
}
