package peer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

const (
	startTimeout = 10 * time.Second     // for a process to serve, or an old one to stop
	pollInterval = 5 * time.Millisecond // between two checks of either
	stopGrace    = time.Second          // from SIGTERM to SIGKILL
	outputBytes  = 4 << 10              // of a process's last output in errors
)

// process is a started program and its descendants, which are one process
// group. What it prints goes to a file: a pipe would have to be read, and a
// worker that outlives its parent would hold it open.
type process struct {
	cmd   *exec.Cmd
	log   string        // the file that it prints to
	from  int64         // offset in it at which this process's output begins
	ended chan struct{} // closed once it and its descendants are gone
	err   error         // how it ended; valid once ended is closed
}

// startProcess starts cmd in its own group, so that an interrupt of the
// terminal does not reach it. It gets SIGTERM when the thread that started it
// ends, which in a Go program is when the program ends.
func startProcess(cmd *exec.Cmd, path string) (*process, error) {
	log, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	p := &process{cmd: cmd, log: path, ended: make(chan struct{})}
	p.from, _ = log.Seek(0, io.SeekEnd)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr.Setpgid = true
	cmd.SysProcAttr.Pdeathsig = syscall.SIGTERM
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	go p.collect()
	return p, nil
}

func (p *process) pid() int { return p.cmd.Process.Pid }

func (p *process) alive() bool {
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

// signal sends a signal to the process alone, not to its descendants. It does
// nothing if the process has ended.
func (p *process) signal(s syscall.Signal) { _ = p.cmd.Process.Signal(s) }

// await polls ready until it is true. It fails when the process ends, when
// ctx does, and after startTimeout.
func (p *process) await(ctx context.Context, ready func() (bool, error)) error {
	err := poll(ctx, p.ended, ready)
	switch {
	case err == nil || ctx.Err() != nil:
		return err
	case errors.Is(err, errEnded):
		return fmt.Errorf("ended too early (%v)%s", p.state(), p.output())
	}
	return fmt.Errorf("%w%s", err, p.output())
}

func (p *process) state() string {
	if p.err == nil {
		return "exit status 0"
	}
	return p.err.Error()
}

// output returns the end of the process's output as one line.
func (p *process) output() string {
	f, err := os.Open(p.log)
	if err != nil {
		return ""
	}
	defer f.Close()
	size, _ := f.Seek(0, io.SeekEnd)
	b := make([]byte, max(0, min(size-p.from, outputBytes)))
	n, _ := f.ReadAt(b, size-int64(len(b)))
	return lastLines(string(b[:n]), 3)
}

// lastLines joins the last different lines, after a colon. HAProxy's last line
// states only that there was an error.
func lastLines(s string, most int) string {
	var lines []string
	for line := range strings.Lines(s) {
		line = strings.TrimSpace(line)
		if line != "" && (len(lines) == 0 || line != lines[len(lines)-1]) {
			lines = append(lines, line)
		}
	}
	if len(lines) == 0 {
		return ""
	}
	return ": " + strings.Join(lines[max(0, len(lines)-most):], " / ")
}

var (
	errEnded = errors.New("ended")
	errLate  = fmt.Errorf("is not ready after %v", startTimeout)
)

// poll looks every pollInterval, the first time at once.
func poll(ctx context.Context, ended <-chan struct{}, ready func() (bool, error)) error {
	late := time.NewTimer(startTimeout)
	defer late.Stop()
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		if ok, err := ready(); ok || err != nil {
			return err
		}
		select {
		case <-ended:
			return errEnded
		case <-ctx.Done():
			return ctx.Err()
		case <-late.C:
			return errLate
		case <-tick.C:
		}
	}
}
