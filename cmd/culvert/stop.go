package main

import (
	"context"
	"os"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// drain serves the connections there are, until they have ended, the drain
// timeout has passed, or another signal comes. The admin server answers
// until then.
func (s *service) drain(sig os.Signal, signals *signals) error {
	s.draining.Store(true)
	select {
	case <-s.unchanging():
	case sig = <-signals.end:
		s.log.Error("a second signal ended the process while it was changing", "signal", sig.String())
		return errReported
	}
	select {
	case <-s.left: // before it knew: the end is for who has the connections
		_ = syscall.Kill(s.successor, sig.(syscall.Signal))
		return s.leave()
	default:
	}
	s.stop()
	tellManager(s.log, daemon.SdNotifyStopping)
	timeout := s.file.DrainTimeout
	s.log.Info("draining", "signal", sig.String(), "timeout", timeout)
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	s.ends.retire()
	cut := make(chan int, 1)
	go func() { cut <- s.engine.Shutdown(ctx) }()
	select {
	case n := <-cut:
		s.stopWatching()
		s.closeOutputs(flushTimeout)
		s.log.Info("stopped", "connections_closed", n)
		return nil
	case sig = <-s.nextEnd(signals):
		s.closeOutputs(abandonTimeout)
		s.log.Error("a second signal ended the drain", "signal", sig.String(), "connections_cut", s.engine.Active())
		return errReported
	}
}

// unchanging returns a channel that is closed when no reload and no upgrade is
// under way. With s.draining set none begins, and one that is, ends soon.
func (s *service) unchanging() <-chan struct{} {
	done := make(chan struct{})
	go func() {
		s.changing.Lock()
		defer s.changing.Unlock()
		close(done)
	}()
	return done
}

// nextEnd delivers what awaitEnd returns.
func (s *service) nextEnd(signals *signals) <-chan os.Signal {
	end := make(chan os.Signal, 1)
	go func() { end <- s.awaitEnd(signals) }()
	return end
}

// closeOutputs ends what depends on the engine, as far as it does in time.
func (s *service) closeOutputs(limit time.Duration) {
	s.closeAccess(limit)
	s.closeAdmin(limit)
}

func (s *service) closeAccess(limit time.Duration) {
	closeWithin(limit, func(ctx context.Context) {
		if err := s.access.Load().Close(ctx); err != nil {
			s.log.Error(err.Error())
		}
	})
}

func (s *service) closeAdmin(limit time.Duration) {
	closeWithin(limit, func(ctx context.Context) {
		if s.admin != nil {
			if err := s.admin.Close(ctx); err != nil {
				s.log.Warn("admin server cut off a request", "error", err)
			}
		}
		if s.control != nil {
			if err := s.control.Close(ctx); err != nil {
				s.log.Warn("admin socket cut off a request", "error", err)
			}
		}
	})
}

func closeWithin(limit time.Duration, f func(context.Context)) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	f(ctx)
}
