package service

import (
	"maps"
	"sync"

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
