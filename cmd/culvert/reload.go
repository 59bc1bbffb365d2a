package main

import (
	"context"
	"errors"
	"reflect"

	"github.com/coreos/go-systemd/v22/daemon"

	"culvert/balancer"
	"culvert/cmd/internal/accesslog"
	"culvert/cmd/internal/admin"
	"culvert/cmd/internal/config"
	"culvert/cmd/internal/resolve"
	"culvert/l4"
)

// reload serves what the file says now, or changes nothing and returns an
// error, which it has logged.
func (s *service) reload() error {
	s.changing.Lock()
	defer s.changing.Unlock()
	tellManager(s.log, reloadingSince()...)
	defer tellManager(s.log, daemon.SdNotifyReady)
	err := s.replaceConfig()
	if err != nil {
		s.log.Error("not reloaded, nothing has changed", "error", err)
	}
	return err
}

// errDraining and errLeft refuse changes.
var (
	errDraining = errors.New("it is draining")
	errLeft     = errors.New("another process has taken over")
)

// mayChange reports why nothing may be changed any more. s.changing is held.
func (s *service) mayChange() error {
	select {
	case <-s.left:
		return errLeft
	default:
	}
	if s.draining.Load() {
		return errDraining
	}
	return nil
}

// replaceConfig does what may fail first; what comes after cannot.
func (s *service) replaceConfig() error {
	if err := s.mayChange(); err != nil {
		return err
	}
	file, err := load(s.file.Path)
	if err != nil {
		return err
	}
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
	cfg, err := buildConfig(file, resolver)
	if err != nil {
		return err
	}
	out, err := s.openOutputs(file)
	if err != nil {
		return err
	}
	if err := s.serve(file, cfg); err != nil {
		if out.keep {
			out.control.Keep()
		}
		out.close()
		return err
	}
	s.removed(file, s.cfg, cfg)
	s.setSessions(file)
	s.events.setTeller(file.Notify)
	s.replaceOutputs(file, out)
	s.tellReloaded(file, cfg)
	s.file, s.cfg, s.resolver = file, cfg, resolver
	select {
	case s.renamed <- struct{}{}:
	default: // it is being told already
	}
	return nil
}

// serve makes the engine serve cfg, and watches the servers in it.
func (s *service) serve(file *config.File, cfg *l4.Config) error {
	handlers, err := s.ends.prepare(file, cfg)
	if err != nil {
		return err
	}
	s.succeed(cfg)
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

// succeed hands the state of the servers there are to those of cfg.
func (s *service) succeed(cfg *l4.Config) {
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

// outputs are the files and addresses that a reload opens: nil where nothing
// changes.
type outputs struct {
	access    *accesslog.Log
	newAccess bool
	admin     *admin.Server
	control   *admin.Control
	keep      bool // control's file was there before: it stays whatever becomes of control
}

// openOutputs opens what file wants opened. The access log is opened anew in
// any case: it may have been renamed for rotation.
func (s *service) openOutputs(file *config.File) (*outputs, error) {
	out := &outputs{}
	var err error
	if file.Log.Access != s.file.Log.Access || file.Log.IsFile() {
		out.newAccess = true
		if out.access, err = accesslog.Open(file.Log.Access, accesslog.Options{Log: s.log}); err != nil {
			return nil, err
		}
	}
	if a := file.Admin.Address; a.IsValid() && a != s.file.Admin.Address {
		if out.admin, err = admin.Listen(a.String(), nil); err != nil {
			out.close()
			return nil, err
		}
	}
	if a := file.Admin; a.Socket != "" && (a.Socket != s.file.Admin.Socket || a.Group != s.file.Admin.Group) {
		if out.control, err = s.openControl(a); err != nil {
			out.close()
			return nil, err
		}
		out.keep = a.Socket == s.file.Admin.Socket
	}
	return out, nil
}

// openControl opens the control socket of a. At the path of the present one
// that one's file makes way, and comes back never: the new one is as good.
func (s *service) openControl(a config.Admin) (*admin.Control, error) {
	if a.Socket != s.file.Admin.Socket {
		return admin.ListenControl(a.Socket, a.Group, nil, s.log)
	}
	f, err := s.control.File()
	if err != nil {
		return nil, err
	}
	return admin.ListenControl(a.Socket, a.Group, f, s.log)
}

func (o *outputs) close() {
	closeWithin(flushTimeout, func(ctx context.Context) {
		_ = o.access.Close(ctx)
		if o.admin != nil {
			_ = o.admin.Close(ctx)
		}
		if o.control != nil {
			_ = o.control.Close(ctx)
		}
	})
}

// replaceOutputs puts what out has in the place of what there is, and closes
// that in the background.
func (s *service) replaceOutputs(file *config.File, out *outputs) {
	old := &outputs{}
	if out.newAccess {
		old.access = s.access.Swap(out.access)
	}
	if out.admin != nil || !file.Admin.Address.IsValid() {
		old.admin, s.admin = s.admin, out.admin
	}
	if out.admin != nil {
		out.admin.Serve(s.source())
	}
	if path := s.file.Admin.Socket; out.control != nil || file.Admin.Socket == "" {
		old.control, s.control = s.control, out.control
		if old.control != nil && path == file.Admin.Socket {
			old.control.Keep()
		}
	}
	if out.control != nil {
		out.control.Serve(&operator{s})
	}
	go func() {
		old.close()
		s.lost.Add(old.access.Dropped())
	}()
}

// tellReloaded logs what the file says that a reload cannot do.
func (s *service) tellReloaded(file *config.File, cfg *l4.Config) {
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
