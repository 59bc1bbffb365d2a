package main

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"culvert/cmd/internal/upgrade"
	"culvert/l4"
)

// programFile is a program that a test replaces while it runs.
type programFile struct {
	t    *testing.T
	path string
	good string // a copy that stays
}

// startFrom is startUpgradable with a program of its own.
func startFrom(t *testing.T, top string) (*runProcess, *programFile) {
	t.Helper()
	dir, path := t.TempDir(), os.Getenv("PATH")
	f := &programFile{t, filepath.Join(dir, "culvert"), filepath.Join(dir, "good", "culvert")}
	if err := os.Mkdir(filepath.Dir(f.good), 0o700); err != nil {
		t.Fatal(err)
	}
	copyProgram(t, f.good)
	copyProgram(t, f.path)
	t.Setenv("PATH", dir+":"+path)
	r := startUpgradable(t, top)
	t.Setenv("PATH", path)
	t.Cleanup(func() { killChildren(t, r.current()) })
	return r, f
}

func copyProgram(t *testing.T, to string) {
	t.Helper()
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer self.Close()
	f, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o700)
	if err == nil {
		_, err = io.Copy(f, self)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// replace renames a file with text over the program, or removes the program
// when text is "".
func (f *programFile) replace(text string) {
	f.t.Helper()
	next := f.path + ".new"
	err := os.WriteFile(next, []byte(text), 0o700)
	if err == nil {
		err = os.Rename(next, f.path)
	}
	if err == nil && text == "" {
		err = os.Remove(f.path)
	}
	if err != nil {
		f.t.Fatal(err)
	}
}

// restore puts the program back.
func (f *programFile) restore() {
	f.t.Helper()
	next := f.path + ".new"
	copyProgram(f.t, next)
	if err := os.Rename(next, f.path); err != nil {
		f.t.Fatal(err)
	}
}

// children are the processes that pid has started, those included that have
// ended and that nobody has waited for.
func children(t *testing.T, pid int) (all []int) {
	t.Helper()
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range stats {
		text, _ := os.ReadFile(s) // one that is gone is no child
		_, after, _ := strings.Cut(string(text), ") ")
		if f := strings.Fields(after); len(f) > 1 && f[1] == strconv.Itoa(pid) {
			child, _ := strconv.Atoi(filepath.Base(filepath.Dir(s)))
			all = append(all, child)
		}
	}
	return all
}

func killChildren(t *testing.T, pid int) {
	t.Helper()
	for _, child := range children(t, pid) {
		_ = syscall.Kill(child, syscall.SIGKILL)
	}
}

// TestUpgradeToABadProgram: whatever is in the place of the program, the old
// process says what is wrong with it and goes on as before.
func TestUpgradeToABadProgram(t *testing.T) {
	r, program := startFrom(t, "")
	conn := r.dial()
	tests := []struct{ name, text, want string }{
		{"fails", "#!/bin/sh\nexit 3\n", `the new process ended: exit status 3`},
		{"says something else", "#!/bin/sh\necho garbage, and more of it >&3\n", `no such message`},
		{"says too little", "#!/bin/sh\necho x >&3\n", `the new process ended: exit status 0`},
		{"is none", "\x7fgarbage", `exec format error`},
		{"is gone", "", `no such file`},
		{"is a script around it", fmt.Sprintf("#!/bin/sh\n%s \"$@\"\nexit $?\n", program.good), `a script around the program must exec it`},
		{"hangs", "#!/bin/sh\nexec sleep 100\n", `the new process took too long`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			before := r.descriptors()
			program.replace(tt.text)
			defer program.restore()
			out, status := culvert(t, "upgrade", "--socket", r.socket)
			if status != 1 || !strings.Contains(out, tt.want) {
				t.Errorf("status %d, %q, want %q in it", status, out, tt.want)
			}
			r.expect(`msg="not upgraded, this process goes on" error="[^"]*` + tt.want)
			echo(t, conn)
			r.dial().Close()
			eventually(t, "the descriptors are those of before", func() bool { return r.descriptors() == before })
			if all := children(t, r.current()); len(all) > 0 {
				t.Errorf("processes %v are left", all)
			}
		})
	}
	r.upgrade()
	echo(t, conn)
}

