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
	pollInterval = 5 * time.Millisecond // between two looks at either
	stopGrace    = time.Second          // from SIGTERM to SIGKILL
	saidBytes    = 4 << 10              // of a process's last output, kept for errors
)

// process is a started program and its descendants, which are one process
// group. What it prints goes to a file: a pipe would have to be read, and a
// worker that outlives its parent would hold it open.
type process struct {
	cmd   *exec.Cmd
	log   string        // the file that it prints to
	from  int64         // where in it its own output begins
	ended chan struct{} // closed once it and its descendants are gone
	err   error         // how it ended; valid once ended is closed
}

// startProcess starts cmd in its own group, so that an interrupt of the
// terminal does not reach it; it gets SIGTERM when the thread that started it
// dies, which in a Go program is when the program does.
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

// signal is for the process alone, not for its descendants. One that has
// ended gets none.
func (p *process) signal(s syscall.Signal) { _ = p.cmd.Process.Signal(s) }

// await polls ready until it is true. It fails when the process ends, when
// ctx does, and after startTimeout.
func (p *process) await(ctx context.Context, ready func() (bool, error)) error {
	err := poll(ctx, p.ended, ready)
	switch {
	case err == nil || ctx.Err() != nil:
		return err
	case errors.Is(err, errEnded):
		return fmt.Errorf("ended too early (%v)%s", p.state(), p.said())
	}
	return fmt.Errorf("%w%s", err, p.said())
}

func (p *process) state() string {
	if p.err == nil {
		return "exit status 0"
	}
	return p.err.Error()
}

// said is the end of what the process printed, as one line.
func (p *process) said() string {
	f, err := os.Open(p.log)
	if err != nil {
		return ""
	}
	defer f.Close()
	size, _ := f.Seek(0, io.SeekEnd)
	b := make([]byte, max(0, min(size-p.from, saidBytes)))
	n, _ := f.ReadAt(b, size-int64(len(b)))
	return lastLines(string(b[:n]), 3)
}

// lastLines joins the last lines that differ, and leads them in with a colon.
// HAProxy's very last line says only that there was an error.
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
