package service

import (
	"context"
	"log/slog"
)

// Drain stops accepting and serves the connections that there are until they
// have ended or the configuration's drain timeout has passed; those that are
// left are closed. The admin server answers meanwhile. why is added to the log
// line that says so. It returns how many connections it closed.
//
// When ctx is done first Drain gives up and returns its error: the process is
// expected to exit, which cuts the connections that are open. The error is
// ErrReplaced when another process has taken over: Leave is what remains.
func (s *Service) Drain(ctx context.Context, why ...slog.Attr) (closed int, err error) {
	s.draining.Store(true)
	select {
	case <-s.unchanging():
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	select {
	case <-s.replaced:
		return 0, ErrReplaced
	default:
	}
	s.stop()
	s.opts.Manager(managerStopping)
	timeout := s.now.Config.Drain()
	s.log.LogAttrs(context.Background(), slog.LevelInfo, "draining", append(why, slog.Duration("timeout", timeout))...)
	s.ends.retire()
	cut := make(chan int, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), timeout)
		defer cancel()
		cut <- s.engine.Shutdown(ctx)
	}()
	select {
	case n := <-cut:
		s.stopWatching()
		s.closeOutputs(flushTimeout)
		s.log.Info("stopped", "connections_closed", n)
		return n, nil
	case <-ctx.Done():
		s.closeOutputs(abandonTimeout)
		return 0, ctx.Err()
	}
}

// Close ends the service at once: connections that are open are closed.
func (s *Service) Close() {
	s.draining.Store(true)
	<-s.unchanging()
	s.stop()
	s.ends.retire()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	s.engine.Shutdown(ctx)
	s.stopWatching()
	s.closeOutputs(flushTimeout)
}

// unchanging returns a channel that is closed when no replacement and no
// upgrade is under way. With s.draining set none begins, and one that has begun
// ends soon.
func (s *Service) unchanging() <-chan struct{} {
	done := make(chan struct{})
	go func() {
		s.changing.Lock()
		defer s.changing.Unlock()
		close(done)
	}()
	return done
}
