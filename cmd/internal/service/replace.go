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
		file, err := s.opts.Load()
		if err != nil {
			return err
		}
		return s.replace(file)
	})
}

// Replace serves file from now on. Connections go on. On an error, which it has
// logged, nothing has changed.
func (s *Service) Replace(file *config.File) error {
	return s.change(func() error { return s.replace(file) })
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
func (s *Service) replace(file *config.File) error {
	resolver := s.resolver
	if !reflect.DeepEqual(file.DNS, s.file.DNS) {
		resolver = resolve.New(file.DNS)
	}
	undo := resolver.Begin()
	defer func() {
		if s.file != file {
			undo()
		}
	}()
	cfg, err := build(file, resolver)
	if err != nil {
		return err
	}
	out, err := s.openOutputs(file)
	if err != nil {
		return err
	}
	if err := s.serve(file, cfg); err != nil {
		out.discard()
		return err
	}
	s.removed(file, s.cfg, cfg)
	s.setSessions(file)
	s.events.setTeller(file.Notify)
	s.replaceOutputs(file, out)
	s.logReplaced(file, cfg)
	s.file, s.cfg, s.resolver = file, cfg, resolver
	select {
	case s.renamed <- struct{}{}:
	default: // the change before has not been noticed yet
	}
	return nil
}

// serve makes the engine serve cfg, and watches the servers in it.
func (s *Service) serve(file *config.File, cfg *l4.Config) error {
	handlers, err := s.ends.prepare(file, cfg)
	if err != nil {
		return err
	}
	s.adoptServers(cfg)
	next := watch(file.Health(cfg), s.clock, s.events, s.watchers.Load())
	next.decide(context.Background())
	old := s.watchers.Swap(next)
	if err := s.engine.Reload(cfg); err != nil {
		s.watchers.Store(old)
		next.close()
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
	for _, p := range s.cfg.Pools() {
		old[p.Balancer.Name()] = p.Balancer
	}
	for _, p := range cfg.Pools() {
		if was := old[p.Balancer.Name()]; was != nil {
			p.Balancer.Adopt(was)
		}
	}
}

// logReplaced logs the warnings of file, and what a replacement cannot change.
func (s *Service) logReplaced(file *config.File, cfg *l4.Config) {
	for _, w := range file.Warnings {
		s.log.Warn(w.Error())
	}
	if n := cfg.Loops; n != s.cfg.Loops {
		s.log.Warn("a changed number of loops takes effect at the next start", "loops", s.engine.Loops())
	}
	was := map[string]bool{}
	for _, ln := range s.cfg.Listeners {
		was[ln.Key()] = true
	}
	for i, addr := range s.engine.Addrs() {
		if ln := cfg.Listeners[i]; !was[ln.Key()] {
			s.log.Info("listening on "+addr.String(), "listener", ln.Name)
		}
	}
	s.log.Info("reloaded", "file", file.Path, "connections", s.engine.Active())
}
