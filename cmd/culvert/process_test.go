package main

import (
	"bufio"
	"bytes"
	"io"
	"os"
	"os/exec"
	"regexp"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience is how long a test waits for what must happen soon. It is long:
// only a test that fails waits for it.
const patience = 20 * time.Second

// process is a culvert that runs beside the test.
type process struct {
	t    *testing.T
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended

	mu      sync.Mutex // guards the fields below
	changed *sync.Cond
	lines   bytes.Buffer // what came on the stream that is watched
	ended   bool
}

// start runs culvert and watches the stream that watched selects. It is
// killed at the end of the test.
func start(t *testing.T, watched func(*exec.Cmd) (io.ReadCloser, error), env []string, args ...string) *process {
	t.Helper()
	cmd := exec.Command("culvert", args...)
	cmd.Env = append(os.Environ(), env...)
	return startCommand(t, cmd, watched)
}

// startCommand is start for a command of the test's own.
func startCommand(t *testing.T, cmd *exec.Cmd, watched func(*exec.Cmd) (io.ReadCloser, error)) *process {
	t.Helper()
	p := &process{t: t, cmd: cmd, done: make(chan struct{})}
	p.changed = sync.NewCond(&p.mu)
	out, err := watched(p.cmd)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go p.collect(out)
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		<-p.done
		if t.Failed() {
			t.Logf("%v:\n%s", cmd.Args, p.text())
		}
	})
	return p
}

func stdout(c *exec.Cmd) (io.ReadCloser, error) { return c.StdoutPipe() }
func stderr(c *exec.Cmd) (io.ReadCloser, error) { return c.StderrPipe() }

// collect gathers lines until the stream ends and then reaps the process.
func (p *process) collect(out io.Reader) {
	for r := bufio.NewReader(out); ; {
		line, err := r.ReadBytes('\n')
		p.mu.Lock()
		p.lines.Write(line)
		p.changed.Broadcast()
		p.mu.Unlock()
		if err != nil {
			break
		}
	}
	_ = p.cmd.Wait() // the state is in ProcessState
	p.mu.Lock()
	p.ended = true
	p.changed.Broadcast()
	p.mu.Unlock()
	close(p.done)
}

// text returns what has come so far.
func (p *process) text() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.lines.String()
}

// expect waits until pattern matches the output and returns its groups.
func (p *process) expect(pattern string) (groups []string) {
	p.t.Helper()
	re := regexp.MustCompile(pattern)
	p.await(pattern, func(text []byte) bool {
		for _, g := range re.FindSubmatch(text) {
			groups = append(groups, string(g))
		}
		return groups != nil
	})
	return groups
}

// expectTimes waits until text is in the output so many times.
func (p *process) expectTimes(text string, n int) {
	p.t.Helper()
	p.await(text, func(all []byte) bool { return bytes.Count(all, []byte(text)) >= n })
}

// await waits until the output is as it should be.
func (p *process) await(what string, is func(text []byte) bool) {
	p.t.Helper()
	late := time.AfterFunc(patience, func() { _ = p.cmd.Process.Kill() })
	defer late.Stop()
	p.mu.Lock()
	defer p.mu.Unlock()
	for !is(p.lines.Bytes()) {
		if p.ended {
			p.t.Fatalf("no match for %q in:\n%s", what, p.lines.String())
		}
		p.changed.Wait()
	}
}

func (p *process) signal(s syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

// status waits for the end and returns the exit status.
func (p *process) status() int {
	p.t.Helper()
	select {
	case <-p.done:
	case <-time.After(patience):
		p.t.Fatal("the process does not end")
	}
	return p.cmd.ProcessState.ExitCode()
}

// eventually waits until ok holds; there is no event to wait for.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Errorf("not in time: %s", what)
}

// need skips the test when a program is missing; in CI that is a failure.
func need(t *testing.T, program string) {
	t.Helper()
	if _, err := exec.LookPath(program); err != nil {
		missing(t, program)
	}
}

// missing skips the test, or fails it in CI, for want of what.
func missing(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf("%s is missing", what)
	}
	t.Skipf("%s is missing", what)
}
