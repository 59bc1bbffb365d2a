package main

import (
	"os"
	"os/signal"
	"syscall"
)

// signals are those that mean something. Each kind has a channel of its own,
// so that none is lost while another is dealt with; of a kind that comes again
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

// awaitEnd returns the first signal that asks for the end, or nil when another
// process has taken over.
func (s *service) awaitEnd(signals *signals) os.Signal {
	for {
		select {
		case <-s.left:
			return nil
		default:
		}
		select {
		case <-s.left:
			return nil
		case sig := <-signals.end:
			return sig
		case <-signals.reload:
			_ = s.reload() // which logs how it went
		case <-signals.upgrade:
			go func() { _ = s.upgrade() }() // which a signal to end has to reach
		}
	}
}
