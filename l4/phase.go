package l4

import (
	"cmp"
	"time"
)

// phase is the step of its story that a connection is at.
//
//	hello    -> dial       the hello is whole and its route forwards
//	hello    -> rateSlot   the same, but the server gets so many connections a second
//	hello    -> handled    its route has a handler, which serves it from then on
//	hello    -> lingering  rejected with an alert
//	rateSlot -> dial       its slot has come
//	dial     -> relay      a server is connected
//	dial     -> rateSlot   the server failed, and the next one gets so many a second
//	relay    -> dial       the server failed before its first byte: the next one
//	relay    -> rateSlot   the same, and the next one gets so many a second
//	relay    -> lingering  nothing left to relay, but unread input of the client
//	relay    -> awaitAck   the server reset; the client must get its data first
//	any      -> gone       finish
//
// The values are sent in a Handover: a new phase gets a new value, and a value
// never changes its meaning.
type phase uint8

const (
	phaseHello     phase = 1
	phaseRateSlot  phase = 2
	phaseDial      phase = 3
	phaseRelay     phase = 4
	phaseHandled   phase = 5 // never handed over: its TLS state cannot move
	phaseLingering phase = 6
	phaseAwaitAck  phase = 7
	phaseGone      phase = 8 // never handed over

	phaseCount = 9
)

// phaseSpec is all that the engine has to know about a phase. A nil func does
// nothing.
type phaseSpec struct {
	name string

	// open says that the end of the connection is not decided: it is listed,
	// closed on demand and drained.
	open bool

	// event does what can be done for the connection now: after an event of one
	// of its sockets, and when its share of an iteration was used up before.
	event func(*loop, *conn)

	// deadline returns when the phase ends if nothing happens, 0 for never, and
	// the wheel that fits. expired is called when that time has come.
	deadline func(*loop, *conn) (time.Duration, *wheel)
	expired  func(*loop, *conn)

	// resume goes on with a connection that another process handed over in this
	// phase. nil: it is never handed over, and refused.
	resume func(*loop, *conn)
}

// phaseTable describes every phase, by value.
type phaseTable [phaseCount]phaseSpec

// newPhaseTable returns the table. It is made for each engine, because its
// functions use it: a variable of the package would depend on itself.
func newPhaseTable() *phaseTable {
	return &phaseTable{
		phaseHello: {
			name: "hello", open: true,
			event:    (*loop).readHello,
			deadline: func(l *loop, c *conn) (time.Duration, *wheel) { return c.firstBytesDeadline(), &l.coarse },
			expired:  func(l *loop, c *conn) { l.finish(c, Culvert, ReasonHelloTimeout) },
			resume:   (*loop).later,
		},
		phaseRateSlot: {
			name: "rate slot", open: true,
			event:    func(l *loop, c *conn) { l.clientGone(c) },
			deadline: func(l *loop, c *conn) (time.Duration, *wheel) { return c.search.slotAt, &l.fine },
			expired:  (*loop).rateSlotCame,
			resume:   (*loop).resumeRateSlot,
		},
		phaseDial: {
			name: "dial", open: true,
			event:    (*loop).dialing,
			deadline: (*loop).connectDeadline,
			expired:  func(l *loop, c *conn) { l.failOver(c, ReasonConnectTimeout) },
			resume:   func(l *loop, c *conn) { l.awaitConnect(c) },
		},
		phaseRelay: {
			name: "relay", open: true,
			event:    (*loop).relay,
			deadline: (*loop).relayOrSettleDeadline,
			expired:  (*loop).relayExpired,
			resume:   (*loop).resumeRelay,
		},
		phaseHandled: {
			name: "handled", open: true,
			deadline: (*loop).handledDeadline,
			expired: func(l *loop, c *conn) {
				_, why := c.relayDeadline()
				l.finish(c, Culvert, why)
			},
		},
		phaseLingering: {
			name:     "lingering",
			event:    (*loop).discard,
			deadline: func(l *loop, c *conn) (time.Duration, *wheel) { return c.ending.until, &l.coarse },
			expired:  (*loop).finishDecided,
			resume:   (*loop).resumeDecided,
		},
		phaseAwaitAck: {
			name:     "await ack",
			event:    (*loop).awaitAck,
			deadline: func(l *loop, _ *conn) (time.Duration, *wheel) { return l.now, &l.fine },
			expired:  (*loop).awaitAck,
			resume:   (*loop).resumeDecided,
		},
		phaseGone: {name: "gone"},
	}
}

// spec describes the phase that c is in.
func (l *loop) spec(c *conn) *phaseSpec { return &l.phases[c.phase] }

// handedOver reports whether connections in phase p move to another process.
func (t *phaseTable) handedOver(p phase) bool { return p < phaseCount && t[p].resume != nil }

// finishDecided ends c as it was decided before.
func (l *loop) finishDecided(c *conn) { l.finish(c, c.ending.by, c.ending.reason) }

// connectDeadline is when the attempt that is under way must be connected.
func (l *loop) connectDeadline(c *conn) (time.Duration, *wheel) {
	return c.attemptDeadline(c.pool.connectTimeout()), &l.fine
}

// relayOrSettleDeadline is when the server must have answered, and after that
// when the relay ends for silence or age, or c is old enough for settle.
func (l *loop) relayOrSettleDeadline(c *conn) (time.Duration, *wheel) {
	if c.awaitsFirstByte() {
		return c.attemptDeadline(cmp.Or(c.pool.FirstByteTimeout, DefaultFirstByteTimeout)), &l.fine
	}
	at, _ := c.relayDeadline()
	if young := c.settleAt(); !c.old && (at == 0 || young < at) {
		at = young
	}
	return at, &l.coarse
}

func (l *loop) handledDeadline(c *conn) (time.Duration, *wheel) {
	c.active = c.handled.lastActive()
	at, _ := c.relayDeadline()
	return at, &l.coarse
}

func (l *loop) relayExpired(c *conn) {
	if !c.old && !c.awaitsFirstByte() && l.now >= c.settleAt() {
		l.settle(c)
		return
	}
	l.silent(c)
}
