package service

import (
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/coreos/go-systemd/v22/activation"

	"culvert/cmd/internal/config"
	"culvert/cmd/internal/upgrade"
	"culvert/l4"
	"culvert/l4/socket"
)

// Inheritance is what another process, or a service manager, left to this one:
// listening sockets and, from another process, connections. The zero value is
// nothing.
type Inheritance struct {
	taker   *upgrade.Taker   // nil: no process hands over to this one
	sockets map[string][]int // that listen, by key
}

// Inherit greets the process that started this one to take over from it, or
// takes the sockets of a service manager (sd_listen_fds(3)). It is called once,
// early: descriptors that are not taken stay open. Start, or Fail, must follow.
func Inherit() (*Inheritance, error) {
	t, err := upgrade.FromParent()
	switch {
	case err != nil:
		return nil, err
	case t != nil:
		return &Inheritance{t, t.Offer.Sockets()}, nil
	}
	sockets, err := activated()
	return &Inheritance{sockets: sockets}, err
}

// Fail tells the other process, if there is one, that it has to go on.
func (i *Inheritance) Fail(err error) {
	if i.taker != nil {
		i.taker.Fail(err)
	}
}

// clock returns the time on the engine's clock, which the old process began.
func (i *Inheritance) clock() time.Duration {
	if i.taker == nil {
		return 0
	}
	return i.taker.Offer.Clock + socket.Monotonic() - i.taker.Offer.At
}

// socket returns an inherited descriptor, or nil.
func (i *Inheritance) socket(key string) *os.File {
	if len(i.sockets[key]) == 0 {
		return nil
	}
	return os.NewFile(uintptr(i.sockets[key][0]), key)
}

// informPools restores the state of the servers of cfg.
func (i *Inheritance) informPools(cfg *l4.Config) {
	if i.taker == nil {
		return
	}
	for _, p := range cfg.Pools() {
		for _, was := range i.taker.Offer.Pools {
			if was.Name == p.Balancer.Name() {
				p.Balancer.Restore(was.Servers)
			}
		}
	}
}

// take makes the connections of the other process the engine's. After nil this
// process is the one that serves.
func (i *Inheritance) take(s *Service) error {
	keep := i.keep(s.now)
	i.closeOthers(keep)
	if i.taker == nil {
		return nil
	}
	n, refused, err := i.taker.Take(keep, s.engine.Take)
	if err != nil {
		if len(i.sockets[controlKey(s.now.Config.Admin.Socket)]) > 0 {
			s.servers.control.Keep() // the other process listens there
		}
		return fmt.Errorf("take over: %w", err)
	}
	s.engine.ContinueAfter(i.taker.LastID)
	for _, err := range refused {
		s.log.Warn("not taken over", "error", err)
	}
	if i.taker.Orphaned {
		s.log.Error("the old process died while it handed over", "connections", n)
	}
	s.log.Info("took over", "connections", n)
	return nil
}

// keep returns the keys of the sockets that this process uses.
func (i *Inheritance) keep(b *config.Built) (keys []string) {
	for _, ln := range b.Engine.Listeners {
		keys = append(keys, ln.Key())
	}
	return append(keys, adminKey(b.Admin), controlKey(b.Config.Admin.Socket))
}

// closeOthers closes sockets that this process does not use: one that stays open
// keeps queueing clients that are never served.
func (i *Inheritance) closeOthers(keep []string) {
	for key, fds := range i.sockets {
		if slices.Contains(keep, key) {
			continue
		}
		for _, fd := range fds {
			socket.Close(fd)
		}
	}
}

// activated returns the listening sockets that a service manager has opened
// for this process (sd_listen_fds(3)), by address. They are the caller's.
func activated() (map[string][]int, error) {
	sockets := map[string][]int{}
	for _, f := range activation.Files(true) {
		fd, err := socket.Duplicate(int(f.Fd())) // f closes its own when it is garbage
		if err != nil {
			return nil, fmt.Errorf("socket activation: %w", err)
		}
		at, err := socket.Listening(fd)
		if err != nil {
			return nil, fmt.Errorf("socket activation: %w", err)
		}
		sockets[at.String()] = append(sockets[at.String()], fd)
	}
	return sockets, nil
}
