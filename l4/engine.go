package l4

import (
	"cmp"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"culvert/balancer"
	"culvert/l4/limit"
	"culvert/l4/socket"
)

// Hooks connect the engine with the rest of the process. Record and Outcome run
// on a loop: they must not block, and must not retain their arguments.
type Hooks struct {
	Record  func(*Record)                                 // a connection ended; nil: no records are made
	Outcome func(*balancer.Server, Reason, time.Duration) // an attempt ended at this time; Reason "" is success
	Log     *slog.Logger                                  // events of the engine itself; nil: none
	Now     func() time.Duration                          // monotonic clock; nil: the real one. See Engine.Tick
}

// Engine serves a Config. Its methods are safe for concurrent use.
type Engine struct {
	hooks   Hooks
	start   time.Time
	loops   []*loop
	done    sync.WaitGroup
	catalog catalog

	reloading sync.Mutex
	stopping  atomic.Bool

	// Stand-ins for what connections from another process belong to and this
	// configuration does not have.
	former map[string]*accepter // by Listener.Key
	pools  map[string][]*Pool   // by name

	active   limit.Limit       // connections
	buffered limit.Limit       // bytes held for flows; see pressed
	hellos   limit.Limit       // bytes of large hellos
	waiting  limit.PrefixLimit // connections whose hello is incomplete
	paused   atomic.Int64
	pipes    pipeBudget
}

// DefaultLoops is how many event loops an Engine has when the Config does not
// say: one per processor that the process may run on. A CPU quota (cgroup) is
// not looked at.
func DefaultLoops() int { return runtime.NumCPU() }

// Inheritance is what an Engine has from another process. The zero value is
// nothing.
type Inheritance struct {
	// Sockets are listening descriptors, by Listener.Key. The Engine takes
	// those of its listeners; the others stay the caller's.
	Sockets map[string][]int
}

// Start binds the listeners of cfg and serves. When one cannot be bound none
// stays open. The Engine keeps a copy of cfg. Start raises GOMAXPROCS to one
// more than the number of loops if it is less.
func Start(cfg *Config, hooks Hooks) (*Engine, error) {
	e, err := Prepare(cfg, hooks, Inheritance{})
	if err == nil {
		e.Run()
	}
	return e, err
}

// Prepare is Start, but that nothing is served before Run: clients wait in the
// kernel's queues. Listeners for which there are sockets are not bound.
func Prepare(cfg *Config, hooks Hooks, from Inheritance) (*Engine, error) {
	e := &Engine{hooks: hooks, start: time.Now(), catalog: newCatalog(), former: map[string]*accepter{}}
	cfg = cfg.snapshot()
	e.catalog.cfg = cfg
	if e.hooks.Now == nil {
		e.hooks.Now = func() time.Duration { return time.Since(e.start) }
	}
	e.start = e.start.Add(-e.now()) // another clock may have begun earlier
	e.pipes.maxPipes, e.pipes.maxBytes = pipeShare(socket.Limits())
	e.setLimits(cfg.Limits)
	if err := e.open(cfg, from); err != nil {
		e.Discard()
		return nil, err
	}
	return e, nil
}

// Run begins to serve.
func (e *Engine) Run() {
	for _, l := range e.loops {
		e.done.Go(l.run)
	}
}

// Discard frees an Engine that will not Run. Connections that it took over are
// closed on this side only: another process has them, too.
func (e *Engine) Discard() {
	for _, l := range e.loops {
		l.abandon()
		l.close()
	}
}

// setLimits derives what is left open in lim from what the process may use.
func (e *Engine) setLimits(lim Limits) {
	most := maxConnections(socket.Limits(), e.pipes.maxPipes)
	if n := int64(lim.Connections); n > 0 && n < most {
		most = n
	}
	bound := cmp.Or(max(lim.BufferedBytes, 0), DefaultBufferedBytes)
	e.active.SetMax(most)
	e.buffered.SetMax(bound)
	e.hellos.SetMax(max(bound/2, 1))
	e.waiting.SetMax(int32(cmp.Or(lim.HelloPerPrefix, DefaultHelloPerPrefix)))
}

// open makes the loops and opens the listeners.
func (e *Engine) open(cfg *Config, from Inheritance) error {
	n := cfg.Loops
	if n <= 0 {
		n = DefaultLoops()
	}
	reserveProcessor(n)
	sizes, phases := e.catalog.enter(cfg), newPhaseTable()
	for i := range n {
		poll, err := socket.NewPoller()
		if err != nil {
			return err
		}
		l := &loop{eng: e, phases: phases, id: i, poll: poll, buf: make([]byte, bufferSize), names: interner{}}
		l.fine.tick, l.coarse.tick = fineTick, coarseTick
		l.pipes = newPipePool(&e.pipes)
		l.grow(sizes)
		e.loops = append(e.loops, l)
	}
	for _, ln := range cfg.Listeners {
		if err := e.bind(ln, from.Sockets[ln.Key()]); err != nil {
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
func (e *Engine) Addrs() []socket.Addr {
	k := &e.catalog
	k.mu.Lock()
	defer k.mu.Unlock()
	var all []socket.Addr
	for _, ln := range k.cfg.Listeners {
		all = append(all, k.listeners[ln.Name].addr)
	}
	return all
}

// Loops returns how many event loops there are.
func (e *Engine) Loops() int { return len(e.loops) }

// Active returns how many connections are served now.
func (e *Engine) Active() int64 { return e.active.Load() }

// Tick makes every loop read the clock, for a Hooks.Now that jumped. It returns
// when everything that was due is done.
func (e *Engine) Tick() {
	nothing := func(*loop) {}
	e.each(nothing) // in an iteration that has read the clock,
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
