package l4

import (
	"errors"
	"syscall"

	"culvert/l4/socket"
)

// ErrStopped is what Reload returns once Shutdown has begun.
var ErrStopped = errors.New("the engine is stopping")

// Reload serves cfg from now on, or changes nothing and returns an error, when
// an address cannot be bound. Listeners stay open where the address is the
// same; those that are gone take what their accept queues hold and close.
// Connections go on as they began, with the timeouts and the pool they began
// with. Pools of cfg that succeed others should have adopted them
// (balancer.Pool.Adopt). Config.Loops is not looked at. The Engine keeps a copy
// of cfg, which may be the one that it serves already.
func (e *Engine) Reload(cfg *Config) error {
	cfg = cfg.snapshot()
	e.reloading.Lock()
	defer e.reloading.Unlock()
	if e.stopping.Load() {
		return ErrStopped
	}
	fresh, err := e.bindNew(cfg)
	if err != nil {
		return err
	}
	k := &e.catalog
	for ln, x := range fresh {
		k.bound(ln, x.addr)
	}
	k.mu.Lock()
	n := k.enter(cfg)
	k.cfg = cfg
	k.mu.Unlock()
	e.setLimits(cfg.Limits)
	e.each(func(l *loop) { l.adopt(cfg, n, fresh) })
	return nil
}

// bindNew opens sockets for the listeners of cfg that have none, or for none of
// them. It is all of a reload that can fail, and changes nothing.
func (e *Engine) bindNew(cfg *Config) (map[*Listener]*listening, error) {
	open := map[string]bool{}
	for _, ln := range e.config().Listeners {
		open[ln.Key()] = true
	}
	fresh := map[*Listener]*listening{}
	for _, ln := range cfg.Listeners {
		if open[ln.Key()] {
			continue
		}
		socks, err := e.sockets(ln, nil)
		if err != nil {
			for _, x := range fresh {
				x.close()
			}
			return nil, err
		}
		fresh[ln] = socks
	}
	return fresh, nil
}

func closeAll(socks []*socket.Listener) {
	for _, s := range socks {
		s.Close()
	}
}

// adopt makes the loop serve cfg.
func (l *loop) adopt(cfg *Config, n sizes, fresh map[*Listener]*listening) {
	l.grow(n)
	wanted := map[string]*Listener{}
	for _, ln := range cfg.Listeners {
		wanted[ln.Key()] = ln
	}
	for i, a := range l.accepters {
		switch ln := wanted[a.cfg.Key()]; {
		case a.closed:
		case ln == nil:
			l.retire(a)
		default:
			l.accepters[i] = a.replacedBy(ln, l.eng.listener(ln))
			a.sock.Apply(ln.listenOptions())
		}
	}
	for _, ln := range cfg.Listeners {
		if fresh[ln] == nil {
			continue
		}
		for _, sock := range fresh[ln].byLoop[l.id] {
			if e := l.open(ln, sock); e != 0 {
				l.eng.log().Error("watch a listener", "listener", ln.Name, "error", e)
			}
		}
	}
}

// replacedBy takes a's socket over for ln. Connections that a accepted keep it,
// and with it what their listener said.
func (a *accepter) replacedBy(ln *Listener, shared *listenerState) *accepter {
	next := *a
	next.cfg, next.shared = ln, shared
	a.closed = true
	return &next
}

// grow makes room for what is new to count.
func (l *loop) grow(n sizes) {
	l.counters.grow(n)
	l.early = append(l.early, make([]earlyWrite, n.servers-len(l.early))...)
}

// open makes sock an accepter of the loop, in the place of one that was
// closed if there is one: a late event of that one finds an empty queue.
func (l *loop) open(ln *Listener, sock *socket.Listener) socket.Errno {
	a := &accepter{cfg: ln, sock: sock, flags: socket.In, shared: l.eng.listener(ln), index: len(l.accepters)}
	if sock.Shared() {
		a.flags |= socket.Exclusive
	}
	for i, old := range l.accepters {
		if old.closed {
			a.index = i
		}
	}
	if a.index == len(l.accepters) {
		l.accepters = append(l.accepters, nil)
	}
	l.accepters[a.index] = a
	e := l.watchAccepter(a)
	if e == syscall.ENOMEM || e == syscall.ENOSPC {
		l.pause(a, shortage{"descriptors", 0, e})
		return 0
	}
	return e
}

// retire takes what the accept queue holds and closes the socket.
func (l *loop) retire(a *accepter) {
	l.setPaused(a, false)
	for l.accept(a) {
	}
	l.setPaused(a, false)
	a.close()
}

// listener returns what the loops share about ln, which the catalog has.
func (e *Engine) listener(ln *Listener) *listenerState {
	e.catalog.mu.Lock()
	defer e.catalog.mu.Unlock()
	return e.catalog.listeners[ln.Name]
}

// config returns what is served now.
func (e *Engine) config() *Config {
	e.catalog.mu.Lock()
	defer e.catalog.mu.Unlock()
	return e.catalog.cfg
}
