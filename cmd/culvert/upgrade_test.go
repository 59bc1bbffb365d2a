package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// startUpgradable is startRun, but that every process that follows is killed
// at the end of the test.
func startUpgradable(t *testing.T, top string) *runProcess {
	t.Helper()
	r := startRun(t, top)
	t.Cleanup(func() {
		for _, pid := range r.successors() {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	})
	return r
}

// culvert runs a command to its end and returns what it printed.
func culvert(t *testing.T, args ...string) (out string, status int) {
	t.Helper()
	cmd := exec.Command("culvert", args...)
	b, err := cmd.CombinedOutput()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return string(b), cmd.ProcessState.ExitCode()
}

var handedOver = regexp.MustCompile(`msg="handed over" pid=(\d+)`)

// successors are the processes that took over, in order.
func (r *runProcess) successors() (all []int) {
	for _, m := range handedOver.FindAllStringSubmatch(r.text(), -1) {
		pid, _ := strconv.Atoi(m[1])
		all = append(all, pid)
	}
	return all
}

// current is the process that serves.
func (r *runProcess) current() int {
	if all := r.successors(); len(all) > 0 {
		return all[len(all)-1]
	}
	return r.cmd.Process.Pid
}

// awaitExit waits until a process has ended, reaped or not.
func awaitExit(t *testing.T, pid int) {
	t.Helper()
	eventually(t, fmt.Sprintf("process %d ends", pid), func() bool {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		return err != nil || strings.Contains(string(stat), ") Z ")
	})
}

// upgrade upgrades with a signal and waits until the new process serves.
func (r *runProcess) upgrade() {
	r.t.Helper()
	old, n := r.current(), len(r.successors())
	if err := syscall.Kill(old, syscall.SIGUSR2); err != nil {
		r.t.Fatal(err)
	}
	r.expectTimes(`msg="handed over" `, n+1)
	r.expectTimes(`msg="took over" `, n+1)
	r.expectTimes("msg=ready ", n+2) // each process is, the first one too
	awaitExit(r.t, old)
}

// TestUpgrade: connections, the listeners and the admin server go on in a new
// process, again and again.
func TestUpgrade(t *testing.T) {
	r := startUpgradable(t, "")
	var conns []*tls.Conn
	for range 5 {
		conns = append(conns, r.dial())
		r.upgrade()
		for _, c := range conns {
			echo(t, c)
		}
	}
	if res, err := http.Get(r.admin + "/healthz"); err != nil || res.StatusCode != http.StatusOK {
		t.Errorf("healthz after five upgrades: %v, %v", res, err)
	}
	out, _ := culvert(t, "status", "--socket", r.socket)
	if !strings.Contains(out, "5 of ") || !strings.Contains(out, fmt.Sprintf("pid %d", r.current())) {
		t.Errorf("status:\n%s", out)
	}
	for _, c := range conns {
		leave(t, c)
	}
	_ = syscall.Kill(r.current(), syscall.SIGTERM)
	r.expect(`msg=stopped connections_closed=0`)
}

// TestUpgradeThatFails: whatever becomes of the new process, the old one goes
// on, with its connections.
func TestUpgradeThatFails(t *testing.T) {
	r := startUpgradable(t, "")
	conn := r.dial()
	good, err := os.ReadFile(r.file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(r.file, []byte("listeners: 7\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	out, status := culvert(t, "upgrade", "--socket", r.socket)
	if status != 1 || !strings.Contains(out, "expected a list") {
		t.Errorf("upgrade to a bad file: status %d\n%s", status, out)
	}
	echo(t, conn)
	echo(t, r.dial())
	if err := os.WriteFile(r.file, good, 0o600); err != nil {
		t.Fatal(err)
	}
	r.upgrade()
	echo(t, conn)
}

// hammer connects again and again until stop is closed.
func hammer(r *runProcess, stop <-chan struct{}) error {
	for n := 0; ; n++ {
		select {
		case <-stop:
			if n == 0 {
				return fmt.Errorf("nothing was tried")
			}
			return nil
		default:
		}
		d := &tls.Dialer{NetDialer: &net.Dialer{Timeout: patience}, Config: &tls.Config{RootCAs: r.origin.roots, ServerName: "chat.example.com"}}
		c, err := d.Dial("tcp", r.address)
		if err != nil {
			return fmt.Errorf("connection %d: %w", n, err)
		}
		_ = c.SetDeadline(time.Now().Add(patience))
		if _, err := fmt.Fprintln(c, "ahoy"); err != nil {
			return fmt.Errorf("connection %d from %s: %w", n, c.LocalAddr(), err)
		}
		if _, err := c.Read(make([]byte, 1)); err != nil {
			return fmt.Errorf("connection %d from %s, no echo: %w", n, c.LocalAddr(), err)
		}
		_ = c.Close()
	}
}
