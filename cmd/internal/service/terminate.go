package service

import (
	"log/slog"
	"runtime"
	"sync"

	"culvert/cmd/internal/config"
	"culvert/l4"
	"culvert/l4/terminate"
)

// terminators serve the routes whose TLS ends here, and the listeners that
// redirect clients to https. prepare and commit are called with Service.changing
// held.
type terminators struct {
	log        *slog.Logger
	handshakes *terminate.HandshakeLimiter
	report     func(*terminate.Request)
	counts     *requests

	mu      sync.Mutex             // guards running against readers on other goroutines; prepare and commit need it for writes only
	running map[string]*terminator // by config.Termination.Key
	sending map[string]*terminate.Redirector
}

// newTerminators returns the part of the service that ends TLS. Handshakes get
// the processors that the loops leave, at least one.
func (s *Service) newTerminators(loops int) *terminators {
	return &terminators{
		log: s.log, handshakes: terminate.NewHandshakeLimiter(runtime.GOMAXPROCS(0) - loops), // the engine sees to one at least
		report: func(r *terminate.Request) { s.access.Load().AddRequest(r) },
		counts: newRequests(),
	}
}

// served is the handlers of a configuration that is not in use yet.
type served struct {
	of      *terminators
	running map[string]*terminator
	sending map[string]*terminate.Redirector
	routes  map[*terminator]*l4.Route
	fresh   []*terminator
}

// prepare sets the handlers of b. Routes whose settings are equal keep theirs, and
// with it the idle connections to their servers. commit or discard must follow.
func (t *terminators) prepare(b *config.Built) (*served, error) {
	next := &served{of: t, running: map[string]*terminator{}, sending: map[string]*terminate.Redirector{}, routes: map[*terminator]*l4.Route{}}
	for _, x := range b.Terminations {
		by := t.running[x.Key]
		if by == nil || !by.settings.Equal(x.Settings) {
			var err error
			if by, err = t.begin(x); err != nil {
				next.discard()
				return nil, err
			}
			next.fresh = append(next.fresh, by)
		}
		next.running[x.Key] = by
		for _, r := range x.Routes {
			r.Handler = by
			next.routes[by] = r
		}
	}
	for ln, port := range b.Redirects {
		r := t.sending[ln.Name]
		if r == nil || r.Port() != port {
			r = terminate.NewRedirector(port)
		}
		next.sending[ln.Name], ln.Handler = r, redirector{r}
	}
	return next, nil
}

// discard ends what prepare began.
func (n *served) discard() {
	for _, x := range n.fresh {
		x.retire()
	}
	for name, r := range n.sending {
		if n.of.sending[name] != r {
			r.Retire()
		}
	}
}

// commit gives the handlers their new pools, and retires handlers that were
// replaced, so that their clients reconnect.
func (n *served) commit(upstream func(*l4.Route, *config.Encrypt) *terminate.Upstream) {
	t := n.of
	if len(n.running) > 0 {
		paceCollector()
	}
	for x, route := range n.routes {
		x.server.SetUpstream(upstream(route, x.settings.Encrypt))
	}
	for key, x := range t.running {
		if n.running[key] != x {
			x.retire()
		}
	}
	for name, r := range t.sending {
		if n.sending[name] != r {
			r.Retire()
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.running, t.sending = n.running, n.sending
}

// retire lets all clients finish, at the end of the process.
func (t *terminators) retire() {
	for _, x := range t.running {
		x.retire()
	}
	for _, r := range t.sending {
		r.Retire()
	}
}
