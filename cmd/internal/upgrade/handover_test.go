package upgrade

import (
	"bytes"
	"errors"
	"fmt"
	"iter"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"culvert/l4"
)

// both is the two sides of a handover in one process.
type both struct {
	old *Giver
	new *Taker
}

// newBoth returns sides that greet each other as processes would. Killing the
// new one closes its end of the link, as the kernel does. The test fails when
// it leaves a descriptor open.
func newBoth(t testing.TB) both {
	t.Helper()
	tidy(t)
	a, b := pair(t)
	c := &child{pid: os.Getpid(), dead: make(chan struct{}), how: "signal: killed"}
	c.kill = sync.OnceFunc(func() {
		_ = b.conn.Close()
		close(c.dead)
	})
	return both{newGiver(a, c), newTaker(b)}
}

// die ends the old process.
func (p *both) die() { _ = p.old.link.conn.Close() }

// tidy fails the test when descriptors are open at its end that were not at
// its beginning. Those of Go's poller come with the first socket, and stay.
func tidy(t testing.TB) {
	t.Helper()
	if c, err := net.ListenUnix("unix", nil); err == nil {
		_ = c.Close()
	}
	before := openFDs(t)
	t.Cleanup(func() {
		if n := openFDs(t); n != before {
			t.Errorf("%d descriptors are left open", n-before)
		}
	})
}

// null is a descriptor to hand over.
func null(t testing.TB) int {
	t.Helper()
	fd, err := syscall.Open("/dev/null", syscall.O_RDWR|syscall.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Close(fd) })
	return fd
}

// conns are n connections whose descriptors are all fd, each with as many bytes
// kept as given.
func conns(n, fd, kept int) (all []*l4.Handover) {
	for i := range n {
		h := &l4.Handover{ID: uint64(i + 1), Listener: "127.0.0.1:443"}
		h.Ends[0].Open = true
		h.Ends[1].Open = i%3 != 2 // now and then one that has no server yet
		h.SetFDs([]int{fd, fd}[:len(h.FDs())])
		h.Flows[1].Pending = bytes.Repeat([]byte{byte(i)}, kept)
		all = append(all, h)
	}
	return all
}

// hand is the old process's part, to its end.
func (p *both) hand(o Offer, sockets map[string][]int, conns iter.Seq[*l4.Handover], lastID uint64) (keep map[string]bool, n int, err error) {
	if keep, err = p.old.Offer(o, sockets); err == nil {
		if n, err = p.old.Give(conns); err == nil {
			err = p.old.Commit(lastID)
		}
	}
	if err != nil {
		p.old.Abort()
	}
	return keep, n, err
}

// heir is a new process that takes everything, and closes it.
type heir struct {
	taker   *Taker
	sockets map[string]int // how many came with each key
	ids     []uint64
	kept    int
	taken   int
	refused []error
	err     error
	done    chan struct{}
}

// inherits starts the new process's part.
func (p *both) inherits(keep ...string) *heir {
	h := &heir{taker: p.new, sockets: map[string]int{}, done: make(chan struct{})}
	go func() {
		defer close(h.done)
		if h.err = h.taker.greet(); h.err == nil {
			h.closeSockets()
			h.taken, h.refused, h.err = h.taker.Take(keep, h.take)
		}
		if h.err != nil {
			h.taker.Fail(h.err)
		}
	}()
	return h
}

func (h *heir) closeSockets() {
	for key, fds := range h.taker.Offer.Sockets() {
		h.sockets[key] = len(fds)
		closeAll(fds)
	}
}

// take refuses every hundredth connection.
func (h *heir) take(c *l4.Handover) error {
	closeAll(c.FDs())
	h.ids = append(h.ids, c.ID)
	h.kept += len(c.Flows[1].Pending)
	if c.ID%100 == 0 {
		return fmt.Errorf("connection %d is refused", c.ID)
	}
	return nil
}

func (h *heir) wait(t testing.TB) {
	t.Helper()
	select {
	case <-h.done:
	case <-time.After(20 * time.Second):
		t.Fatal("the new process does not come to an end")
	}
}

