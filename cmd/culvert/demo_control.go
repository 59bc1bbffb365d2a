package main

import (
	"errors"
	"log/slog"
	"time"

	"culvert/cmd/internal/admin"
	"culvert/cmd/internal/notify"
	"culvert/l4"
)

// demoOperator does for a demo what the control socket is asked to do. The
// demo's file and program stay what they are.
type demoOperator struct{ *operator }

var errDemo = errors.New("a demo stays as it is: only `culvert run` reloads and upgrades")

// Reload implements admin.Operator.
func (demoOperator) Reload() error { return errDemo }

// Upgrade implements admin.Operator.
func (demoOperator) Upgrade() error { return errDemo }

// serveControl answers on the control socket, as a service that nobody
// reloads and whose servers nobody watches.
func (d *demo) serveControl(cfg *l4.Config, log *slog.Logger) (err error) {
	if d.control, err = admin.ListenControl(d.file.Admin.Socket, "", nil, log); err != nil {
		return err
	}
	begun := time.Now()
	s := &service{
		log: log, engine: d.engine, file: d.file, cfg: cfg, started: begun, left: make(chan struct{}),
		events: newEvents(notify.Config{}, log), clock: func() time.Duration { return time.Since(begun) },
	}
	s.access.Store(d.access)
	s.watchers.Store(&watchers{})
	d.control.Serve(demoOperator{&operator{s}})
	return nil
}
