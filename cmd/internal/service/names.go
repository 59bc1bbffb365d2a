package service

import (
	"context"
	"time"

	"culvert/cmd/internal/resolve"
)

// calm is how long answers that changed are gathered before they are served:
// names that expire together change together.
const calm = 50 * time.Millisecond

// followNames asks for the names of servers again when their answers expire, until
// ctx is done, and serves what the new ones say.
func (s *Service) followNames(ctx context.Context) {
	refused := ""
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
			if s.lookAgain(ctx, r) {
				refused = s.tellRefused(s.move(r), refused)
			}
		}
	}
}

// lookAgain asks for what has expired and reports whether anything is new.
func (s *Service) lookAgain(ctx context.Context, r *resolve.Resolver) (changed bool) {
	for _, c := range r.Refresh(ctx) {
		switch {
		case ctx.Err() != nil:
			return false
		case c.Err == nil:
			changed = true
			s.log.Info("the addresses of a name have changed", "name", c.Name)
		case !c.Again:
			s.log.Warn("a name cannot be looked up, its last addresses stay in use", "name", c.Name, "error", c.Err)
		}
	}
	return changed
}

// tellRefused logs err, unless that was done the last time, and returns what
// was said last: names that change one after the other are one mistake.
func (s *Service) tellRefused(err error, last string) string {
	if err == nil {
		return ""
	}
	if err.Error() != last {
		s.log.Error("the new addresses are not used", "error", err)
	}
	return err.Error()
}

// move serves the addresses that r has now, unless a reload has done so.
func (s *Service) move(r *resolve.Resolver) error {
	s.changing.Lock()
	defer s.changing.Unlock()
	if s.mayChange() != nil || s.resolver != r {
		return nil
	}
	next, err := s.build(s.now.Config, s.resolver)
	if err == nil {
		err = s.serve(next)
	}
	if err != nil {
		return err
	}
	s.removed(next)
	s.now = next
	return nil
}
