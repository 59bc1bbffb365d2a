package service

import (
	"context"
	"errors"
	"os"
	"time"

	"culvert/cmd/internal/upgrade"
	"culvert/l4"
	"culvert/l4/socket"
)

// Upgrade starts the program anew, from its file, and hands everything over to
// it: the listeners and all connections. When it fails this process goes on as
// before; the error is logged. Upgrade waits for a replacement that is under
// way, and refuses while another upgrade is.
func (s *Service) Upgrade() error {
	err := errUpgrading
	if s.upgrading.CompareAndSwap(false, true) {
		defer s.upgrading.Store(false)
		s.changing.Lock()
		defer s.changing.Unlock()
		err = s.handOver()
	}
	if err != nil && !errors.Is(err, ErrReplaced) {
		s.log.Error("not upgraded, this process goes on", "error", err)
	}
	return err
}

var (
	errUpgrading = errors.New("another upgrade is under way")
	errNoProgram = errors.New("this process has no program to start anew")
)

func (s *Service) handOver() error {
	if err := s.mayChange(); err != nil {
		return err
	}
	if s.opts.Program == "" {
		return errNoProgram
	}
	s.log.Info("upgrading", "program", s.opts.Program)
	g, err := upgrade.Launch(s.opts.Program, s.opts.Args)
	if err != nil {
		return err
	}
	begun := time.Now()
	n, err := s.handOverTo(g)
	if err != nil {
		g.Abort()
		return err
	}
	s.log.Info("handed over", "pid", g.PID(), "connections", n, "took", time.Since(begun).Round(time.Millisecond))
	s.opts.Manager(managerMain(g.PID()))
	s.newProcess = g.PID()
	close(s.replaced)
	return nil
}

// handOverTo hands over to g. After an error the engine serves again.
func (s *Service) handOverTo(g *upgrade.Giver) (int, error) {
	sockets := s.engine.Sockets()
	files, err := s.adminSockets(sockets)
	defer closeFiles(files)
	if err != nil {
		return 0, err
	}
	offer := upgrade.Offer{Clock: s.clock(), At: socket.Monotonic(), Pools: serverStates(s.now.Engine)}
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
	if s.servers.control != nil && keep[controlKey(s.now.Config.Admin.Socket)] {
		s.servers.control.Keep() // before anything here can close it
	}
	frozen.Leave()
	return n, nil
}

func (s *Service) giveConnections(g *upgrade.Giver, frozen *l4.Frozen) (n int, err error) {
	if n, err = g.Give(frozen.Connections()); err != nil {
		return n, err
	}
	if err = s.mayChange(); err != nil {
		return n, err // a drain that began meanwhile waits for the engine
	}
	return n, g.Commit(frozen.LastID())
}

// adminSockets adds the admin server's to sockets. The files keep them open.
func (s *Service) adminSockets(sockets map[string][]int) (files []*os.File, err error) {
	add := func(key string, f *os.File, err error) error {
		if err == nil {
			files = append(files, f)
			sockets[key], err = descriptor(f)
		}
		return err
	}
	if s.servers.http != nil {
		f, failed := s.servers.http.File()
		err = add(adminKey(s.now.Admin), f, failed)
	}
	if s.servers.control != nil {
		f, failed := s.servers.control.File()
		err = errors.Join(err, add(controlKey(s.now.Config.Admin.Socket), f, failed))
	}
	return files, err
}

// descriptor returns that of f. File.Fd would make the socket blocking, and this
// process uses it again when the upgrade fails: accept would then block where
// Close does not end it.
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

// serverStates is what is known of the servers.
func serverStates(cfg *l4.Config) (all []upgrade.Pool) {
	for _, p := range cfg.Pools() {
		all = append(all, upgrade.Pool{Name: p.Balancer.Name(), Servers: p.Balancer.ServerStates()})
	}
	return all
}

// Replaced returns a channel that is closed when another process has taken over.
func (s *Service) Replaced() <-chan struct{} { return s.replaced }

// NewProcess returns the ID of the process that has taken over, once Replaced
// is closed.
func (s *Service) NewProcess() int { return s.newProcess }

// Leave ends what is left of a service that another process has taken over.
// Connections whose TLS ends here cannot move: they have the time of a drain.
func (s *Service) Leave() {
	s.stop()
	s.closeAdmin(flushTimeout)
	s.finishHandled()
	s.stopWatching()
	s.closeAccess(flushTimeout)
	s.log.Info("stopped, another process goes on")
}

func (s *Service) finishHandled() {
	n := s.engine.Active()
	if n == 0 {
		return
	}
	s.ends.retire()
	timeout := s.now.Config.Drain()
	s.log.Info("connections whose TLS ends in this process stay with it", "connections", n, "timeout", timeout)
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	s.log.Info("they have ended", "connections_closed", s.engine.Shutdown(ctx))
}