// TestUpgradeThroughAScript: a script that execs the program is as good as the
// program.
func TestUpgradeThroughAScript(t *testing.T) {
	r, program := startFrom(t, "")
	conn := r.dial()
	program.replace(fmt.Sprintf("#!/bin/sh\nexec %s \"$@\"\n", program.good))
	r.upgrade()
	echo(t, conn)
	echo(t, r.dial())
}

// TestAfterAFailedUpgrade: the admin server, which shared its socket, answers
// and ends as ever.
func TestAfterAFailedUpgrade(t *testing.T) {
	r, program := startFrom(t, "")
	program.replace("#!/bin/sh\nexit 3\n")
	if out, status := culvert(t, "upgrade", "--socket", r.socket); status != 1 {
		t.Fatalf("status %d, %s", status, out)
	}
	for range 2 {
		if got := healthz(t, r.admin); got != http.StatusOK {
			t.Errorf("healthz: status %d", got)
		}
		if out, status := culvert(t, "status", "--socket", r.socket); status != 0 {
			t.Errorf("status: %d, %s", status, out)
		}
	}
	r.signal(syscall.SIGTERM)
	if got := r.status(); got != 0 {
		t.Errorf("exit status %d", got)
	}
	if _, err := os.Stat(r.socket); !os.IsNotExist(err) {
		t.Errorf("the control socket's file is still there: %v", err)
	}
}

// hanging starts an upgrade to a program that hangs. end ends the program and
// returns what the upgrade said.
func hanging(t *testing.T, r *runProcess, program *programFile) (end func() (out string, status int)) {
	t.Helper()
	program.replace("#!/bin/sh\nexec sleep 100\n")
	type result struct {
		out    string
		status int
	}
	done := make(chan result, 1)
	go func() {
		out, status := culvert(t, "upgrade", "--socket", r.socket)
		done <- result{out, status}
	}()
	eventually(t, "the new process runs", func() bool { return len(children(t, r.current())) > 0 })
	return func() (string, int) {
		killChildren(t, r.current())
		d := <-done
		return d.out, d.status
	}
}

// TestTwoUpgradesAtOnce: the second is refused, and does not disturb the first.
func TestTwoUpgradesAtOnce(t *testing.T) {
	r, program := startFrom(t, "")
	conn := r.dial()
	end := hanging(t, r, program)
	out, status := culvert(t, "upgrade", "--socket", r.socket)
	if status != 1 || !strings.Contains(out, "another upgrade is under way") {
		t.Errorf("the second: status %d, %s", status, out)
	}
	r.signal(syscall.SIGUSR2)
	r.expect(`(?s)(msg="not upgraded[^\n]*another upgrade is under way.*){2}`)
	echo(t, conn)
	if out, status := end(); status != 1 || !strings.Contains(out, "the new process ended: signal: killed") {
		t.Errorf("the first: status %d, %s", status, out)
	}
	program.restore()
	r.upgrade()
	echo(t, conn)
}

// TestUpgradeWhileDraining: a process that is to end does not start another.
func TestUpgradeWhileDraining(t *testing.T) {
	r := startUpgradable(t, "drain_timeout: 60s")
	conn := r.dial()
	r.signal(syscall.SIGTERM)
	r.expect(`msg=draining`)
	if out, status := culvert(t, "upgrade", "--socket", r.socket); status != 1 || !strings.Contains(out, "it is draining") {
		t.Errorf("status %d, %s", status, out)
	}
	r.signal(syscall.SIGUSR2)
	r.expect(`(?s)(msg="not upgraded[^\n]*it is draining.*){2}`)
	echo(t, conn)
	leave(t, conn)
	if got := r.status(); got != 0 {
		t.Errorf("exit status %d", got)
	}
}

// TestSignalsAtAnUpgrade: a signal that comes while another process takes over
// does no harm.
func TestSignalsAtAnUpgrade(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGHUP, syscall.SIGUSR2} {
		t.Run(sig.String(), func(t *testing.T) {
			r := startUpgradable(t, "")
			conn := r.dial()
			old := r.current()
			r.signal(syscall.SIGUSR2)
			r.signal(sig)
			r.expect(`msg="handed over"`)
			awaitExit(t, old)
			echo(t, conn)
			r.ask("reload")
			echo(t, r.dial())
			if n := len(r.successors()); n != 1 {
				t.Errorf("%d upgrades, want 1", n)
			}
		})
	}
}

