package spool

import (
	"bytes"
	"fmt"
	"slices"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

func TestQueueIsBoundedAndInOrder(t *testing.T) {
	q := NewQueue[int](3)
	for i := range 5 { // also across the end of the ring
		for n := range 4 {
			n += 10 * i
			q.Add(&n)
		}
		var got []int
		for n := 0; q.Take(&n); {
			got = append(got, n)
		}
		if want := []int{10 * i, 10*i + 1, 10*i + 2}; !slices.Equal(got, want) {
			t.Errorf("round %d: took %v, want %v", i, got, want)
		}
	}
	if got := q.Dropped(); got != 5 {
		t.Errorf("dropped %d, want 5", got)
	}
}

// limited takes a number of bytes of its first write and fails then, and takes
// all of the later ones.
type limited struct {
	take int
	out  bytes.Buffer
}

func (l *limited) Write(p []byte) (int, error) {
	n := min(l.take, len(p))
	l.take = 1 << 20
	l.out.Write(p[:n])
	if n < len(p) {
		return n, syscall.ENOSPC
	}
	return n, nil
}

// Elements of two lines, three of them in one write of 12 bytes that fails
// after some: what is whole counts, and a line cut off is ended before the next
// element.
func TestWriteCutOff(t *testing.T) {
	for _, tt := range []struct {
		name    string
		take    int
		dropped uint64
		want    string
	}{
		{"before the first element", 0, 3, ""},
		{"within a line", 5, 2, "0\n0\n1\n"},
		{"between the lines of an element", 6, 2, "0\n0\n1\n\n"},
		{"after an element", 8, 1, "0\n0\n1\n1\n"},
		{"nowhere", 12, 0, "0\n0\n1\n1\n2\n2\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			out := &limited{take: tt.take}
			var reports []string
			w := &writer[int]{queue: NewQueue[int](3), out: out, opts: Options[int]{
				Batch:  1 << 10,
				Format: func(b *bytes.Buffer, n *int) { fmt.Fprintf(b, "%d\n%d\n", *n, *n) },
				Report: func(err error, lost uint64) { reports = append(reports, fmt.Sprintf("%v, %d lost", err, lost)) },
			}}
			for n := range 3 {
				w.queue.Add(&n)
			}
			w.drain()
			if got := w.queue.Dropped(); got != tt.dropped {
				t.Errorf("dropped %d, want %d", got, tt.dropped)
			}
			n := 9
			w.queue.Add(&n)
			w.drain()
			if got, want := out.out.String(), tt.want+"9\n9\n"; got != want {
				t.Errorf("wrote %q, want %q", got, want)
			}
			var want []string
			if tt.dropped > 0 {
				want = []string{
					fmt.Sprintf("%v, %d lost", syscall.ENOSPC, tt.dropped),
					fmt.Sprintf("<nil>, %d lost", tt.dropped),
				}
			}
			if !slices.Equal(reports, want) {
				t.Errorf("reports %q, want %q", reports, want)
			}
		})
	}
}

// sizes notes the size of each Write.
type sizes struct {
	mu  sync.Mutex
	all []int
}

func (s *sizes) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = append(s.all, len(p))
	return len(p), nil
}

func (s *sizes) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return fmt.Sprint(s.all)
}

func TestGatherAndBatchBoundWrites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const gather = 20 * time.Millisecond
		var out sizes
		s := Start(&out, Options[int]{
			Queue: 10, Gather: gather, Batch: 5,
			Format: func(b *bytes.Buffer, n *int) { fmt.Fprintln(b, *n) },
		})
		for n := range 4 {
			s.Add(&n)
			synctest.Wait()
		}
		if got := out.String(); got != "[]" {
			t.Errorf("wrote %v bytes before %v were over", got, gather)
		}
		time.Sleep(gather) // of the bubble's clock
		synctest.Wait()
		if got, want := out.String(), "[6 2]"; got != want {
			t.Errorf("wrote %v bytes, want %v: three elements reach the batch", got, want)
		}
		closeSpool(t, s)
	})
}
