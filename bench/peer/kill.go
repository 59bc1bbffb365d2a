package peer

import (
	"context"
	"syscall"
)

// endAll ends processes and all their descendants and waits until they have
// ended. It sends SIGTERM, so that a main process waits for its workers, and
// after stopGrace SIGKILL.
func endAll(ps []*process) {
	for _, p := range ps {
		p.signalGroup(syscall.SIGTERM)
	}
	late, cancel := context.WithTimeout(context.Background(), stopGrace)
	defer cancel()
	for _, p := range ps {
		select {
		case <-p.ended:
		case <-late.Done():
			p.signalGroup(syscall.SIGKILL)
			<-p.ended
		}
	}
}

// collect waits for the process, and ends the rest of its group. It sends
// nothing to the group after that, because the kernel may reuse its number.
func (p *process) collect() {
	p.err = p.cmd.Wait()
	_ = syscall.Kill(-p.pid(), syscall.SIGKILL)
	p.awaitGroup()
	close(p.ended)
}

// signalGroup sends a signal to the process and all its descendants.
func (p *process) signalGroup(s syscall.Signal) {
	if p.alive() {
		_ = syscall.Kill(-p.pid(), s)
	}
}

// awaitGroup waits until the process that inherited the descendants has reaped
// them, which the first process of some containers never does.
func (p *process) awaitGroup() {
	ctx, cancel := context.WithTimeout(context.Background(), stopGrace)
	defer cancel()
	_ = poll(ctx, nil, func() (bool, error) {
		return syscall.Kill(-p.pid(), 0) == syscall.ESRCH, nil
	})
}
