package l4

import (
	"sync/atomic"

	"culvert/l4/socket"
)

// pipeBudget bounds the pipes of all loops: their number by the fd limit,
// their bytes by what the kernel grants an unprivileged user
// (fs.pipe-user-pages-soft, 64 MiB), past which every pipe shrinks to 8 KiB
// and splicing costs as much as copying.
type pipeBudget struct {
	maxPipes, maxBytes int64 // maxBytes 0: no bound
	pipes, bytes       atomic.Int64
}

// take reserves a pipe of size bytes.
func (b *pipeBudget) take(size int) bool {
	if b.pipes.Add(1) > b.maxPipes {
		b.pipes.Add(-1)
		return false
	}
	if n := b.bytes.Add(int64(size)); b.maxBytes > 0 && n > b.maxBytes {
		b.release(size)
		return false
	}
	return true
}

func (b *pipeBudget) release(size int) {
	b.pipes.Add(-1)
	b.bytes.Add(-int64(size))
}

// scarce reports that more than half of the pipes are in use.
func (b *pipeBudget) scarce() bool {
	return b.pipes.Load() > b.maxPipes/2 || b.maxBytes > 0 && b.bytes.Load() > b.maxBytes/2
}

// pipePool is a loop's own stock of empty pipes. No pipe moves between loops.
type pipePool struct {
	budget     *pipeBudget
	small, big shelf
	dry        bool // the kernel gave none of full size; asked again after a sweep
}

// shelf is the stock of empty pipes of one size.
type shelf struct {
	size  int
	pipes []*socket.Pipe
	idle  int // fewest in stock since the last sweep: so many were not needed
}

func newPipePool(b *pipeBudget) pipePool {
	return pipePool{budget: b, small: shelf{size: smallPipe}, big: shelf{size: bigPipe}}
}

func (p *pipePool) scarce() bool { return p.budget.scarce() }

// get returns an empty small pipe, or nil when there is none to be had: the
// flow then copies, which always works.
func (p *pipePool) get() *socket.Pipe {
	if pipe := p.small.take(); pipe != nil {
		return pipe
	}
	return p.open(&p.small)
}

// getBig returns an empty big pipe, or a small one when pipes are scarce.
func (p *pipePool) getBig() *socket.Pipe {
	if pipe := p.big.take(); pipe != nil {
		return pipe
	}
	if !p.scarce() {
		if pipe := p.open(&p.big); pipe != nil {
			return pipe
		}
	}
	return p.get()
}

// take takes a pipe off the shelf, nil when it is empty.
func (s *shelf) take() *socket.Pipe {
	n := len(s.pipes) - 1
	if n < 0 {
		return nil
	}
	pipe := s.pipes[n]
	s.pipes = s.pipes[:n]
	s.idle = min(s.idle, n)
	return pipe
}

// open makes a new pipe for s, if the budget and the kernel allow it.
func (p *pipePool) open(s *shelf) *socket.Pipe {
	if p.dry || !p.budget.take(s.size) {
		return nil
	}
	pipe, e := socket.NewPipe(s.size)
	if e == 0 && pipe.Size() >= s.size {
		return pipe
	}
	if e == 0 { // the user's pages are used up, by this process or another
		pipe.Close()
	}
	p.budget.release(s.size)
	p.dry = s == &p.small // a big one may be more than fs.pipe-max-size
	return nil
}

// shelfOf returns where pipe came from.
func (p *pipePool) shelfOf(pipe *socket.Pipe) *shelf {
	if pipe.Size() >= bigPipe {
		return &p.big
	}
	return &p.small
}

// put takes a pipe back. One that is not empty can never be used again.
func (p *pipePool) put(pipe *socket.Pipe) {
	s := p.shelfOf(pipe)
	if pipe.Len > 0 {
		pipe.Close()
		p.budget.release(s.size)
		return
	}
	s.pipes = append(s.pipes, pipe)
}

// sweep closes the pipes that stayed in stock since the last sweep and
// reports whether any are left.
func (p *pipePool) sweep() bool {
	p.dry = false
	p.sweepShelf(&p.small)
	p.sweepShelf(&p.big)
	return len(p.small.pipes)+len(p.big.pipes) > 0
}

func (p *pipePool) sweepShelf(s *shelf) {
	for range s.idle {
		s.take().Close()
		p.budget.release(s.size)
	}
	s.idle = len(s.pipes)
}

func (l *loop) sweepPipes() {
	if l.pipes.sweep() {
		l.housekeeping.sweep.set(l.now + sweepEvery)
	}
}

// closeAll empties the stock.
func (p *pipePool) closeAll() {
	for range 2 { // the first makes every pipe an idle one
		p.sweep()
	}
}
