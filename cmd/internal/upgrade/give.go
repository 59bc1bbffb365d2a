package upgrade

import (
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"culvert/balancer"
	"culvert/l4"
)

// How long the old process waits for the new one.
const (
	readyTimeout    = 10 * time.Second // to start, read its configuration and open its listeners
	transferTimeout = 5 * time.Second  // for all connections, and as long for the commit: clients are waiting
)

// envFD tells the new process its end of the socket.
const envFD = "CULVERT_UPGRADE_FD"

// hello is the new process's first word.
type hello struct {
	Version int
	PID     int
	Format  string
}

// An Offer is what the old process says of itself.
type Offer struct {
	Version int
	Format  string
	Clock   time.Duration // the time on the engine's clock, which goes on
	At      time.Duration // when that was, on the machine's monotonic clock
	Keys    []string      // the key of each descriptor, in order
	Pools   []Pool        // what is known of the servers
	fds     map[string][]int
}

// A Pool is what is known of the servers of a pool.
type Pool struct {
	Name    string
	Servers []balancer.ServerState
}

// A Giver is the old process's part. One goroutine at a time uses it.
type Giver struct {
	link  *link
	child *child

	ready, transfer time.Duration // how long it waits
}

// child is the new process.
type child struct {
	pid  int
	kill func()
	dead chan struct{} // closed when it has ended
	how  string        // it ended; known once dead is closed
}

func newGiver(l *link, c *child) *Giver {
	return &Giver{link: l, child: c, ready: readyTimeout, transfer: transferTimeout}
}

// Launch starts the new process: binary with args. Abort or Commit must follow.
func Launch(binary string, args []string) (*Giver, error) {
	pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socketpair", err)
	}
	theirs := os.NewFile(uintptr(pair[1]), "upgrade")
	defer theirs.Close()
	l, err := newLink(os.NewFile(uintptr(pair[0]), "upgrade"))
	if err != nil {
		return nil, err
	}
	c, err := startChild(binary, args, theirs)
	if err != nil {
		_ = l.conn.Close()
		return nil, err
	}
	return newGiver(l, c), nil
}

// startChild starts binary with its end of the socket.
func startChild(binary string, args []string, link *os.File) (*child, error) {
	cmd := exec.Command(binary, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.ExtraFiles = []*os.File{link} // becomes 3
	cmd.Env = append(environment(), envFD+"=3")
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	c := &child{pid: cmd.Process.Pid, dead: make(chan struct{})}
	c.kill = func() { _ = cmd.Process.Kill() }
	go func() {
		_ = cmd.Wait()
		c.how = cmd.ProcessState.String()
		close(c.dead)
	}()
	return c, nil
}

// environment is this process's, without what is about its own descriptors.
func environment() (env []string) {
	for _, v := range os.Environ() {
		name, _, _ := strings.Cut(v, "=")
		switch name {
		case envFD, "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "LISTEN_PIDFDID":
		default:
			env = append(env, v)
		}
	}
	return env
}

// PID is the new process.
func (g *Giver) PID() int { return g.child.pid }

// Offer lets the new process have listening sockets, by key, and waits until
// it has read its configuration. It returns which sockets it keeps.
func (g *Giver) Offer(o Offer, sockets map[string][]int) (keep map[string]bool, err error) {
	g.link.within(g.ready)
	if err := g.greeted(); err != nil {
		return nil, err
	}
	var fds []int
	for key, some := range sockets {
		for _, fd := range some {
			o.Keys, fds = append(o.Keys, key), append(fds, fd)
		}
	}
	o.Version, o.Format = Version, format()
	if err := g.sendOffer(o, fds); err != nil {
		return nil, g.explain(err)
	}
	var keys []string
	if _, err := g.link.expect(kindReady, &keys); err != nil {
		return nil, g.explain(err)
	}
	keep = map[string]bool{}
	for _, k := range keys {
		keep[k] = true
	}
	return keep, nil
}

// greeted waits for the new process's first word. Only the process that Abort
// kills may take over: another one, which a wrapper has started, would live on
// and serve what this process serves.
func (g *Giver) greeted() error {
	var h hello
	if _, err := g.link.expect(kindHello, &h); err != nil {
		return g.explain(err)
	}
	if err := mismatch("the new process", h.Version, h.Format); err != nil {
		return err
	}
	if h.PID != g.child.pid {
		return fmt.Errorf("process %d was started and process %d wants to take over: a script around the program must exec it", g.child.pid, h.PID)
	}
	return nil
}

// sendOffer sends the descriptors in as many messages as they need.
func (g *Giver) sendOffer(o Offer, fds []int) error {
	for first := true; first || len(fds) > 0; first = false {
		n := min(len(fds), maxFDs)
		if err := g.link.send(kindOffer, o, fds[:n]...); err != nil {
			return err
		}
		fds = fds[n:]
	}
	return nil
}

// Bounds of a batch of connections.
const (
	batchFDs   = maxFDs - 1
	batchBytes = 1 << 20
)

// Give hands connections over and returns how many. They must hold still.
func (g *Giver) Give(conns iter.Seq[*l4.Handover]) (total int, err error) {
	g.link.within(g.transfer)
	var batch []*l4.Handover
	var fds []int
	size := 0
	flush := func() error {
		if len(batch) == 0 {
			return nil
		}
		if err := g.link.send(kindBatch, batch, fds...); err != nil {
			return err
		}
		_, err := g.link.expect(kindGot, nil) // descriptors under way count against a limit
		total += len(batch)
		batch, fds, size = nil, nil, 0
		return err
	}
	for h := range conns {
		if more := h.FDs(); len(fds)+len(more) > batchFDs || size > batchBytes {
			if err := flush(); err != nil {
				return total, g.explain(err)
			}
		}
		batch, fds, size = append(batch, h), append(fds, h.FDs()...), size+h.Size()
	}
	if err := flush(); err != nil {
		return total, g.explain(err)
	}
	return total, nil
}

// Commit makes the new process serve. After nil it does, and this one must
// not touch what was handed over; after an error it never will, because it is
// dead. lastID is that of the newest connection so far.
func (g *Giver) Commit(lastID uint64) error {
	g.link.within(g.transfer)
	if err := g.agree(lastID); err != nil {
		err = g.explain(err)
		g.Abort() // it may serve, for all that is known
		return err
	}
	_ = g.link.conn.Close()
	return nil
}

func (g *Giver) agree(lastID uint64) error {
	if err := g.link.send(kindDone, lastID); err != nil {
		return err
	}
	if _, err := g.link.expect(kindTaken, nil); err != nil {
		return err
	}
	if err := g.link.send(kindCommit, nil); err != nil {
		return err
	}
	_, err := g.link.expect(kindServing, nil)
	return err
}

// Abort ends the new process and waits until it is gone. The link is closed
// only then: to the new process its end means that this one has died.
func (g *Giver) Abort() {
	g.child.kill()
	<-g.child.dead
	_ = g.link.conn.Close()
}

// explain says what became of the new process when it is gone.
func (g *Giver) explain(err error) error {
	var failed failure
	switch {
	case errors.As(err, &failed):
		return failed
	case errors.Is(err, os.ErrDeadlineExceeded):
		return errors.New("the new process took too long")
	case !errors.Is(gone(err), io.EOF):
		return fmt.Errorf("hand over: %w", err)
	}
	select {
	case <-g.child.dead:
		return fmt.Errorf("the new process ended: %s", g.child.how)
	case <-time.After(time.Second):
		return errors.New("the new process closed the connection")
	}
}
