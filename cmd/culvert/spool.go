package main

import (
	"context"
	"io"
	"sync"
	"sync/atomic"
)

// spoolLines is how many lines of a program log may wait for its output.
const spoolLines = 1024

// spool is a writer that never waits: an event loop logs through it, and a
// terminal that was stopped or a pipe that nobody reads must not stop the
// loop. Lines that find it full are dropped and counted.
type spool struct {
	out     io.Writer
	lines   chan []byte
	dropped atomic.Uint64
	done    chan struct{} // closed when everything is written after close

	mu     sync.RWMutex // guards closed against a Write under way
	closed bool
}

func newSpool(out io.Writer) *spool {
	s := &spool{out: out, lines: make(chan []byte, spoolLines), done: make(chan struct{})}
	go s.write()
	return s
}

// write is the goroutine that waits for the output. A line it does not take
// is lost: there is nowhere to complain.
func (s *spool) write() {
	defer close(s.done)
	for line := range s.lines {
		if _, err := s.out.Write(line); err != nil {
			s.dropped.Add(1)
		}
	}
}

// Write queues a copy of p. It never fails.
func (s *spool) Write(p []byte) (int, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		s.dropped.Add(1)
		return len(p), nil
	}
	select {
	case s.lines <- append([]byte(nil), p...):
	default:
		s.dropped.Add(1)
	}
	return len(p), nil
}

// close takes no more lines and waits for those queued, until ctx is done.
func (s *spool) close(ctx context.Context) {
	s.mu.Lock()
	if !s.closed {
		s.closed = true
		close(s.lines)
	}
	s.mu.Unlock()
	select {
	case <-s.done:
	case <-ctx.Done():
	}
}
