package main

import (
	"context"
	"time"

	"culvert/cmd/internal/resolve"
)

// calm is how long answers that changed are gathered before they are served:
// names that expire together change together.
const calm = 50 * time.Millisecond

// follow asks for the names of servers again when their answers expire, until
// ctx is done, and serves what the new ones say.
func (s *service) follow(ctx context.Context) {
	for {
		s.changing.Lock()
		r := s.resolver
		s.changing.Unlock()
		var due <-chan time.Time
		if at, ok := r.Next(); ok {
			due = time.After(max(time.Until(at), 0) + calm)
		}
		select {
		case <-ctx.Done():
			return
		case <-s.renamed:
		case <-due:
			s.lookAgain(ctx, r)
		}
	}
}

// lookAgain asks for what has expired.
func (s *service) lookAgain(ctx context.Context, r *resolve.Resolver) {
	changed := false
	for _, c := range r.Refresh(ctx) {
		switch {
		case ctx.Err() != nil:
			return
		case c.Err == nil:
			changed = true
			s.log.Info("the addresses of a name have changed", "name", c.Name)
		case !c.Again:
			s.log.Warn("a name cannot be looked up, its last addresses stay in use", "name", c.Name, "error", c.Err)
		}
	}
	if changed {
		s.move(r)
	}
}

// move serves the addresses that r has now, unless a reload has done so.
func (s *service) move(r *resolve.Resolver) {
	s.changing.Lock()
	defer s.changing.Unlock()
	if s.mayChange() != nil || s.resolver != r {
		return
	}
	cfg, err := buildConfig(s.file, s.resolver)
	if err == nil {
		err = s.serve(s.file, cfg)
	}
	if err != nil {
		s.log.Error("the new addresses are not used", "error", err)
		return
	}
	s.removed(s.file, s.cfg, cfg)
	s.cfg = cfg
}
