package l4

import (
	"runtime"
	"time"

	"culvert/l4/socket"
	"culvert/sniff"
)

// quantum is the bytes that a flow may move before the other connections are
// looked at; the read or splice that crosses it is finished, which a big pipe
// makes up to 1 MiB. Longer ones made the latency of small messages
// beside a bulk stream four times worse.
const quantum = 256 << 10

// bufferSize is the loop's one read buffer. A smaller one makes responses of
// 64 KiB half as dear again.
const bufferSize = 64 << 10

// loop is an event loop: one goroutine, one epoll set, and the connections
// that live and die in it. Nothing in it is locked but the mailbox and the
// counters.
type loop struct {
	eng       *Engine
	phases    *phaseTable
	id        int
	poll      *socket.Poller
	now       time.Duration // read once an iteration
	iteration uint32

	conns []*conn  // by slot
	empty []uint32 // free slots
	spare []*conn  // recycled connections
	gone  []*conn  // finished in this iteration: their slots are reused after it
	live  int
	seq   uint64

	ready   []ref // connections whose quantum was used up with work left
	serving []ref // the part of ready that is being served
	stuck   []stuckPipe

	fine, coarse wheel
	housekeeping housekeeping

	accepters []*accepter
	pipes     pipePool
	searches  []*search // spare ones
	names     interner
	hello     sniff.Hello
	record    Record
	early     []earlyWrite // by server
	buf       []byte
	counters  counters
	busy      int // iterations since the goroutine last waited

	mail     mailbox
	draining bool
	stopped  bool
}

// run runs the loop until it is stopped. One iteration: wait, serve the events, the timers
// and the connections left over from earlier iterations, and only then reuse the
// slots of those that ended, so that no event of the batch can reach a new
// connection.
func (l *loop) run() {
	for !l.stopped {
		n := l.wait()
		l.iteration++
		l.now = l.eng.now()
		for i := 0; i < n && !l.stopped; i++ {
			l.event(l.poll.Event(i))
		}
		if l.stopped {
			break // abandoned: what else happened is for another process
		}
		l.fine.expire(l.now, l.expired)
		l.coarse.expire(l.now, l.expired)
		l.doHousekeeping()
		l.serveReady()
		l.recycle()
	}
	l.close()
}

// close frees what the loop itself holds. Mail that came too late is read
// all the same: its senders may be waiting.
func (l *loop) close() {
	for _, a := range l.accepters {
		a.close()
	}
	l.pipes.closeAll()
	l.mail.Lock()
	l.mail.closed = true
	l.mail.Unlock()
	l.readMail()
	l.poll.Close()
}

// wait returns how many events there are. With work left over it only looks.
// A loop that never waits starves a parked one, because no thread is left to
// watch Go's network poller: so it yields on the 4th busy iteration and on every
// 32nd, which wakes a thread that does.
func (l *loop) wait() int {
	if len(l.ready) > 0 {
		l.yield()
		return l.poll.Poll()
	}
	n, parked := l.poll.Wait(l.deadline())
	if parked {
		l.busy = 0
		return n
	}
	l.yield()
	return n
}

func (l *loop) yield() {
	l.busy++
	if l.busy == 4 || l.busy%32 == 0 {
		runtime.Gosched()
	}
}

// Events of an accepter carry acceptGen where a connection has its
// generation, which never gets there.
const acceptGen = 1<<32 - 1

func (l *loop) event(ev socket.Event, woken bool) {
	if woken {
		l.readMail()
		return
	}
	gen, low := uint32(ev.Data>>32), uint32(ev.Data)
	if gen == acceptGen {
		l.accept(l.accepters[low])
		return
	}
	c := l.conns[low>>1]
	if c == nil || c.gen != gen || c.phase == phaseGone {
		return
	}
	s := side(low & 1)
	if s == server && c.dialIteration == l.iteration {
		return // of the server that was left in this turn
	}
	c.note(s, ev.Flags)
	l.advance(c)
}

// advance does what can be done for c now.
func (l *loop) advance(c *conn) {
	if f := l.spec(c).event; f != nil {
		f(l, c)
	}
}

// later puts c in the ready list.
func (l *loop) later(c *conn) {
	if !c.queued {
		c.queued = true
		l.ready = append(l.ready, c.ref())
	}
}

// serveReady gives each connection of the ready list one quantum. Those that
// are still not done queue for the next.
func (l *loop) serveReady() {
	l.ready, l.serving = l.serving[:0], l.ready
	for _, r := range l.serving {
		if c := r.alive(); c != nil {
			c.queued = false
			l.advance(c)
		}
	}
	clear(l.serving)
}
