package l4

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"culvert/balancer"
	"culvert/l4/socket"
)

// Hooks are the engine's links to the world outside the data plane. Record
// and Outcome run on a loop: they must return at once and keep nothing that
// they were given.
type Hooks struct {
	Record  func(*Record)                                 // a connection ended; nil: nobody cares
	Outcome func(*balancer.Server, Reason, time.Duration) // an attempt ended at this time; Reason "" is success
	Log     *slog.Logger                                  // events of the engine itself; nil: none
	Now     func() time.Duration                          // monotonic clock; nil: the real one. See Engine.Tick
}

// Engine serves a Config. Its methods are safe for concurrent use.
type Engine struct {
	cfg   *Config
	hooks Hooks
	start time.Time
	loops []*loop
	done  sync.WaitGroup
	addrs []socket.Addr

	listeners []*listenerState
	servers   []serverRef
	routes    []routeRef

	maxConns int64
	maxKept  int64
	active   atomic.Int64
	kept     atomic.Int64
	paused   atomic.Int64
	waiting  prefixLimit
	pipes    pipeBudget
	warned   atomic.Int64 // the second of the last warning
}

// serverRef and routeRef say what a counter's index stands for.
type serverRef struct {
	pool   string
	server *balancer.Server
}

type routeRef struct{ listener, route, pool string }

// DefaultLoops is how many event loops an Engine has when the Config does not
// say: one per processor that the process may run on. A CPU quota (cgroup) is
// not looked at.
func DefaultLoops() int { return runtime.NumCPU() }

// Start binds the listeners of cfg and serves. When one cannot be bound none
// stays open. cfg must not be changed afterwards, nor given to another Engine.
func Start(cfg *Config, hooks Hooks) (*Engine, error) {
	e := &Engine{cfg: cfg, hooks: hooks, start: time.Now()}
	if e.hooks.Now == nil {
		e.hooks.Now = func() time.Duration { return time.Since(e.start) }
	}
	e.setLimits()
	e.number()
	if err := e.open(); err != nil {
		for _, l := range e.loops {
			l.close()
		}
		return nil, err
	}
	for _, l := range e.loops {
		e.done.Go(l.run)
	}
	return e, nil
}

// setLimits derives what is left open in the Config from what the process may
// use.
func (e *Engine) setLimits() {
	lim := e.cfg.Limits
	fds := socket.Limits()
	e.pipes.maxPipes, e.pipes.maxBytes = pipeShare(fds)
	e.maxConns = maxConnections(fds, e.pipes.maxPipes)
	if n := int64(lim.Connections); n > 0 && n < e.maxConns {
		e.maxConns = n
	}
	e.maxKept = lim.KeptBytes
	if e.maxKept <= 0 {
		e.maxKept = DefaultKeptBytes
	}
	e.waiting.max = int32(orDefault(lim.HelloPerPrefix, DefaultHelloPerPrefix))
}

// number gives every route and server its index in the counters.
func (e *Engine) number() {
	seen := map[*Pool]bool{}
	addPool := func(p *Pool) {
		if p == nil || seen[p] {
			return
		}
		seen[p] = true
		p.first = len(e.servers)
		for _, s := range p.Balancer.Servers() {
			e.servers = append(e.servers, serverRef{p.Balancer.Name(), s})
		}
	}
	for _, ln := range e.cfg.Listeners {
		e.listeners = append(e.listeners, &listenerState{max: int64(ln.MaxConnections)})
		addPool(ln.Pool)
		addPool(ln.Plaintext)
		if ln.Table == nil {
			continue
		}
		for _, r := range ln.Table.Routes() {
			r.id = len(e.routes)
			ref := routeRef{listener: ln.Name, route: r.Label()}
			if r.Pool != nil {
				ref.pool = r.Pool.Balancer.Name()
			}
			e.routes = append(e.routes, ref)
			addPool(r.Pool)
		}
	}
}

// open makes the loops and binds the listeners.
func (e *Engine) open() error {
	n := e.cfg.Loops
	if n <= 0 {
		n = DefaultLoops()
	}
	for i := range n {
		poll, err := socket.NewPoller()
		if err != nil {
			return err
		}
		l := &loop{eng: e, id: i, poll: poll, buf: make([]byte, bufferSize), names: interner{}}
		l.fine.tick, l.coarse.tick = fineTick, coarseTick
		l.pipes.budget = &e.pipes
		l.early = make([]earlyWrite, len(e.servers))
		l.counters.init(len(e.listeners), len(e.routes), len(e.servers))
		e.loops = append(e.loops, l)
	}
	for i, ln := range e.cfg.Listeners {
		if err := e.bind(i, ln); err != nil {
			return err
		}
	}
	return nil
}