func TestHandover(t *testing.T) {
	tests := []struct {
		name    string
		sockets int // of one listener
		conns   int
		kept    int // bytes of each
	}{
		{"nothing", 0, 0, 0},
		{"one connection", 2, 1, 100},
		{"a full batch", 1, 126, 0},
		{"one more than a batch", 1, 127, 0},
		{"several batches", 1, 1000, 10},
		{"a large connection", 1, 1, 8 << 20},
		{"many large connections", 1, 20, 2 << 20},
		{"more sockets than a message carries", 600, 3, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p, fd := newBoth(t), null(t)
			sockets := map[string][]int{"admin": {fd}, "127.0.0.1:443": slices.Repeat([]int{fd}, tt.sockets)}
			h := p.inherits("127.0.0.1:443")
			keep, n, err := p.hand(Offer{Clock: time.Hour}, sockets, slices.Values(conns(tt.conns, fd, tt.kept)), 4711)
			h.wait(t)
			if err := errors.Join(err, h.err); err != nil || h.taker.Orphaned {
				t.Fatalf("orphaned: %v, %v", h.taker.Orphaned, err)
			}
			if n != tt.conns || h.taken+len(h.refused) != n || len(h.refused) != n/100 || h.kept != n*tt.kept {
				t.Errorf("%d handed over, %d taken with %d bytes, %v, want %d", n, h.taken, h.kept, h.refused, tt.conns)
			}
			if h.sockets["admin"] != 1 || h.sockets["127.0.0.1:443"] != tt.sockets || !keep["127.0.0.1:443"] || keep["admin"] {
				t.Errorf("sockets %v, kept %v", h.sockets, keep)
			}
			if h.taker.LastID != 4711 || h.taker.Offer.Clock != time.Hour || !slices.IsSorted(h.ids) {
				t.Errorf("last ID %d, clock %s, IDs %v", h.taker.LastID, h.taker.Offer.Clock, h.ids)
			}
		})
	}
}

// TestOfferKeepsFilesApart: a socket comes out under the key that it went in
// with.
func TestOfferKeepsFilesApart(t *testing.T) {
	p := newBoth(t)
	want := map[string][]int{}
	for i := range 20 {
		f, err := os.CreateTemp(t.TempDir(), "")
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		key := fmt.Sprint(i % 5)
		_, _ = f.WriteString(key)
		want[key] = append(want[key], int(f.Fd()))
	}
	failed := make(chan error, 1)
	go func() {
		_, err := p.old.Offer(Offer{}, want)
		failed <- err
	}()
	if err := p.new.greet(); err != nil {
		t.Fatal(err)
	}
	for key, fds := range p.new.Offer.Sockets() {
		for _, fd := range fds {
			b := make([]byte, 9)
			if n, err := syscall.Pread(fd, b, 0); string(b[:max(n, 0)]) != key {
				t.Errorf("socket %q came as one of %q, %v", b[:max(n, 0)], key, err)
			}
		}
		if len(fds) != len(want[key]) {
			t.Errorf("%d sockets of %s, want %d", len(fds), key, len(want[key]))
		}
		closeAll(fds)
	}
	p.new.Fail(errors.New("no port is free"))
	if err := <-failed; err == nil || err.Error() != "the new process: no port is free" {
		t.Errorf("the old process was told %v", err)
	}
	p.old.Abort()
}

// TestPatience: who waits for a process that says nothing gives up.
func TestPatience(t *testing.T) {
	const short = 20 * time.Millisecond
	t.Run("for the new one to greet", func(t *testing.T) {
		p := newBoth(t)
		p.old.ready = short
		if _, err := p.old.Offer(Offer{}, nil); err == nil || !strings.Contains(err.Error(), "took too long") {
			t.Errorf("error %v", err)
		}
	})
	t.Run("for the new one to take", func(t *testing.T) {
		p := newBoth(t)
		p.old.transfer = short
		if _, err := p.old.Give(slices.Values(conns(1, null(t), 0))); err == nil || !strings.Contains(err.Error(), "took too long") {
			t.Errorf("error %v", err)
		}
	})
	t.Run("for the new one to serve", func(t *testing.T) {
		p := newBoth(t)
		p.old.transfer = short
		if err := p.old.Commit(7); err == nil || !strings.Contains(err.Error(), "took too long") {
			t.Errorf("error %v", err)
		}
		select {
		case <-p.old.child.dead:
		default:
			t.Error("the new process lives, and may serve")
		}
	})
	t.Run("for the old one", func(t *testing.T) {
		p := newBoth(t)
		p.new.patience = short
		_, _, err := p.new.Take(nil, func(*l4.Handover) error { return nil })
		if !errors.Is(err, os.ErrDeadlineExceeded) || p.new.Orphaned {
			t.Errorf("orphaned: %v, error %v, want one that forbids to serve", p.new.Orphaned, err)
		}
	})
}

// TestPatienceIsForEachStep: a handover as a whole may take longer than a side
// waits for the other.
func TestPatienceIsForEachStep(t *testing.T) {
	p, fd := newBoth(t), null(t)
	p.new.patience = time.Second
	h := p.inherits()
	slowly := func(yield func(*l4.Handover) bool) {
		for _, c := range conns(5*batchFDs, fd, 0) {
			if c.ID%batchFDs == 0 {
				time.Sleep(p.new.patience / 3) // what is slow is the old process's work
			}
			if !yield(c) {
				return
			}
		}
	}
	_, _, err := p.hand(Offer{}, nil, slowly, 0)
	h.wait(t)
	if err := errors.Join(err, h.err); err != nil {
		t.Error(err)
	}
}
