package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"culvert/cmd/internal/service"
)

// signals are those that the program acts on. Each kind has a channel of its
// own, so that none is lost while another is handled; of a kind that comes again
// meanwhile one is enough.
type signals struct{ end, reload, upgrade chan os.Signal }

func listen() *signals {
	s := &signals{make(chan os.Signal, 2), make(chan os.Signal, 1), make(chan os.Signal, 1)}
	signal.Notify(s.end, syscall.SIGTERM, syscall.SIGINT)
	signal.Notify(s.reload, syscall.SIGHUP)
	signal.Notify(s.upgrade, syscall.SIGUSR2)
	return s
}

func (s *signals) stop() {
	signal.Stop(s.end)
	signal.Stop(s.reload)
	signal.Stop(s.upgrade)
}

// serve obeys signals until s has ended.
func serve(s *service.Service, in *signals, log *slog.Logger) error {
	sig := awaitEnd(s, in)
	if sig == nil {
		s.Leave()
		return nil
	}
	return drain(s, sig, in, log)
}

// awaitEnd returns the first signal that asks for the end, or nil when another
// process has taken over.
func awaitEnd(s *service.Service, in *signals) os.Signal {
	for {
		select {
		case <-s.Replaced():
			return nil
		default:
		}
		select {
		case <-s.Replaced():
			return nil
		case sig := <-in.end:
			return sig
		case <-in.reload:
			_ = s.Reload() // which logs the result
		case <-in.upgrade:
			go func() { _ = s.Upgrade() }() // so that a signal to end is still seen
		}
	}
}

// drain ends s, at once when a second signal comes.
func drain(s *service.Service, sig os.Signal, in *signals, log *slog.Logger) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	second := make(chan os.Signal, 1)
	go func() {
		second <- awaitSecond(s, in)
		cancel()
	}()
	_, err := s.Drain(ctx, slog.String("signal", sig.String()))
	switch {
	case err == nil:
		return nil
	case errors.Is(err, service.ErrReplaced): // the process that has the connections is to end
		_ = syscall.Kill(s.NewProcess(), sig.(syscall.Signal))
		s.Leave()
		return nil
	}
	log.Error("a second signal ended the drain", "signal", (<-second).String(), "connections_cut", s.Active())
	return errReported
}

// awaitSecond returns the next signal that asks for the end. Others are
// refused by s, each in a goroutine of its own: a change that is under way must
// not delay the end.
func awaitSecond(s *service.Service, in *signals) os.Signal {
	for {
		select {
		case sig := <-in.end:
			return sig
		case <-in.reload:
			go func() { _ = s.Reload() }()
		case <-in.upgrade:
			go func() { _ = s.Upgrade() }()
		}
	}
}
