package service

import (
	"context"
	"log/slog"
	"net"
	"time"

	"golang.org/x/sync/errgroup"

	"culvert/cmd/internal/accesslog"
	"culvert/cmd/internal/admin"
	"culvert/cmd/internal/config"
)

// Limits of closing outputs.
const (
	flushTimeout   = 2 * time.Second        // last access log lines, last scrape
	abandonTimeout = 200 * time.Millisecond // the same when the end must not wait
)

// adminServers are the admin server and the control socket. A nil one is not
// configured.
type adminServers struct {
	http    *admin.Server
	control *admin.Control
}

// open opens those that b has.
func (o *adminServers) open(b *config.Built, from *Inheritance, log *slog.Logger) (err error) {
	if b.Admin.IsValid() {
		if o.http, err = admin.Listen(b.Admin.String(), from.socket(adminKey(b.Admin))); err != nil {
			return err
		}
	}
	if a := &b.Config.Admin; a.Socket != "" {
		o.control, err = admin.ListenControl(a.Socket, a.Group, from.socket(controlKey(a.Socket)), log)
	}
	return err
}

// serve answers requests about s.
func (o *adminServers) serve(s *Service) {
	if o.http != nil {
		o.http.Serve(s.source())
	}
	if o.control != nil {
		o.control.Serve(&operator{s})
	}
}

func (o *adminServers) logStart(log *slog.Logger, a *config.Admin) {
	if o.http != nil {
		log.Info("admin on http://" + o.http.Addr().String())
	}
	if o.control != nil {
		log.Info("admin socket " + a.Socket)
	}
}

// close closes both, at the same time, and logs what they had to cut off.
func (o *adminServers) close(ctx context.Context, log *slog.Logger) {
	var group errgroup.Group
	if o.http != nil {
		group.Go(func() error {
			if err := o.http.Close(ctx); err != nil {
				log.Warn("admin server cut off a request", "error", err)
			}
			return nil
		})
	}
	if o.control != nil {
		group.Go(func() error {
			if err := o.control.Close(ctx); err != nil {
				log.Warn("admin socket cut off a request", "error", err)
			}
			return nil
		})
	}
	_ = group.Wait()
}

// AdminAddr returns where the admin server listens; nil: nowhere.
func (s *Service) AdminAddr() net.Addr {
	s.changing.Lock()
	defer s.changing.Unlock()
	if s.servers.http == nil {
		return nil
	}
	return s.servers.http.Addr()
}

// openAccess opens the access log of c, unless the Service was given one.
func (s *Service) openAccess(c *config.Config) (*accesslog.Log, error) {
	if s.opts.Access != nil {
		return s.opts.Access, nil
	}
	return accesslog.Open(c.Log.Destination(), accesslog.Options{Log: s.log})
}

// closeOutputs closes the outputs that depend on the engine, as far as they can
// be closed in time.
func (s *Service) closeOutputs(limit time.Duration) {
	s.closeAccess(limit)
	s.closeAdmin(limit)
}

func (s *Service) closeAccess(limit time.Duration) {
	closeWithin(limit, func(ctx context.Context) {
		if err := s.access.Load().Close(ctx); err != nil {
			s.log.Error(err.Error())
		}
	})
}

func (s *Service) closeAdmin(limit time.Duration) {
	closeWithin(limit, func(ctx context.Context) { s.servers.close(ctx, s.log) })
}

func closeWithin(limit time.Duration, f func(context.Context)) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	f(ctx)
}
