package spool

import (
	"sync"
	"sync/atomic"
)

// Queue is a bounded queue whose producers never wait: elements that find it
// full or closed are dropped and counted. Its methods are safe for concurrent
// use.
type Queue[E any] struct {
	wake    chan struct{} // capacity 1: a token tells the consumer to look
	closing chan struct{} // closed by Close
	dropped atomic.Uint64

	mu     sync.Mutex // guards the fields below; nothing blocks under it
	ring   []E
	head   int
	count  int
	closed bool
}

// NewQueue returns a queue that holds size elements, at least 1.
func NewQueue[E any](size int) *Queue[E] {
	return &Queue[E]{
		wake:    make(chan struct{}, 1),
		closing: make(chan struct{}),
		ring:    make([]E, max(size, 1)),
	}
}

// Add queues a copy of *e, or drops it. It does not allocate.
func (q *Queue[E]) Add(e *E) {
	switch q.push(e) {
	case dropped:
		q.dropped.Add(1)
	case first:
		select {
		case q.wake <- struct{}{}:
		default: // a token is there already
		}
	}
}

// pushed is the outcome of push.
type pushed uint8

const (
	queued  pushed = iota
	first          // queued, and the queue was empty: the consumer may sleep
	dropped        // no room
)

func (q *Queue[E]) push(e *E) pushed {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.count == len(q.ring) || q.closed {
		return dropped
	}
	i := q.head + q.count
	if i >= len(q.ring) {
		i -= len(q.ring)
	}
	q.ring[i] = *e
	q.count++
	if q.count > 1 {
		return queued
	}
	return first
}

// Take moves the oldest element to *e. It returns false, at once, when there
// is none.
func (q *Queue[E]) Take(e *E) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.count == 0 {
		return false
	}
	var none E
	*e, q.ring[q.head] = q.ring[q.head], none // the ring must not keep it reachable
	q.head++
	if q.head == len(q.ring) {
		q.head = 0
	}
	q.count--
	return true
}

// Dropped returns how many elements were added and will not be taken, plus
// those that a Spool took and its output did not.
func (q *Queue[E]) Dropped() uint64 { return q.dropped.Load() }

// close drops everything that is added from now on. What is queued can still
// be taken.
func (q *Queue[E]) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.closed {
		q.closed = true
		close(q.closing)
	}
}
