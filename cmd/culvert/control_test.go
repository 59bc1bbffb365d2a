package main

import (
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"

	"culvert/cmd/internal/admin"
)

// ask runs a command that uses the control socket, which must succeed.
func (r *runProcess) ask(args ...string) string {
	r.t.Helper()
	out, status := culvert(r.t, append(args, "--socket", r.socket)...)
	if status != 0 {
		r.t.Fatalf("culvert %s: status %d\n%s", strings.Join(args, " "), status, out)
	}
	return out
}

func TestDrainAndUndrain(t *testing.T) {
	r := startRun(t, "")
	conn := r.dial()
	if out := r.ask("drain", r.origin.address); !strings.Contains(out, "chat/"+r.origin.address+": draining, 1 connection") {
		t.Errorf("drain: %q", out)
	}
	r.expect(`msg="server drained"`)
	echo(t, conn)
	if out := r.ask("status"); !strings.Contains(out, "drained") {
		t.Errorf("status:\n%s", out)
	}
	r.ask("reload")
	if out := r.ask("status"); !strings.Contains(out, "drained") {
		t.Errorf("status after a reload:\n%s", out)
	}
	if out := r.ask("undrain", "chat/"+r.origin.address); !strings.Contains(out, "in service again") {
		t.Errorf("undrain: %q", out)
	}
	echo(t, r.dial())
}

func TestDrainClosesAtAPace(t *testing.T) {
	r := startRun(t, "")
	for range 5 {
		r.dial()
	}
	r.ask("drain", r.origin.address, "--within", "100ms")
	r.expect(`msg="closed the connections of a server".* connections=5 `)
}

func TestConnectionsAndKill(t *testing.T) {
	r := startRun(t, "")
	conn := r.dial()
	r.dial()
	var list admin.ConnectionList
	if err := json.Unmarshal([]byte(r.ask("connections", "--json", "--client", "127.0.0.0/8")), &list); err != nil {
		t.Fatal(err)
	}
	if len(list.Connections) != 2 || list.Total != 2 || list.Connections[0].ServerName != "chat.example.com" {
		t.Fatalf("connections: %+v", list)
	}
	if out := r.ask("connections", "--client", "192.0.2.0/24"); strings.Contains(out, "chat.example.com") {
		t.Errorf("connections of another prefix:\n%s", out)
	}
	id := ""
	for _, c := range list.Connections {
		if c.Client == conn.LocalAddr().String() {
			id = regexp.MustCompile(`\d+`).FindString(string(must(json.Marshal(c.ID))))
		}
	}
	if out := r.ask("kill", id); !strings.Contains(out, "closed 1 connection") {
		t.Errorf("kill: %q", out)
	}
	if _, err := conn.Read(make([]byte, 1)); err == nil {
		t.Error("the connection lives")
	}
	if out := r.ask("kill", "--name", "chat.example.com"); !strings.Contains(out, "closed 1 connection") {
		t.Errorf("kill of the rest: %q", out)
	}
	if out, status := culvert(t, "kill", "--socket", r.socket); status != 1 || !strings.Contains(out, "say which connections") {
		t.Errorf("kill of nothing: status %d\n%s", status, out)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestReloadOverTheSocket(t *testing.T) {
	r := startRun(t, "")
	conn := r.dial()
	good := must(os.ReadFile(r.file))
	if err := os.WriteFile(r.file, []byte(strings.Replace(string(good), "pools:", "poools:", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	out, status := culvert(t, "reload", "--socket", r.socket)
	if status != 1 || !strings.Contains(out, `unknown key "poools"`) {
		t.Errorf("reload of a bad file: status %d\n%s", status, out)
	}
	echo(t, r.dial())
	if err := os.WriteFile(r.file, good, 0o600); err != nil {
		t.Fatal(err)
	}
	if out := r.ask("reload"); out != "reloaded\n" {
		t.Errorf("reload: %q", out)
	}
	echo(t, conn)
}

func TestTop(t *testing.T) {
	r := startRun(t, "")
	r.dial()
	out := r.ask("top", "--every", "100ms", "--rounds", "2")
	if strings.Count(out, "SERVER") != 2 || !strings.Contains(out, "chat/"+r.origin.address) {
		t.Errorf("top:\n%s", out)
	}
}

func TestNobodyAnswers(t *testing.T) {
	out, status := culvert(t, "status", "--socket", "/nonexistent/admin.sock")
	if status != 1 || !strings.Contains(out, "is it running") {
		t.Errorf("status %d\n%s", status, out)
	}
}

// TestSocketIsPrivate: the file is for its owner only, one left behind is
// replaced, and one in use is not.
func TestSocketIsPrivate(t *testing.T) {
	r := startRun(t, "")
	info, err := os.Stat(r.socket)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("%v, %v, want mode 0600", info.Mode(), err)
	}
	out, status := culvert(t, "run", r.file)
	if status != 1 || !strings.Contains(out, "address already in use") {
		t.Errorf("a second culvert on the same socket: status %d\n%s", status, out)
	}
	echo(t, r.dial())
	if err := r.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-r.done
	again := start(t, stderr, nil, "run", r.file)
	again.expect("ready")
	if _, status := culvert(t, "status", "--socket", r.socket); status != 0 {
		t.Error("the socket that a killed process left is not replaced")
	}
}
