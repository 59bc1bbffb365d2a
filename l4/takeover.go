package l4

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"syscall"

	"culvert/balancer"
	"culvert/l4/socket"
)

// Take makes a connection of another process e's own. It is called between
// Prepare and Run. The descriptors of h are e's from then on, also after an
// error.
func (e *Engine) Take(h *Handover) error {
	l := e.loops[h.ID%uint64(len(e.loops))]
	x, err := l.homeOf(h)
	if err != nil {
		for _, fd := range h.FDs() {
			socket.Close(fd)
		}
		return fmt.Errorf("connection %d from %s: %w", h.ID, h.Client, err)
	}
	l.now = e.now()
	l.enter(x, h)
	return nil
}

// ContinueAfter makes the IDs of new connections larger than id. It is called
// before Run.
func (e *Engine) ContinueAfter(id uint64) {
	for _, l := range e.loops {
		l.seq = max(l.seq, id/uint64(len(e.loops))+1)
	}
}

// home is where a connection that was taken over belongs.
type home struct {
	from   *accepter
	route  *Route
	pool   *Pool
	server *balancer.Server
}

// homeOf finds out where h belongs now.
func (l *loop) homeOf(h *Handover) (home, error) {
	if err := h.check(l.phases); err != nil {
		return home{}, err
	}
	x := home{from: l.listenerOf(h)}
	if to := x.from.cfg; phase(h.Phase) == phaseHello && to.Table == nil && (to.Pool == nil || !h.Header) {
		return x, fmt.Errorf("the listener %s has no routes any more", h.ListenerName)
	}
	if h.Route != "" {
		x.route = x.from.cfg.routeLabelled(h.Route)
	}
	if h.Pool == "" {
		return x, nil
	}
	var err error
	x.pool, x.server, err = l.eng.poolOf(h)
	return x, err
}

// listenerOf returns the accepter of h's listener. One that the configuration
// has no more is made up for the connections that are left of it.
func (l *loop) listenerOf(h *Handover) *accepter {
	for _, a := range l.accepters {
		if a.cfg.Key() == h.Listener {
			return a
		}
	}
	return l.eng.formerListener(h)
}

func (e *Engine) formerListener(h *Handover) *accepter {
	if a := e.former[h.Listener]; a != nil {
		return a
	}
	k := &e.catalog
	k.mu.Lock()
	defer k.mu.Unlock()
	state := k.enterListener(h.ListenerName)
	e.grow(k.sizes())
	a := &accepter{cfg: &Listener{Name: h.ListenerName, Session: h.Session}, shared: state, closed: true}
	e.former[h.Listener] = a
	return a
}

// routeLabelled returns the listener's route with a label, or one that is only
// good for records.
func (ln *Listener) routeLabelled(label string) *Route {
	if ln.Table != nil {
		for _, r := range ln.Table.Routes() {
			if r.Label() == label {
				return r
			}
		}
	}
	return &Route{label: label}
}

// poolOf returns the pool and the server that h has in this configuration.
// When they are gone from it, they are made up for the connections that are
// left: a pool of one server.
func (e *Engine) poolOf(h *Handover) (*Pool, *balancer.Server, error) {
	for _, p := range e.poolsNamed(h.Pool) {
		if h.Server == "" {
			return p, nil, nil
		}
		for _, s := range p.Balancer.Servers() {
			if s.Name() == h.Server && s.Address() == h.Address {
				return p, s, nil
			}
		}
	}
	return e.formerPool(h)
}

// poolsNamed returns the pools of a name, those made up last.
func (e *Engine) poolsNamed(name string) []*Pool {
	if e.pools == nil {
		e.pools = map[string][]*Pool{}
		for _, p := range e.config().Pools() {
			e.pools[p.Balancer.Name()] = append(e.pools[p.Balancer.Name()], p)
		}
	}
	return e.pools[name]
}

func (e *Engine) formerPool(h *Handover) (*Pool, *balancer.Server, error) {
	target, err := parseTarget(h.Target)
	if err != nil {
		return nil, nil, err
	}
	b, err := balancer.New(balancer.Config{
		Name: h.Pool, Servers: []balancer.ServerConfig{{Name: h.Server, Address: h.Address}},
	})
	if err != nil {
		return nil, nil, err
	}
	p := &Pool{Balancer: b, Targets: []socket.Target{socket.NewTarget(target)}, Session: h.Session}
	e.pools[h.Pool] = append(e.pools[h.Pool], p)
	e.catalog.mu.Lock()
	defer e.catalog.mu.Unlock()
	e.catalog.enterPool(p)
	e.grow(e.catalog.sizes())
	return p, b.Servers()[0], nil
}

