package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"culvert/cmd/internal/config"
	"culvert/cmd/internal/upgrade"
	"culvert/l4"
	"culvert/l4/socket"
)

// program is this program's own path. It is asked for at the start: once a new
// program has taken the place of the file, the kernel calls the old one
// deleted.
var program, errProgram = os.Executable()

// upgrade starts the program anew, from its file, and hands everything over to
// it: the listeners and all connections. When that does not work out this
// process goes on as before; the error is logged. A reload that is under way is
// waited for, another upgrade is not.
func (s *service) upgrade() error {
	err := errUpgrading
	if s.upgrading.CompareAndSwap(false, true) {
		defer s.upgrading.Store(false)
		s.changing.Lock()
		defer s.changing.Unlock()
		err = s.handOver()
	}
	if err != nil && !errors.Is(err, errLeft) {
		s.log.Error("not upgraded, this process goes on", "error", err)
	}
	return err
}

var errUpgrading = errors.New("another upgrade is under way")

func (s *service) handOver() error {
	if err := errors.Join(s.mayChange(), errProgram); err != nil {
		return err
	}
	s.log.Info("upgrading", "program", program)
	g, err := upgrade.Launch(program, os.Args[1:])
	if err != nil {
		return err
	}
	begun := time.Now()
	n, err := s.give(g)
	if err != nil {
		g.Abort()
		return err
	}
	s.log.Info("handed over", "pid", g.PID(), "connections", n, "took", time.Since(begun).Round(time.Millisecond))
	tellManager(s.log, fmt.Sprintf("MAINPID=%d", g.PID()))
	s.successor = g.PID()
	close(s.left)
	return nil
}

// give hands over to g. After an error the engine serves again.
func (s *service) give(g *upgrade.Giver) (int, error) {
	sockets := s.engine.Sockets()
	files, err := s.adminSockets(sockets)
	defer closeFiles(files)
	if err != nil {
		return 0, err
	}
	offer := upgrade.Offer{Clock: s.clock(), At: socket.Monotonic(), Pools: legacies(s.cfg)}
	keep, err := g.Offer(offer, sockets)
	if err != nil {
		return 0, err
	}
	frozen, err := s.engine.Freeze(keep)
	if err != nil {
		return 0, err
	}
	n, err := s.giveConnections(g, frozen)
	if err != nil {
		g.Abort() // before a byte moves here
		frozen.Thaw()
		return 0, err
	}
	if s.control != nil && keep[controlKey(s.file.Admin.Socket)] {
		s.control.Keep() // before anything here can close it
	}
	frozen.Leave()
	return n, nil
}

func (s *service) giveConnections(g *upgrade.Giver, frozen *l4.Frozen) (n int, err error) {
	if n, err = g.Give(frozen.Connections()); err != nil {
		return n, err
	}
	if err = s.mayChange(); err != nil {
		return n, err // a drain that began meanwhile waits for the engine
	}
	return n, g.Commit(frozen.LastID())
}

// adminSockets adds the admin server's to sockets. The files keep them open.
func (s *service) adminSockets(sockets map[string][]int) (files []*os.File, err error) {
	add := func(key string, f *os.File, err error) error {
		if err == nil {
			files = append(files, f)
			sockets[key], err = descriptor(f)
		}
		return err
	}
	if s.admin != nil {
		f, failed := s.admin.File()
		err = add(adminKey(s.file.Admin.Address), f, failed)
	}
	if s.control != nil {
		f, failed := s.control.File()
		err = errors.Join(err, add(controlKey(s.file.Admin.Socket), f, failed))
	}
	return files, err
}

// descriptor returns that of f. File.Fd would make the socket blocking, which
// this process goes on to use when the upgrade fails: it would wait in accept
// where nothing wakes it up.
func descriptor(f *os.File) (fds []int, err error) {
	raw, err := f.SyscallConn()
	if err == nil {
		err = raw.Control(func(fd uintptr) { fds = []int{int(fd)} })
	}
	return fds, err
}

