package peer

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"syscall"

	"culvert/bench/measure"
)

// Running is a started peer. Its methods may be called concurrently.
type Running struct {
	Name string
	Addr string // ip:port that it serves, the same after a reload or restart
	// TLSAddr is the ip:port for EndedName. It is equal to Addr if the peer
	// can terminate TLS and pass it through on one port.
	TLSAddr string

	peer   Peer
	config config
	binary string
	nobody *syscall.Credential // nil: the caller's own

	change sync.Mutex // held while generations are being replaced

	mu          sync.Mutex // guards the fields below
	generations []*process // oldest first; the last one serves
	stopped     bool
}

// PIDs returns the present processes of the peer, including those of an earlier
// generation that still serve old connections. There are none if nothing was
// started.
func (r *Running) PIDs() []int {
	var pids []int
	for _, p := range r.living() {
		pids = append(pids, measure.Family(p.pid())...)
	}
	return pids
}

// Stop ends all processes of the peer, waits for them and removes its folder.
// It is fast without connections, and takes about a second if the peer waits for
// its connections. Further calls do nothing.
func (r *Running) Stop() {
	r.mu.Lock()
	r.stopped = true
	ps := r.generations
	r.generations = nil
	r.mu.Unlock()
	endAll(ps)
	if r.config.Dir != "" {
		_ = os.RemoveAll(r.config.Dir)
	}
}

// errStopped is the error of a reload or restart after Stop.
var errStopped = errors.New("was stopped")

// living returns the generations that have not ended.
func (r *Running) living() []*process {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(r.generations), func(p *process) bool { return !p.alive() })
}

// serving returns the newest generation, nil if the peer was stopped.
func (r *Running) serving() (*process, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stopped {
		return nil, errStopped
	}
	return r.generations[len(r.generations)-1], nil
}

// serve starts a process and waits until it listens. Connections that come
// before it accepts wait in the kernel's queue.
func (r *Running) serve(ctx context.Context) error {
	p, err := r.launch()
	if err != nil {
		return err
	}
	return p.await(ctx, func() (bool, error) {
		for _, addr := range []string{r.Addr, r.TLSAddr} {
			inodes, err := listening(addr)
			if err != nil || !owns(p.pid(), inodes) {
				return false, err
			}
		}
		return true, nil
	})
}

// launch starts one more process, which becomes the serving one.
func (r *Running) launch(extra ...string) (*process, error) {
	cmd := exec.Command(r.binary, append(r.peer.args(r.config), extra...)...)
	cmd.Dir = r.config.Dir
	cmd.Env = os.Environ()
	if r.peer.env != nil {
		cmd.Env = append(cmd.Env, r.peer.env(r.config)...)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: r.nobody}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stopped {
		return nil, errStopped
	}
	p, err := startProcess(cmd, filepath.Join(r.config.Dir, outputFile))
	if err == nil {
		r.generations = append(r.generations, p)
	}
	return p, err
}

// drop ends a process that did not become the serving one.
func (r *Running) drop(p *process) {
	r.mu.Lock()
	r.generations = slices.DeleteFunc(r.generations, func(g *process) bool { return g == p })
	r.mu.Unlock()
	endAll([]*process{p})
}