func parseTarget(text string) (socket.Addr, error) {
	if path, ok := strings.CutPrefix(text, "unix:"); ok {
		return socket.Unix(path)
	}
	a, err := netip.ParseAddrPort(text)
	return socket.IP(a), err
}

// grow makes room in every loop, none of which runs yet.
func (e *Engine) grow(n sizes) {
	for _, l := range e.loops {
		l.grow(n)
	}
}

// enter gives the connection its slot and takes its story up where it was.
func (l *loop) enter(x home, h *Handover) {
	c := l.admit()
	c.from, c.route, c.pool, c.server = x.from, x.route, x.pool, x.server
	l.eng.countPlace(x.from.shared)
	if c.server != nil {
		c.server.Hold()
	}
	c.restore(h)
	l.seq = max(l.seq, c.id/uint64(len(l.eng.loops))+1)
	for s := range c.flows {
		if b := h.Flows[s].Pending; len(b) > 0 {
			l.setPending(&c.flows[s], b)
		}
	}
	l.restoreSearch(c, h)
	c.dialIteration = l.iteration - 1
	l.spec(c).resume(l, c)
}

// restore is the reverse of handOver for what is plain data.
func (c *conn) restore(h *Handover) {
	c.id, c.phase, c.tls, c.old, c.first = h.ID, phase(h.Phase), h.TLS, h.Settled, h.First
	c.helloAt, c.connectAt, c.firstAt = micros(h.Hello), micros(h.Connect), micros(h.FirstByte)
	c.start, c.active, c.header = h.Start, h.Active, h.Header
	if h.Local.IsValid() {
		c.local = &h.Local
	}
	c.client, c.name, c.alpn = h.Client, h.ServerName, h.ALPN
	for s, e := range h.Ends {
		if !e.Open {
			continue
		}
		c.ends[s] = end{fd: int32(h.fds[s]), urgent: e.Urgent, unix: e.Unix, broken: e.Broken, readable: true}
		c.ends[s].blocked = e.Blocked
	}
	for s, f := range h.Flows {
		c.flows[s].state, c.flows[s].bytes = flowState(f.State), f.Bytes
	}
	if len(h.Tries) > 0 {
		c.past = &past{h.Tries}
	}
	if b := h.Ending; b != nil {
		c.ending = &ending{b.By, b.Reason, b.Until, b.Discarded}
	}
}

func (l *loop) restoreSearch(c *conn, h *Handover) {
	if h.Search == nil {
		return
	}
	a, s := l.newSearch(), h.Search
	c.search = a
	a.parser.Limit = c.maxHello()
	a.hello = append(a.hello, s.Hello...)
	a.tries, a.picked, a.since, a.limit, a.slotAt = s.Tries, s.Picked, s.Since, s.Limit, s.SlotAt
	a.replay, a.why = s.Replay, s.Why
	a.sel.Reset(c.client.Addr())
	if c.pool == nil {
		return
	}
	for i, srv := range c.pool.Balancer.Servers() {
		if slices.Contains(s.Tried, srv.Name()) {
			c.pool.Balancer.Exclude(&a.sel, srv)
			a.left = c.pool.ids[i] // one of those that failed: which one matters to a counter only
		}
	}
}

// resumeRateSlot waits on for the slot of the server's rate.
func (l *loop) resumeRateSlot(c *conn) {
	if !l.watch(c, client) {
		l.noResources(c, syscall.ENOMEM)
		return
	}
	l.schedule(c)
}

// resumeRelay has both ends looked at in the loop's first iteration.
func (l *loop) resumeRelay(c *conn) {
	for s := range c.ends {
		if !l.rewatch(c, side(s)) {
			l.noResources(c, syscall.ENOMEM)
			return
		}
	}
	l.schedule(c)
	l.later(c)
}

// resumeDecided carries out an end that was decided in the other process.
func (l *loop) resumeDecided(c *conn) {
	if !l.rewatch(c, client) {
		l.finishDecided(c)
		return
	}
	l.schedule(c)
	l.later(c)
}

// rewatch watches end s as it was watched.
func (l *loop) rewatch(c *conn, s side) bool {
	if c.ends[s].fd < 0 {
		return true
	}
	if c.ends[s].blocked {
		return l.watchOut(c, s)
	}
	return l.watch(c, s)
}
