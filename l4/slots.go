package l4

// ref is a connection that may be gone, and its slot's next tenant there,
// when the ref is looked at.
type ref struct {
	c   *conn
	gen uint32
}

func (c *conn) ref() ref { return ref{c, c.gen} }

// alive returns the connection, or nil if it ended.
func (r ref) alive() *conn {
	if r.c.gen != r.gen || r.c.phase == phaseGone {
		return nil
	}
	return r.c
}

// maxSpare is how many recycled connections a loop keeps. What a peak left
// beyond it goes to the garbage collector.
const maxSpare = 1024

// admit gives a new connection its slot.
func (l *loop) admit() *conn {
	c := l.newConn()
	if n := len(l.empty); n > 0 {
		c.slot, l.empty = l.empty[n-1], l.empty[:n-1]
	} else {
		c.slot = uint32(len(l.conns))
		l.conns = append(l.conns, nil)
	}
	l.conns[c.slot] = c
	l.seq++
	l.live++
	c.gen = uint32(l.seq % acceptGen)
	c.id = l.seq*uint64(len(l.eng.loops)) + uint64(l.id)
	c.ends = [2]end{noEnd, noEnd}
	c.start, c.active = l.now, l.now
	return c
}

// newConn returns a recycled connection, or a new one.
func (l *loop) newConn() *conn {
	n := len(l.spare)
	if n == 0 {
		return new(conn)
	}
	c := l.spare[n-1]
	l.spare = l.spare[:n-1]
	return c
}

// recycle frees the slots of the connections that ended in this turn.
func (l *loop) recycle() {
	for i, c := range l.gone {
		l.conns[c.slot] = nil
		l.empty = append(l.empty, c.slot)
		*c = conn{phase: phaseGone}
		if len(l.spare) < maxSpare {
			l.spare = append(l.spare, c)
		}
		l.gone[i] = nil
	}
	l.gone = l.gone[:0]
	if l.draining && l.live == 0 {
		l.stopped = true
	}
}
