package l4

import (
	"cmp"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
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
	kept     atomic.Int64 // bytes held for flows
	hellos   atomic.Int64 // bytes of large hellos
	paused   atomic.Int64
	waiting  prefixLimit
	pipes    pipeBudget
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
// Start raises GOMAXPROCS to one more than there are loops if it is not.
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
	e.waiting.max = int32(cmp.Or(lim.HelloPerPrefix, DefaultHelloPerPrefix))
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
	reserveProcessor(n)
	for i := range n {
		poll, err := socket.NewPoller()
		if err != nil {
			return err
		}
		l := &loop{eng: e, id: i, poll: poll, buf: make([]byte, bufferSize), names: interner{}}
		l.fine.tick, l.coarse.tick = fineTick, coarseTick
		l.pipes = newPipePool(&e.pipes)
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

// reserveProcessor sees to it that Go runs a goroutine more than there are
// loops at a time. A loop with work to do yields late, and one that waits
// eagerly holds its processor (socket.Poller): everything else, such as the
// access log, would wait for it.
func reserveProcessor(loops int) {
	if runtime.GOMAXPROCS(0) <= loops {
		runtime.GOMAXPROCS(loops + 1)
	}
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

func (e *Engine) now() time.Duration { return e.hooks.Now() }

// wall is the time of day at a moment of the engine's clock.
func (e *Engine) wall(at time.Duration) time.Time { return e.start.Add(at) }

// outcome reports how an attempt at s ended.
func (e *Engine) outcome(s *balancer.Server, r Reason, now time.Duration) {
	if e.hooks.Outcome != nil {
		e.hooks.Outcome(s, r, now)
	}
}

// log is where the engine's own events go.
func (e *Engine) log() *slog.Logger {
	if e.hooks.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return e.hooks.Log
}
