package l4

import (
	"iter"
	"net/netip"
	"time"
)

// Handover is a connection on its way from the old process to the new one: the
// state of its conn, except for what the new process can find out from the
// descriptors. Times are on the engine's clock, which the new process continues.
// Everything except the descriptors is plain data for an encoder. A field that is
// added, removed or renamed makes old and new processes refuse each other.
type Handover struct {
	ID     uint64
	Phase  uint8
	Ends   [2]HandoverEnd // client and server
	Flows  [2]HandoverFlow
	Search *HandoverSearch // nil: a server has answered
	Ending *HandoverEnding // nil: the end is not decided
	Tries  []Try           // attempts that failed

	TLS     bool
	Header  bool // a PROXY header is still to come
	Settled bool
	First   Party

	Hello, Connect, FirstByte uint32 // microseconds after Start; 0: not reached
	Start, Active             time.Duration

	Client       netip.AddrPort
	Local        netip.AddrPort // as a PROXY header said; invalid: none did
	ServerName   string
	ALPN         string
	Listener     string // Listener.Key
	ListenerName string
	Route        string // its label
	Pool         string
	Server       string // "" when none is dialed
	Address      string // of the server, as configured
	Target       string // the same, as dialed
	Session      Session

	fds [2]int // -1: none
}

// HandoverEnd is one of the two sockets.
type HandoverEnd struct{ Open, Blocked, Urgent, Unix, Broken bool }

// HandoverFlow is one direction. Pending are the bytes that were read and are not
// written yet.
type HandoverFlow struct {
	State   uint8
	Pending []byte
	Bytes   uint64
}

// HandoverSearch is what a connection has before a server answered.
type HandoverSearch struct {
	Hello                []byte
	Tried                []string // servers, by name
	Tries                int
	Picked, Since, Limit time.Duration
	SlotAt               time.Duration
	Replay               bool
	Why                  Reason
}

// HandoverEnding is an end that is decided and not carried out.
type HandoverEnding struct {
	By        Party
	Reason    Reason
	Until     time.Duration
	Discarded int
}

// FDs returns the descriptors that go with h, the client's first.
func (h *Handover) FDs() []int {
	var all []int
	for s, e := range h.Ends {
		if e.Open {
			all = append(all, h.fds[s])
		}
	}
	return all
}

// SetFDs gives h its descriptors in the next process. It reports false when
// there are not as many as h has open ends.
func (h *Handover) SetFDs(fds []int) bool {
	h.fds = [2]int{-1, -1}
	for s, e := range h.Ends {
		if !e.Open {
			continue
		}
		if len(fds) == 0 {
			return false
		}
		h.fds[s], fds = fds[0], fds[1:]
	}
	return len(fds) == 0
}

// Connections yields every connection that is to be handed over: all but those
// that a Handler has. A Handover is valid while f is frozen.
func (f *Frozen) Connections() iter.Seq[*Handover] {
	return func(yield func(*Handover) bool) {
		for _, l := range f.eng.loops {
			for _, c := range l.conns {
				if c != nil && l.phases.handedOver(c.phase) && !yield(l.handOver(c)) {
					return
				}
			}
		}
	}
}

// handOver describes c. What is in pipes moves to memory.
func (l *loop) handOver(c *conn) *Handover {
	h := &Handover{
		ID: c.id, Phase: uint8(c.phase), TLS: c.tls, Settled: c.old, First: c.first,
		Hello: uint32(c.helloAt), Connect: uint32(c.connectAt), FirstByte: uint32(c.firstAt),
		Start: c.start, Active: c.active, Client: c.client, ServerName: c.name, ALPN: c.alpn,
		Listener: c.from.cfg.Key(), ListenerName: c.from.cfg.Name,
	}
	for s := range c.ends {
		e := &c.ends[s]
		h.fds[s] = int(e.fd)
		h.Ends[s] = HandoverEnd{Open: e.fd >= 0, Blocked: e.blocked, Urgent: e.urgent, Unix: e.unix, Broken: e.broken}
		h.Flows[s] = l.handOverFlow(c, side(s))
	}
	h.Header = c.header
	if c.local != nil {
		h.Local = *c.local
	}
	if c.route != nil {
		h.Route = c.route.Label()
	}
	if c.pool != nil {
		h.Pool, h.Session = c.pool.Balancer.Name(), c.session()
	}
	if c.server != nil {
		h.Server, h.Address, h.Target = c.server.Name(), c.server.Address(), c.target().Addr().String()
	}
	if c.past != nil {
		h.Tries = c.past.tries
	}
	if b := c.ending; b != nil {
		h.Ending = &HandoverEnding{b.by, b.reason, b.until, b.discarded}
	}
	h.Search = c.handOverSearch()
	return h
}

func (l *loop) handOverFlow(c *conn, f side) HandoverFlow {
	fl := &c.flows[f]
	if fl.pipe != nil {
		l.emptyPipe(fl)
	}
	h := HandoverFlow{State: uint8(fl.state), Bytes: fl.bytes}
	if fl.pending != nil {
		h.Pending = fl.pending.b[fl.pending.off:]
	}
	return h
}

func (c *conn) handOverSearch() *HandoverSearch {
	a := c.search
	if a == nil {
		return nil
	}
	h := &HandoverSearch{
		Hello: a.hello, Tries: a.tries, Picked: a.picked, Since: a.since, Limit: a.limit, SlotAt: a.slotAt, Replay: a.replay, Why: a.why,
	}
	if c.pool != nil {
		for _, s := range c.pool.Balancer.Servers() {
			if a.sel.Has(s) {
				h.Tried = append(h.Tried, s.Name())
			}
		}
	}
	return h
}

// Size returns about how many bytes h takes to encode.
func (h *Handover) Size() int {
	n := 256 + len(h.Flows[client].Pending) + len(h.Flows[server].Pending)
	if h.Search != nil {
		n += len(h.Search.Hello)
	}
	return n
}
