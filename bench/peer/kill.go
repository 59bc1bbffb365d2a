package peer

import (
	"context"
	"syscall"
)

// endAll ends processes and all their descendants and waits until they are
// gone: with SIGTERM, so that a main process collects its workers, and after
// stopGrace with SIGKILL.
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

// collect waits for the process, and ends what is left of its group. The
// number of the group may be given to another one later, so nothing is sent to
// it after that.
func (p *process) collect() {
	p.err = p.cmd.Wait()
	_ = syscall.Kill(-p.pid(), syscall.SIGKILL)
	p.awaitGroup()
	close(p.ended)
}

// signalGroup is for the process and all its descendants.
func (p *process) signalGroup(s syscall.Signal) {
	if p.alive() {
		_ = syscall.Kill(-p.pid(), s)
	}
}

// awaitGroup waits until whoever inherited the descendants has collected
// them, which the first process of some containers never does.
func (p *process) awaitGroup() {
	ctx, cancel := context.WithTimeout(context.Background(), stopGrace)
	defer cancel()
	_ = poll(ctx, nil, func() (bool, error) {
		return syscall.Kill(-p.pid(), 0) == syscall.ESRCH, nil
	})
}
