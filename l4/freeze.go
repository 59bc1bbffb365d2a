package l4

import (
	"sync"

	"culvert/l4/socket"
)

// Frozen is an Engine that is stopped between two events: nothing is accepted,
// read or written, and no connection ends. Events wait in the kernel. Exactly one
// call of Thaw or Leave must follow.
type Frozen struct {
	eng    *Engine
	decide chan struct{}
	leave  bool // read after decide is closed
	ended  sync.WaitGroup
}

// Freeze stops e between two events, so that another process can take its
// connections over. Listeners that are not in keep, by Key, are emptied first:
// what waits in their accept queues becomes connections. Freeze fails when e is stopping.
// No Reload and no Shutdown begins before Thaw or Leave.
func (e *Engine) Freeze(keep map[string]bool) (*Frozen, error) {
	e.reloading.Lock()
	if e.stopping.Load() {
		e.reloading.Unlock()
		return nil, ErrStopped
	}
	f := &Frozen{eng: e, decide: make(chan struct{})}
	var still sync.WaitGroup
	for _, l := range e.loops {
		still.Add(1)
		f.ended.Add(1)
		l.post(func(l *loop) {
			l.emptyQueues(keep)
			still.Done()
			<-f.decide
			if f.leave {
				l.abandon()
			}
			f.ended.Done()
		})
	}
	still.Wait()
	return f, nil
}

// emptyQueues accepts what waits on listeners that keep does not have.
func (l *loop) emptyQueues(keep map[string]bool) {
	for _, a := range l.accepters {
		if !a.closed && !keep[a.cfg.Key()] {
			for l.accept(a) {
			}
		}
	}
}

// Thaw makes the engine continue as before Freeze.
func (f *Frozen) Thaw() { f.end(false) }

// Leave stops the engine without closing or logging its connections, which
// another process has. Connections that handlers serve stay; Leave returns their
// number, and Shutdown waits for them. Otherwise only Stats may be used
// afterwards.
func (f *Frozen) Leave() int {
	f.eng.stopping.Store(true)
	f.end(true)
	if n := int(f.eng.active.Load()); n > 0 {
		return n
	}
	f.eng.done.Wait()
	return 0
}

func (f *Frozen) end(leave bool) {
	f.leave = leave
	close(f.decide)
	f.ended.Wait()
	f.eng.reloading.Unlock()
}

// LastID returns the ID of the newest connection that there was.
func (f *Frozen) LastID() uint64 {
	last := uint64(0)
	for _, l := range f.eng.loops {
		last = max(last, l.seq*uint64(len(f.eng.loops))+uint64(l.id))
	}
	return last
}

// abandon closes the descriptors of all connections, which stay open in
// another process, and ends the loop, or lets it go on for the connections
// that handlers have.
func (l *loop) abandon() {
	stay := 0
	for _, c := range l.conns {
		switch {
		case c == nil || c.phase == phaseGone:
		case !l.phases.handedOver(c.phase):
			stay++
		default:
			l.closeHere(c)
		}
	}
	l.leaveListeners() // also where nothing is left: Leave returns before the loop has ended
	l.stopped = stay == 0
}

// closeHere closes c in this process only. What is open elsewhere would go on to
// raise events here if it stayed in the epoll set (epoll(7)).
func (l *loop) closeHere(c *conn) {
	c.phase = phaseGone
	c.timer.remove()
	l.dropFlow(c, client)
	l.dropFlow(c, server)
	for s := range c.ends {
		if e := &c.ends[s]; e.fd >= 0 {
			if e.watched {
				l.poll.Del(int(e.fd))
			}
			socket.Close(int(e.fd))
			*e = noEnd
		}
	}
	if c.server != nil {
		c.server.Release()
	}
	l.eng.unreserve(c.from.shared)
	l.live--
	l.gone = append(l.gone, c)
}

// leaveListeners leaves the listeners to the other process too, and has the loop end
// with its last connection.
func (l *loop) leaveListeners() {
	for _, a := range l.accepters {
		if !a.closed {
			l.poll.Del(a.sock.FD())
			a.close()
		}
	}
	l.housekeeping.accept = 0
	l.draining = true
}

// Sockets returns the listening descriptors by Listener.Key. They stay the
// engine's.
func (e *Engine) Sockets() map[string][]int {
	parts := make([]map[string][]int, len(e.loops))
	e.each(func(l *loop) {
		parts[l.id] = map[string][]int{}
		for _, a := range l.accepters {
			if !a.closed {
				parts[l.id][a.cfg.Key()] = append(parts[l.id][a.cfg.Key()], a.sock.FD())
			}
		}
	})
	all := map[string][]int{}
	for _, p := range parts {
		for key, fds := range p {
			all[key] = append(all[key], fds...)
		}
	}
	return all
}
