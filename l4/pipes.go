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
	budget *pipeBudget
	small  []*socket.Pipe
	big    []*socket.Pipe
	idle   [2]int // fewest small and big pipes in stock since the last sweep
	dry    bool   // the kernel gave none of full size; asked again after a sweep
}

func (p *pipePool) scarce() bool { return p.budget.scarce() }

// get returns an empty pipe, or nil when there is none to be had: the flow
// then copies, which always works.
func (p *pipePool) get(big bool) *socket.Pipe {
	if big {
		if pipe := p.take(&p.big, 1, bigPipe); pipe != nil {
			return pipe
		}
	}
	return p.take(&p.small, 0, smallPipe)
}

func (p *pipePool) take(stock *[]*socket.Pipe, kind, size int) *socket.Pipe {
	if n := len(*stock); n > 0 {
		pipe := (*stock)[n-1]
		*stock = (*stock)[:n-1]
		p.idle[kind] = min(p.idle[kind], n-1)
		return pipe
	}
	if p.dry || (size == bigPipe && p.scarce()) || !p.budget.take(size) {
		return nil
	}
	pipe, e := socket.NewPipe(size)
	if e == 0 && pipe.Size() >= size {
		return pipe
	}
	if e == 0 { // the user's pages are used up, by this process or another
		pipe.Close()
	}
	p.budget.release(size)
	p.dry = size == smallPipe // a big one may be more than fs.pipe-max-size
	return nil
}

// put takes a pipe back. One that is not empty can never be used again.
func (p *pipePool) put(pipe *socket.Pipe) {
	switch {
	case pipe.Len > 0:
		p.close(pipe)
	case pipe.Size() >= bigPipe:
		p.big = append(p.big, pipe)
	default:
		p.small = append(p.small, pipe)
	}
}

func (p *pipePool) close(pipe *socket.Pipe) {
	size := smallPipe
	if pipe.Size() >= bigPipe {
		size = bigPipe
	}
	p.budget.release(size)
	pipe.Close()
}

// sweep closes the pipes that stayed in stock since the last sweep and
// reports whether any are left.
func (p *pipePool) sweep() bool {
	for kind, stock := range []*[]*socket.Pipe{&p.small, &p.big} {
		for range p.idle[kind] {
			n := len(*stock) - 1
			p.close((*stock)[n])
			*stock = (*stock)[:n]
		}
		p.idle[kind] = len(*stock)
	}
	p.dry = false
	return len(p.small)+len(p.big) > 0
}

func (l *loop) sweepPipes() {
	if l.pipes.sweep() {
		l.chores.sweep.set(l.now + sweepEvery)
	}
}

// closeAll empties the stock.
func (p *pipePool) closeAll() {
	for range 2 {
		p.sweep()
	}
}
