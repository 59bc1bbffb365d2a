package service

import (
	"log/slog"

	"culvert/cmd/internal/accesslog"
	"culvert/cmd/internal/config"
)

// Options are what a Service is given beside its configuration. The zero value
// is fine.
type Options struct {
	// Log is where events go. nil: nowhere.
	Log *slog.Logger

	// Inherited is what another process or a service manager left to this one.
	// nil: nothing. It is the Service's from Start on.
	Inherited *Inheritance

	// Load makes the configuration anew, for Reload and the control socket's
	// reload command. nil: these are refused.
	Load func() (*config.Config, error)

	// BufferLimit bounds the bytes that are buffered for slow peers where the
	// configuration does not, such as by the memory of a cgroup. It is called
	// for each configuration. nil, or 0: no bound but the default.
	BufferLimit func() int64

	// Program is the absolute path of the program that Upgrade starts, and Args
	// are its arguments. "": upgrades are refused.
	Program string
	Args    []string

	// Manager is told of changes in the form of sd_notify(3), one state a
	// value. nil: it is not.
	Manager func(states ...string)

	// Access replaces the access log of the configuration. The Service closes
	// it, also when Start fails. nil: what the configuration says.
	Access *accesslog.Log

	Version, Commit string // of the program, for the admin server
}

func (o Options) withDefaults() Options {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Inherited == nil {
		o.Inherited = &Inheritance{}
	}
	if o.Manager == nil {
		o.Manager = func(...string) {}
	}
	return o
}
