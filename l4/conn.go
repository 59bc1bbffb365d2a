package l4

import (
	"cmp"
	"net/netip"
	"time"

	"culvert/balancer"
	"culvert/l4/socket"
)

// side indexes the two ends of a connection and, as the source of the bytes,
// its two flows: flows[client] is up, flows[server] is down.
type side uint8

const (
	client side = 0
	server side = 1
)

func (s side) other() side { return 1 - s }

func (s side) party() Party { return Client + Party(s) }

// conn is one client's connection. It belongs to one loop for life, and only
// that loop's goroutine touches it. It is small on purpose: an idle connection
// is this struct and two descriptors.
type conn struct {
	timer timer
	ends  [2]end
	flows [2]flow

	phase  phase
	first  Party // the side that ended first; Culvert: none has
	tls    bool  // a hello was read: a server must answer it
	waits  bool  // counted by the engine's limit of waiting hellos
	queued bool  // in the loop's ready list
	header bool  // a PROXY header is still to come
	old    bool  // lived for settleAfter: the server's socket has all its options

	slot, gen     uint32 // its place in the loop's table, and the generation of that place
	helloAt       micros // since start; 0: not reached
	connectAt     micros
	firstAt       micros
	dialIteration uint32 // the loop's iteration in which the present server was dialed

	id     uint64
	start  time.Duration // accept
	active time.Duration // the last byte moved, or the last change of phase

	from    *accepter
	route   *Route
	pool    *Pool
	server  *balancer.Server // nil: none reserved
	search  *search          // until the first byte of a server
	past    *past            // nil: no attempt failed
	handled *Handled         // by a Handler, which has the client's socket
	ending  *ending          // set once the end is decided: by a broken server, while lingering, in awaitAck

	client netip.AddrPort
	local  *netip.AddrPort // where the client connected to, if a PROXY header said so
	name   string
	alpn   string
}

// end is one of the two sockets.
type end struct {
	fd       int32 // -1: closed
	watched  bool  // in the epoll set
	out      bool  // OUT is part of what is watched; stays so once it was needed
	readable bool  // an event says so, and no read has said otherwise
	blocked  bool  // a write met a full socket; OUT will clear it
	fin      bool  // RDHUP: the peer's FIN is in the receive queue
	hup      bool  // ERR or HUP: no shortcut about the end of the stream
	err      bool  // ERR: a pending error
	urgent   bool  // urgent data was seen, for good
	unix     bool  // a unix socket
	broken   bool  // reset, or given up by the kernel: bytes to it are lost
}

var noEnd = end{fd: -1}

// shortMeansEmpty reports whether a read(2) of less than was asked for has
// emptied the socket. Not after a reset, whose data comes first; not after
// urgent data, at whose mark a read stops; and not on a unix socket, where it
// stops behind a message that carried descriptors (unix(7)).
func (e *end) shortMeansEmpty() bool { return !e.hup && !e.urgent && !e.unix }

// ending is the end that is still to be carried out.
type ending struct {
	by        Party
	reason    Reason
	until     time.Duration
	discarded int
}

// micros is a duration in microseconds from accept, cut at 71 minutes.
type micros uint32

func (c *conn) since(now time.Duration) micros {
	return micros(max(1, min((now-c.start).Microseconds(), 1<<32-1)))
}

// duration is negative when the step was not reached.
func (m micros) duration() time.Duration {
	if m == 0 {
		return -1
	}
	return time.Duration(m) * time.Microsecond
}

// note takes down what an event says about end s.
func (c *conn) note(s side, flags uint32) {
	e := &c.ends[s]
	if flags&(socket.In|socket.RdHup|socket.Hup|socket.Error) != 0 {
		e.readable = true
	}
	if flags&(socket.Out|socket.Hup|socket.Error) != 0 {
		e.blocked = false
	}
	e.fin = e.fin || flags&socket.RdHup != 0
	e.hup = e.hup || flags&(socket.Hup|socket.Error) != 0
	e.err = e.err || flags&socket.Error != 0
	e.urgent = e.urgent || flags&socket.Pri != 0
}

// tag is the Data of the events of end s.
func (c *conn) tag(s side) uint64 {
	return uint64(c.gen)<<32 | uint64(c.slot)<<1 | uint64(s)
}

var defaultSession = Session{
	IdleTimeout:      DefaultIdleTimeout,
	HalfCloseTimeout: DefaultHalfCloseTimeout,
	Lifetime:         Off,
	KeepHalfClose:    SwitchOn,
}

// or fills what s leaves open from outer.
func (s Session) or(outer Session) Session {
	return Session{
		IdleTimeout:      cmp.Or(s.IdleTimeout, outer.IdleTimeout),
		HalfCloseTimeout: cmp.Or(s.HalfCloseTimeout, outer.HalfCloseTimeout),
		Lifetime:         cmp.Or(s.Lifetime, outer.Lifetime),
		KeepHalfClose:    cmp.Or(s.KeepHalfClose, outer.KeepHalfClose),
	}
}

// session is what holds for a connection whose pool is known.
func (c *conn) session() Session {
	s := c.from.cfg.Session
	if c.pool != nil {
		s = c.pool.Session.or(s)
	}
	return s.or(defaultSession)
}
