package service

import (
	"context"
	"log/slog"
	"slices"
	"time"
)

// warnings are how long before a certificate ends it is warned of.
var warnings = []time.Duration{30 * 24 * time.Hour, 7 * 24 * time.Hour, 24 * time.Hour, 0}

// expiry warns before a certificate ends, once for each of warnings.
type expiry struct {
	log    *slog.Logger
	route  string
	ends   func() time.Time
	last   time.Time // the end that was warned of
	warned int       // how often
}

// watch looks every hour until ctx is done.
func (e *expiry) watch(ctx context.Context) {
	tick := time.NewTicker(time.Hour)
	defer tick.Stop()
	for {
		e.look(time.Now())
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (e *expiry) look(now time.Time) {
	ends := e.ends()
	if !ends.Equal(e.last) {
		e.last, e.warned = ends, 0
	}
	due := len(slices.DeleteFunc(slices.Clone(warnings), func(d time.Duration) bool { return ends.Sub(now) > d }))
	if due <= e.warned {
		return
	}
	e.warned = due
	if !now.Before(ends) {
		e.log.Error("a certificate has ended, it is served all the same", "route", e.route, "ended", ends)
		return
	}
	e.log.Warn("a certificate ends soon", "route", e.route, "ends", ends)
}
