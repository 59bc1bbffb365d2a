package l4

import (
	"culvert/l4/socket"
)

// watchFlags are watched from the start. OUT joins them when a write is first
// blocked, and then stays: the kernel raises no event for it before a write
// was refused.
const watchFlags = socket.In | socket.RdHup | socket.Pri | socket.Edge

// watch puts end s in the epoll set, once. It reports false when the kernel
// has no memory for it, or no room (fs.epoll.max_user_watches).
func (l *loop) watch(c *conn, s side) bool {
	e := &c.ends[s]
	if e.watched {
		return true
	}
	if l.poll.Add(int(e.fd), watchFlags, c.tag(s)) != 0 {
		return false
	}
	e.watched = true
	return true
}

// watchOut makes sure that end s reports when it can be written to.
func (l *loop) watchOut(c *conn, s side) bool {
	e := &c.ends[s]
	if e.out {
		return true
	}
	control := l.poll.Add
	if e.watched {
		control = l.poll.Mod
	}
	if control(int(e.fd), watchFlags|socket.Out, c.tag(s)) != 0 {
		return false
	}
	e.watched, e.out = true, true
	return true
}
