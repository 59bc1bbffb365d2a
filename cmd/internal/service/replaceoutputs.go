package service

import (
	"context"

	"culvert/cmd/internal/accesslog"
	"culvert/cmd/internal/admin"
	"culvert/cmd/internal/config"
)

// newOutputs are the files and addresses that a replacement opens: nil where
// nothing changes.
type newOutputs struct {
	access    *accesslog.Log
	newAccess bool
	admin     *admin.Server
	control   *admin.Control
	keep      bool // the path of control was in use before: its file stays whatever becomes of control
}

// openOutputs opens what next wants opened. An access log that is a file is
// opened anew in any case, because it may have been renamed for rotation.
func (s *Service) openOutputs(next *config.Built) (*newOutputs, error) {
	out := &newOutputs{}
	var err error
	was, c := s.now.Config, next.Config
	if s.opts.Access == nil && (c.Log.Destination() != was.Log.Destination() || c.Log.IsFile()) {
		out.newAccess = true
		if out.access, err = s.openAccess(c); err != nil {
			return nil, err
		}
	}
	if a := next.Admin; a.IsValid() && a != s.now.Admin {
		if out.admin, err = admin.Listen(a.String(), nil); err != nil {
			out.close()
			return nil, err
		}
	}
	if a := &c.Admin; a.Socket != "" && (a.Socket != was.Admin.Socket || a.Group != was.Admin.Group) {
		if out.control, err = s.openControl(a); err != nil {
			out.close()
			return nil, err
		}
		out.keep = a.Socket == was.Admin.Socket
	}
	return out, nil
}

// openControl opens the control socket of a. When its path does not change, the
// present socket's file is replaced and not restored.
func (s *Service) openControl(a *config.Admin) (*admin.Control, error) {
	if a.Socket != s.now.Config.Admin.Socket {
		return admin.ListenControl(a.Socket, a.Group, nil, s.log)
	}
	f, err := s.servers.control.File()
	if err != nil {
		return nil, err
	}
	return admin.ListenControl(a.Socket, a.Group, f, s.log)
}

// discard closes what was opened for a replacement that failed.
func (o *newOutputs) discard() {
	if o.keep {
		o.control.Keep()
	}
	o.close()
}

func (o *newOutputs) close() {
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

// replaceOutputs uses what out has instead of what is in use, and closes the
// latter in the background.
func (s *Service) replaceOutputs(next *config.Built, out *newOutputs) {
	old := &newOutputs{}
	if out.newAccess {
		old.access = s.access.Swap(out.access)
	}
	if out.admin != nil || !next.Admin.IsValid() {
		old.admin, s.servers.http = s.servers.http, out.admin
	}
	if out.admin != nil {
		out.admin.Serve(s.source())
	}
	socket := next.Config.Admin.Socket
	if out.control != nil || socket == "" {
		old.control, s.servers.control = s.servers.control, out.control
		if old.control != nil && socket == s.now.Config.Admin.Socket {
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
