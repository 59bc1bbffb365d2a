package main

import (
	"encoding/json"
	"fmt"
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
	r.expect(`msg="closed the connections of a server".* connections=5\n`)
}

// TestDrainSaysWhatItFound: a server is told of that was drained already, or
// was not, and a pool of which nothing is left.
func TestDrainSaysWhatItFound(t *testing.T) {
	r := startRun(t, "")
	name := "chat/" + r.origin.address
	for _, step := range []struct{ command, want string }{
		{"undrain", name + ": was not drained, it is in service\n"},
		{"drain", name + ": draining, 0 connections\nwarning: no server of the pool chat is left for new connections\n"},
		{"drain", name + ": was drained already, 0 connections\nwarning: no server of the pool chat is left for new connections\n"},
		{"undrain", name + ": in service again\n"},
	} {
		if got := r.ask(step.command, r.origin.address); got != step.want {
			t.Errorf("%s: %q, want %q", step.command, got, step.want)
		}
	}
	r.reconfigure(fmt.Sprintf(`{servers: [%q, {address: "127.0.0.1:1", down: on}], panic: off, health: {check: tcp, port: 1, fall: 1, interval: 50ms, timeout: 50ms}}`, r.origin.address))
	eventually(t, "the check has failed", func() bool { return strings.Contains(r.ask("status"), "unhealthy") })
	for _, step := range []struct{ command, want string }{
		{"undrain", name + ": was not drained; still unhealthy ("},
		{"drain", name + ": draining, 0 connections\nwarning: "},
		{"undrain", name + ": drained no more, but still unhealthy ("},
	} {
		if got := r.ask(step.command, r.origin.address); !strings.HasPrefix(got, step.want) {
			t.Errorf("%s: %q, want %q", step.command, got, step.want)
		}
	}
	if got := r.ask("undrain", "127.0.0.1:1"); got != "chat/127.0.0.1:1: was not drained; still down in the file\n" {
		t.Errorf("undrain of a server that is down: %q", got)
	}
}

// TestUnknownNames: a name that nothing has is a mistake, but not one that a
// connection still has.
func TestUnknownNames(t *testing.T) {
	r := startRun(t, "")
	for _, args := range [][]string{{"connections", "--server", "nobody"}, {"kill", "--server", "nobody"}, {"connections", "--pool", "nobody"}, {"kill", "--listener", "nobody"}} {
		what := strings.TrimPrefix(args[1], "--")
		out, status := culvert(t, append(args, "--socket", r.socket)...)
		if status != 1 || !strings.Contains(out, "no "+what+` is called "nobody": there are `) {
			t.Errorf("%v: status %d\n%s", args, status, out)
		}
	}
	r.dial()
	r.reconfigure(`{servers: ["127.0.0.1:1"]}`)
	if out := r.ask("connections", "--server", r.origin.address); !strings.Contains(out, "chat.example.com") {
		t.Errorf("connections of a server that is gone:\n%s", out)
	}
	if out := r.ask("kill", "--server", r.origin.address); !strings.Contains(out, "closed 1 connection") {
		t.Errorf("kill of those: %q", out)
	}
}

// TestStatusSaysWhere: where a listener is, and which servers' names have no
// address.
func TestStatusSaysWhere(t *testing.T) {
	r := startRun(t, `dns: {require: "off", servers: "127.0.0.1:1"}`)
	if out := r.ask("status"); !regexp.MustCompile(`127\.0\.0\.1:0 +` + regexp.QuoteMeta(r.address)).MatchString(out) {
		t.Errorf("the listener's address %s is missing:\n%s", r.address, out)
	}
	text := strings.Replace(string(must(os.ReadFile(r.file))), "chat: {servers: [", `chat: {servers: [{name: gone, address: "nobody.invalid:443"}, `, 1)
	if err := os.WriteFile(r.file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	r.ask("reload")
	if out := r.ask("status"); !regexp.MustCompile(`gone +unresolved`).MatchString(out) {
		t.Errorf("the server without an address:\n%s", out)
	}
	echo(t, r.dial())
}

// TestRefusedUpgradeSaysWhatGoesOn: the new process cannot read the file.
func TestRefusedUpgradeSaysWhatGoesOn(t *testing.T) {
	r := startRun(t, "")
	if err := os.WriteFile(r.file, []byte("loops: 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	out, status := culvert(t, "upgrade", "--socket", r.socket)
	if status != 1 || !strings.Contains(out, "not upgraded, the running process goes on: ") {
		t.Errorf("status %d\n%s", status, out)
	}
	r.expect(`msg="admin socket" request=/v1/upgrade .* refused=true\n`)
	echo(t, r.dial())
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
