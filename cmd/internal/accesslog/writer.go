package accesslog

import (
	"bytes"
	"time"
)

// write is the writer goroutine: sleep, gather, empty the queue, repeat.
func (l *Log) write() {
	defer close(l.done)
	w := writer{log: l, requests: newJSON()}
	for l.gather() {
		w.drain()
	}
	w.drain()
}

// gather waits for a first record and then a little for more. It reports
// false, at once, when the Log is closed.
func (l *Log) gather() bool {
	select {
	case <-l.wake:
	case <-l.closing:
		return false
	}
	select {
	case <-time.After(l.opts.Gather):
		return true
	case <-l.closing:
		return false
	}
}

// writer is the state of the writer goroutine.
type writer struct {
	log      *Log
	requests *jsonFormat
	buf      bytes.Buffer
	lines    int  // in buf
	torn     bool // the output ends in the middle of a line
	failing  bool
	lost     uint64 // lines lost since it began to fail
}

// drain writes until the queue is empty.
func (w *writer) drain() {
	var e entry
	for w.log.take(&e) {
		if e.request != nil {
			w.requests.appendRequest(&w.buf, e.request)
		} else {
			w.log.opts.Format(&w.buf, &e.Record)
		}
		w.lines++
		if w.buf.Len() >= flushAt {
			w.flush()
		}
	}
	w.flush()
}

// flush writes the buffered lines. Lines that the output did not take whole
// are dropped: waiting for room would only move the loss to the queue.
func (w *writer) flush() {
	if w.lines == 0 {
		return
	}
	written, err := w.output(w.buf.Bytes())
	w.buf.Reset()
	lost := uint64(w.lines - written)
	w.lines = 0
	w.log.dropped.Add(lost)
	w.report(err, lost)
}

// output writes b and returns how many of its lines arrived whole. A line
// torn by an earlier failure is ended first, so that it spoils no other.
func (w *writer) output(b []byte) (lines int, err error) {
	if w.torn {
		if _, err := w.log.out.Write([]byte{'\n'}); err != nil {
			return 0, err
		}
		w.torn = false
	}
	n, err := w.log.out.Write(b)
	n = max(0, min(n, len(b)))
	w.torn = n > 0 && b[n-1] != '\n'
	return bytes.Count(b[:n], []byte{'\n'}), err
}

// report tells the operator when the output begins to fail and when it works
// again, not once a line.
func (w *writer) report(err error, lost uint64) {
	w.lost += lost
	log := w.log.opts.Log
	switch {
	case err != nil && !w.failing:
		w.failing = true
		if log != nil {
			log.Error("access log cannot be written, dropping lines", "error", err)
		}
	case err == nil && w.failing:
		if log != nil {
			log.Info("access log is written again", "lines_lost", w.lost)
		}
		w.failing, w.lost = false, 0
	}
}
