package service

import (
	"context"
	"errors"
	"reflect"

	"culvert/balancer"
	"culvert/cmd/internal/config"
	"culvert/cmd/internal/resolve"
	"culvert/l4"
)

// Errors that refuse a change.
var (
	ErrDraining = errors.New("it is draining")
	ErrReplaced = errors.New("another process has taken over")
	ErrNoLoad   = errors.New("this process does not read its configuration again")
)

// Reload makes the configuration anew, by Options.Load, and serves it. On an
// error, which it has logged, nothing has changed.
func (s *Service) Reload() error {
	return s.change(func() error {
		if s.opts.Load == nil {
			return ErrNoLoad
		}
		c, err := s.opts.Load()
		if err != nil {
			return err
		}
		return s.replace(c)
	})
}

// Replace checks c and serves it from now on. Connections go on. On an error,
// which it has logged, nothing has changed.
func (s *Service) Replace(c *config.Config) error {
	return s.change(func() error { return s.replace(c) })
}

// change runs f, which changes what is served, unless nothing may be changed.
func (s *Service) change(f func() error) error {
	s.changing.Lock()
	defer s.changing.Unlock()
	s.opts.Manager(managerReloading()...)
	defer s.opts.Manager(managerReady)
	err := s.mayChange()
	if err == nil {
		err = f()
	}
	if err != nil {
		s.log.Error("not reloaded, nothing has changed", "error", err)
	}
	return err
}

// mayChange reports why nothing may be changed any more. s.changing is held.
func (s *Service) mayChange() error {
	select {
	case <-s.replaced:
		return ErrReplaced
	default:
	}
	if s.draining.Load() {
		return ErrDraining
	}
	return nil
}

// replace does what may fail first; what comes after that cannot fail.
// s.changing is held.
func (s *Service) replace(c *config.Config) error {
	warnings, err := check(c)
	if err != nil {
		return err
	}
	resolver := s.resolver
	if dns := c.DNS.Config(); !reflect.DeepEqual(dns, s.now.Config.DNS.Config()) {
		resolver = resolve.New(dns)
	}
	undo := resolver.Begin()
	next, err := s.serveNew(c, resolver)
	if err != nil {
		undo()
		return err
	}
	s.logWarnings(warnings)
	s.logReplaced(next)
	s.now, s.resolver = next, resolver
	select {
	case s.renamed <- struct{}{}:
	default: // the change before has not been noticed yet
	}
	return nil
}

// serveNew builds c and serves it, with the outputs that it has.
func (s *Service) serveNew(c *config.Config, resolver *resolve.Resolver) (*config.Built, error) {
	next, err := s.build(c, resolver)
	if err != nil {
		return nil, err
	}
	out, err := s.openOutputs(next)
	if err != nil {
		return nil, err
	}
	if err := s.serve(next); err != nil {
		out.discard()
		return nil, err
	}
	s.removed(next)
	s.setSessions(next)
	s.events.setTeller(c.Notify.Config())
	s.replaceOutputs(next, out)
	return next, nil
}

// serve makes the engine serve next, and watches the servers in it.
func (s *Service) serve(next *config.Built) error {
	handlers, err := s.ends.prepare(next)
	if err != nil {
		return err
	}
	s.adoptServers(next.Engine)
	watching := watch(next.Pools, s.clock, s.events, s.watchers.Load())
	watching.decide(context.Background())
	old := s.watchers.Swap(watching)
	if err := s.engine.Reload(next.Engine); err != nil {
		s.watchers.Store(old)
		watching.close()
		handlers.discard()
		return err
	}
	handlers.commit(s.upstream)
	old.close()
	return nil
}

// adoptServers gives the pools of cfg the state of the servers that they have
// in common with the present ones.
func (s *Service) adoptServers(cfg *l4.Config) {
	old := map[string]*balancer.Pool{}
	for _, p := range s.now.Engine.Pools() {
		old[p.Balancer.Name()] = p.Balancer
	}
	for _, p := range cfg.Pools() {
		if was := old[p.Balancer.Name()]; was != nil {
			p.Balancer.Adopt(was)
		}
	}
}

// logReplaced logs what is new, and what a replacement cannot change.
func (s *Service) logReplaced(next *config.Built) {
	cfg, was := next.Engine, map[string]bool{}
	if cfg.Loops != s.now.Engine.Loops {
		s.log.Warn("a changed number of loops takes effect at the next start", "loops", s.engine.Loops())
	}
	for _, ln := range s.now.Engine.Listeners {
		was[ln.Key()] = true
	}
	for i, addr := range s.engine.Addrs() {
		if ln := cfg.Listeners[i]; !was[ln.Key()] {
			s.log.Info("listening on "+addr.String(), "listener", ln.Name)
		}
	}
	s.log.Info("reloaded", "file", next.Config.Path, "connections", s.engine.Active())
}