func controlKey(path string) string { return "admin unix:" + path }

func closeFiles(files []*os.File) {
	for _, f := range files {
		_ = f.Close()
	}
}

func adminKey(a socket.Addr) string { return "admin " + a.String() }

// legacies is what is known of the servers.
func legacies(cfg *l4.Config) (all []upgrade.Pool) {
	for _, p := range cfg.Pools() {
		all = append(all, upgrade.Pool{Name: p.Balancer.Name(), Servers: p.Balancer.Legacies()})
	}
	return all
}

// leave ends what is left of a process that another one has taken over from.
// Connections whose TLS ends here cannot move: they have the time of a drain.
func (s *service) leave() error {
	s.stop()
	s.closeAdmin(flushTimeout)
	s.finishHandled()
	s.stopWatching()
	s.closeAccess(flushTimeout)
	s.log.Info("stopped, another process goes on")
	return nil
}

func (s *service) finishHandled() {
	n := s.engine.Active()
	if n == 0 {
		return
	}
	s.ends.retire()
	timeout := s.file.DrainTimeout
	s.log.Info("connections whose TLS ends in this process stay with it", "connections", n, "timeout", timeout)
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	s.log.Info("they have ended", "connections_closed", s.engine.Shutdown(ctx))
}

// inheritance is what another process left to this one.
type inheritance struct {
	taker   *upgrade.Taker   // nil: no process hands over to this one
	sockets map[string][]int // that listen, by key
}

// inherit greets the process that started this one to take over from it, or
// takes the sockets of a service manager.
func inherit() (*inheritance, error) {
	t, err := upgrade.FromParent()
	switch {
	case err != nil:
		return nil, err
	case t != nil:
		return &inheritance{t, t.Offer.Sockets()}, nil
	}
	sockets, err := activated()
	return &inheritance{sockets: sockets}, err
}

// fail tells the other process that it has to go on.
func (i *inheritance) fail(err error) {
	if i.taker != nil {
		i.taker.Fail(err)
	}
}

// clock is the time on the engine's clock.
func (i *inheritance) clock() time.Duration {
	if i.taker == nil {
		return 0
	}
	return i.taker.Offer.Clock + socket.Monotonic() - i.taker.Offer.At
}

// socket returns an inherited descriptor, or nil.
func (i *inheritance) socket(key string) *os.File {
	if len(i.sockets[key]) == 0 {
		return nil
	}
	return os.NewFile(uintptr(i.sockets[key][0]), key)
}

// informPools tells the pools of cfg what was known of their servers.
func (i *inheritance) informPools(cfg *l4.Config) {
	if i.taker == nil {
		return
	}
	for _, p := range cfg.Pools() {
		for _, was := range i.taker.Offer.Pools {
			if was.Name == p.Balancer.Name() {
				p.Balancer.Inherit(was.Servers)
			}
		}
	}
}

// take makes the connections of the other process the engine's. After nil this
// process is the one that serves.
func (i *inheritance) take(s *service) error {
	keep := i.keep(s.cfg, s.file.Admin)
	i.closeOthers(keep)
	if i.taker == nil {
		return nil
	}
	n, refused, err := i.taker.Take(keep, s.engine.Take)
	if err != nil {
		if len(i.sockets[controlKey(s.file.Admin.Socket)]) > 0 {
			s.control.Keep() // the other process listens there
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

// keep returns the keys of the sockets that this process has a use for.
func (i *inheritance) keep(cfg *l4.Config, a config.Admin) (keys []string) {
	for _, ln := range cfg.Listeners {
		keys = append(keys, ln.Key())
	}
	return append(keys, adminKey(a.Address), controlKey(a.Socket))
}

// closeOthers closes what this process has no use for: a socket that stays open
// goes on to gather clients that nobody serves.
func (i *inheritance) closeOthers(keep []string) {
	for key, fds := range i.sockets {
		if slices.Contains(keep, key) {
			continue
		}
		for _, fd := range fds {
			socket.Close(fd)
		}
	}
}
