package origin

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// answerTimeout bounds how long the process may take to answer a command.
const answerTimeout = 10 * time.Second

// Process is a running origin. Its methods may be called concurrently.
type Process struct {
	Addresses
	PID int

	cmd *exec.Cmd
	in  io.WriteCloser
	mu  sync.Mutex // one command at a time
	out *json.Decoder
	r   *os.File
}

// Start runs `self origin` with n plain servers. The caller must stop it. It also
// ends when the caller's process ends, however that happens.
func Start(ctx context.Context, self string, n int) (*Process, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	p := &Process{cmd: exec.Command(self, "origin", "-servers", strconv.Itoa(n)), r: r, out: json.NewDecoder(bufio.NewReader(r))}
	p.cmd.Stdout, p.cmd.Stderr = w, os.Stderr
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // only the parent handles Ctrl-C
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return nil, errors.Join(err, r.Close(), w.Close())
	}
	err = p.cmd.Start()
	w.Close() // so that reading ends when the process ends
	if err != nil {
		r.Close()
		return nil, err
	}
	p.PID = p.cmd.Process.Pid
	stop := context.AfterFunc(ctx, func() { _ = r.SetReadDeadline(time.Now()) })
	defer stop()
	if err := p.read(&p.Addresses); err != nil {
		p.Stop()
		return nil, fmt.Errorf("start the servers: %w", errors.Join(err, ctx.Err()))
	}
	return p, nil
}

// Kill stops plain server i like a crash: new connections are refused, and open
// ones are reset.
func (p *Process) Kill(i int) error { _, err := p.ask(command{Do: "kill", Server: i}); return err }

// Revive starts plain server i again.
func (p *Process) Revive(i int) error { _, err := p.ask(command{Do: "revive", Server: i}); return err }

// Taken returns how many bytes all servers together have received for Take.
func (p *Process) Taken() (int64, error) { a, err := p.ask(command{Do: "taken"}); return a.Taken, err }

// Stop ends the process and waits for it.
func (p *Process) Stop() {
	p.in.Close()
	kill := time.AfterFunc(answerTimeout, func() { _ = p.cmd.Process.Kill() })
	_ = p.cmd.Wait()
	kill.Stop()
	p.r.Close()
}

func (p *Process) ask(c command) (a answer, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := json.NewEncoder(p.in).Encode(c); err != nil {
		return a, fmt.Errorf("%s: %w", c.Do, err)
	}
	if err := p.read(&a); err != nil {
		return a, fmt.Errorf("%s: %w", c.Do, err)
	}
	if a.Error != "" {
		return a, fmt.Errorf("%s: %s", c.Do, a.Error)
	}
	return a, nil
}

func (p *Process) read(v any) error {
	_ = p.r.SetReadDeadline(time.Now().Add(answerTimeout))
	return p.out.Decode(v)
}
