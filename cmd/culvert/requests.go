package main

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"culvert/cmd/internal/admin"
	"culvert/cmd/internal/config"
	"culvert/l4/terminate"
)

// requests counts what happens on routes that terminate TLS. Counts stay when
// a route goes: it may come back.
type requests struct {
	mu  sync.Mutex // guards the maps
	all admin.Requests
}

func newRequests() *requests {
	return &requests{all: admin.Requests{
		Answered: map[admin.Answer]uint64{}, Refused: map[admin.Denial]uint64{}, Secrets: map[admin.Secret]uint64{},
	}}
}

func (r *requests) count(at admin.RouteName, x *terminate.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all.Answered[admin.Answer{RouteName: at, Status: x.Status}]++
	if x.Refused != "" {
		r.all.Refused[admin.Denial{RouteName: at, Reason: x.Refused}]++
	}
}

// accepted counts a secret by its label.
func (r *requests) accepted(at admin.RouteName, label string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all.Secrets[admin.Secret{RouteName: at, Label: label}]++
}

// totals returns a copy.
func (r *requests) totals() *admin.Requests {
	r.mu.Lock()
	defer r.mu.Unlock()
	return &admin.Requests{Answered: maps.Clone(r.all.Answered), Refused: maps.Clone(r.all.Refused), Secrets: maps.Clone(r.all.Secrets)}
}

func nameOf(x config.Termination) admin.RouteName {
	return admin.RouteName{Listener: x.Listener, Route: x.Name}
}

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