// bind opens listener i: a socket for each loop, or one that all share where
// the kernel cannot have several.
func (e *Engine) bind(i int, ln *Listener) error {
	socks, err := e.sockets(ln)
	if err != nil {
		return err
	}
	e.addrs = append(e.addrs, socks[0].Addr())
	for n, l := range e.loops {
		a := &accepter{cfg: ln, id: i, index: len(l.accepters), sock: socks[n], flags: socket.In, shared: e.listeners[i]}
		if ln.Address.IsUnix() {
			a.flags |= socket.Exclusive
		}
		l.accepters = append(l.accepters, a)
		if errno := l.watchAccepter(a); errno != 0 {
			return fmt.Errorf("watch %s: %w", ln.Address, errno)
		}
	}
	return nil
}

func (e *Engine) sockets(ln *Listener) ([]*socket.Listener, error) {
	opt := socket.ListenOptions{Options: ln.TCP, ReusePort: !ln.Address.IsUnix(), Backlog: ln.Backlog}
	if ln.Table != nil {
		opt.DeferAccept = time.Second
	}
	first, err := e.firstSocket(ln.Address, opt)
	if err != nil {
		return nil, err
	}
	socks := []*socket.Listener{first}
	for range e.loops[1:] {
		var next *socket.Listener
		if ln.Address.IsUnix() {
			next, err = first.Share()
		} else {
			next, err = socket.Listen(first.Addr(), opt)
		}
		if err != nil {
			for _, s := range socks {
				s.Close()
			}
			return nil, err
		}
		socks = append(socks, next)
	}
	return socks, nil
}

// firstSocket binds an address that nobody else listens on. Where the kernel
// has no IPv6 the wildcard is that of IPv4.
func (e *Engine) firstSocket(a socket.Addr, opt socket.ListenOptions) (*socket.Listener, error) {
	err := socket.Probe(a)
	if errors.Is(err, syscall.EAFNOSUPPORT) && a.AddrPort().Addr() == netip.IPv6Unspecified() {
		a = socket.IP(netip.AddrPortFrom(netip.IPv4Unspecified(), a.AddrPort().Port()))
		err = socket.Probe(a)
	}
	if err != nil {
		return nil, err
	}
	return socket.Listen(a, opt)
}

// Addrs returns where the listeners are bound, in the order of the Config:
// a port given as 0 has become a real one.
func (e *Engine) Addrs() []socket.Addr { return e.addrs }

// Loops returns how many event loops there are.
func (e *Engine) Loops() int { return len(e.loops) }

// Active returns how many connections are served now.
func (e *Engine) Active() int64 { return e.active.Load() }

// Tick makes every loop look at the clock: for a Hooks.Now that jumped. It
// returns when they have dealt with what was due.
func (e *Engine) Tick() {
	nothing := func(*loop) {}
	e.each(nothing) // in a turn that has read the clock,
	e.each(nothing) // which is over when the next one reads its mail
}

// each runs f on every loop that still runs and waits for it.
func (e *Engine) each(f func(*loop)) {
	var wg sync.WaitGroup
	for _, l := range e.loops {
		wg.Add(1)
		if !l.post(func(l *loop) { f(l); wg.Done() }) {
			wg.Done()
		}
	}
	wg.Wait()
}

// Shutdown stops accepting, waits for the connections to end, and closes
// those that are left when ctx is done. It returns how many it closed. The
// Engine cannot be used afterwards, except for Stats.
func (e *Engine) Shutdown(ctx context.Context) int {
	for _, l := range e.loops {
		l.post(func(l *loop) {
			l.stopAccepting()
			l.draining = true
		})
	}
	ended := make(chan struct{})
	go func() {
		e.done.Wait()
		close(ended)
	}()
	select {
	case <-ended:
		return 0
	case <-ctx.Done():
	}
	var closed atomic.Int64
	for _, l := range e.loops {
		l.post(func(l *loop) { closed.Add(int64(l.closeAll(ReasonDrained))) })
	}
	<-ended
	return int(closed.Load())
}

func (e *Engine) now() time.Duration { return e.hooks.Now() }

// wall is the time of day at a moment of the engine's clock.
func (e *Engine) wall(at time.Duration) time.Time { return e.start.Add(at) }

// outcome reports how an attempt at s ended.
func (e *Engine) outcome(s *balancer.Server, r Reason, now time.Duration) {
	if e.hooks.Outcome != nil {
		e.hooks.Outcome(s, r, now)
	}
}

// warn logs at most one message a second: what goes wrong here goes wrong for
// every connection.
func (e *Engine) warn(msg string, args ...any) {
	now := int64(e.now()/time.Second) + 1
	if last := e.warned.Load(); e.hooks.Log == nil || last == now || !e.warned.CompareAndSwap(last, now) {
		return
	}
	e.hooks.Log.Warn(msg, args...)
}