// listening returns where the listener of that name was last bound, once it was.
func (r *runProcess) listening(name string) string {
	r.t.Helper()
	bound := `listening on (\S+)" listener=` + name + `\n`
	r.expect(bound)
	all := regexp.MustCompile(bound).FindAllStringSubmatch(r.text(), -1)
	return all[len(all)-1][1]
}

// rewrite changes the file for the next reload or upgrade.
func (r *runProcess) rewrite(oldNew ...string) {
	r.t.Helper()
	text := string(must(os.ReadFile(r.file)))
	if err := os.WriteFile(r.file, []byte(strings.NewReplacer(oldNew...).Replace(text)), 0o600); err != nil {
		r.t.Fatal(err)
	}
}

// TestUpgradeToOtherListeners: one that the file has no more closes, and one
// that it has now opens; connections go on.
func TestUpgradeToOtherListeners(t *testing.T) {
	r := startUpgradable(t, "")
	conn := r.dial()
	first := r.address
	r.rewrite("listeners:\n", "listeners:\n  - {address: \"127.0.0.1:0\", name: second, default: chat}\n")
	r.upgrade()
	r.address = r.listening("second")
	conns := []*tls.Conn{conn, r.dial()}
	r.rewrite("  - address: \"127.0.0.1:0\"\n", "  - address: \"127.0.0.1:0\"\n    name: third\n")
	r.upgrade()
	refused(t, first)
	conns = append(conns, r.dial())
	r.address = r.listening("third")
	for _, c := range append(conns, r.dial()) {
		echo(t, c)
	}
}

// TestUpgradeToAnotherControlSocket: the file of the old one is gone, and so
// is the admin address.
func TestUpgradeToAnotherControlSocket(t *testing.T) {
	r := startUpgradable(t, "")
	other := filepath.Join(t.TempDir(), "other.sock")
	r.rewrite(r.socket, other, `address: "127.0.0.1:0", socket`, "socket")
	r.upgrade()
	if out, status := culvert(t, "status", "--socket", other); status != 0 {
		t.Errorf("status %d, %s", status, out)
	}
	if _, err := os.Stat(r.socket); !os.IsNotExist(err) {
		t.Errorf("the old socket's file is still there: %v", err)
	}
	refused(t, strings.TrimPrefix(r.admin, "http://"))
}

// TestFailedTakeOverLeavesTheSocketFile: a new process that gives up does not
// take the control socket's file with it.
func TestFailedTakeOverLeavesTheSocketFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "admin.sock")
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	f := must(ln.File())
	defer f.Close()
	file := writeConfig(t, fmt.Sprintf("listeners: [{address: \"127.0.0.1:0\", pool: p}]\npools: {p: {servers: [\"127.0.0.1:1\"]}}\nadmin: {socket: %q}\n", path))
	program := filepath.Join(t.TempDir(), "culvert")
	copyProgram(t, program)
	g, err := upgrade.Launch(program, []string{"run", file})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Abort()
	if _, err := g.Offer(upgrade.Offer{}, map[string][]int{"admin unix:" + path: {int(f.Fd())}}); err != nil {
		t.Fatal(err)
	}
	if _, err := g.Give(garbled(int(f.Fd()))); err == nil || !strings.Contains(err.Error(), "descriptors without a connection") {
		t.Errorf("the new process says %v", err)
	}
	awaitExit(t, g.PID())
	if _, err := os.Stat(path); err != nil {
		t.Error(err)
	}
}

// garbled yields a connection that has a descriptor more than it says when it
// is sent.
func garbled(fd int) func(func(*l4.Handover) bool) {
	return func(yield func(*l4.Handover) bool) {
		h := &l4.Handover{Ends: [2]l4.HandoverEnd{{Open: true}}}
		h.SetFDs([]int{fd})
		yield(h)
		h.Ends[0].Open = false
	}
}
