package main

import (
	"crypto/tls"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
)

// The tests here, and others named TestP and a number, show a promise of
// docs/promises.md.

// long is how much of something a test does: little in every run, much when
// CULVERT_SOAK=1 asks for it.
func long(usual, much int) int {
	if os.Getenv("CULVERT_SOAK") == "1" {
		return much
	}
	return usual
}

// loaded runs f while clients connect all the time and others keep their
// connections, and checks that nobody noticed.
func loaded(t *testing.T, r *runProcess, f func()) {
	t.Helper()
	var conns []*tls.Conn
	for range 20 {
		conns = append(conns, r.dial())
	}
	stop := make(chan struct{})
	failed := make(chan error, 2)
	var clients sync.WaitGroup
	for range cap(failed) {
		clients.Go(func() { failed <- hammer(r, stop) })
	}
	f()
	close(stop)
	clients.Wait()
	for range cap(failed) {
		if err := <-failed; err != nil {
			t.Error(err)
		}
	}
	for _, c := range conns {
		echo(t, c)
		c.Close()
	}
}

func TestP1ReloadLosesNothing(t *testing.T) {
	r := startRun(t, "")
	good := string(must(os.ReadFile(r.file)))
	r.ask("reload")
	before := r.descriptors()
	loaded(t, r, func() {
		for i := range long(40, 1000) {
			text := good
			if i%2 == 0 { // another server, another route, another listener
				text = strings.Replace(text, "servers: [", `servers: ["127.0.0.1:1", `, 1)
				text = strings.Replace(text, "routes:\n", "routes:\n      - {server_name: other.example.com, action: close}\n", 1)
				text = strings.Replace(text, "listeners:\n", "listeners:\n  - {address: \"127.0.0.1:0\", name: second, default: chat}\n", 1)
			}
			if err := os.WriteFile(r.file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			r.ask("reload")
		}
	})
	eventually(t, "descriptors are back at what they were", func() bool { return r.descriptors() <= before+5 })
}

// descriptors counts those of the process that serves.
func (r *runProcess) descriptors() int {
	r.t.Helper()
	d, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", r.current()))
	if err != nil {
		r.t.Fatal(err)
	}
	return len(d)
}

func TestP2UpgradeLosesNothing(t *testing.T) {
	r := startUpgradable(t, "")
	loaded(t, r, func() {
		for range long(4, 100) {
			r.upgrade()
		}
	})
}

// TestP3BadFileChangesNothing: a file that was cut off or garbled anywhere is
// refused, or means what it says.
func TestP3BadFileChangesNothing(t *testing.T) {
	r := startRun(t, "")
	conn := r.dial()
	good := must(os.ReadFile(r.file))
	rnd := rand.New(rand.NewPCG(3, 3))
	for range long(30, 1000) {
		bad := []byte(strings.Replace(string(good), "chat:", "chat: {servers: 7}", 1))
		bad = bad[:rnd.IntN(len(bad))]
		if err := os.WriteFile(r.file, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		if out, status := culvert(t, "reload", "--socket", r.socket); status != 1 {
			t.Fatalf("a reload of %q: status %d, %s", bad, status, out)
		}
	}
	echo(t, conn)
	echo(t, r.dial())
	if out, status := culvert(t, "check", r.file); status != 1 {
		t.Errorf("check: status %d, %s", status, out)
	}
}

// TestP4NothingIsAskedOnceEjected: a server that refuses costs its failures,
// and then no connection any more.
func TestP4NothingIsAskedOnceEjected(t *testing.T) {
	r := startRun(t, "")
	r.reconfigure(fmt.Sprintf(`{balance: round-robin, servers: ["127.0.0.1:1", %q], eject: {failures: 3, time: 1h}}`, r.origin.address))
	for range 30 {
		r.dial()
	}
	r.expect(`msg="server ejected".* server=127\.0\.0\.1:1 .*reason=connect_refused`)
	out := r.ask("status")
	line := out[strings.Index(out, "127.0.0.1:1 "):]
	if fields := strings.Fields(line); fields[1] != "ejected" || fields[4] != "3" {
		t.Errorf("%v, want it ejected after 3 failures", fields)
	}
}

// TestP15AllEjectedMeansTryAll: servers that were all ejected are asked all the
// same.
func TestP15AllEjectedMeansTryAll(t *testing.T) {
	r := startRun(t, "")
	a, b := startEcho(t, r.origin.cert), startEcho(t, r.origin.cert)
	r.reconfigure(fmt.Sprintf(`{servers: [%q, %q], eject: {failures: 1, time: 1h, share: 1}}`, a.address, b.address))
	a.toggle()
	b.toggle()
	for range 4 {
		d := tls.Dialer{Config: &tls.Config{RootCAs: r.origin.roots, ServerName: "chat.example.com"}}
		if c, err := d.Dial("tcp", r.address); err == nil {
			c.Close()
			t.Fatal("somebody answered")
		}
	}
	r.expect(`(?s)(msg="server ejected".*){2}`)
	a.toggle()
	b.toggle()
	r.dial()
}

// TestP2UpgradeOfManyConnections: as many as descriptors carry change hands at
// once, and each still works.
func TestP2UpgradeOfManyConnections(t *testing.T) {
	n := long(500, 8000)
	r := startUpgradable(t, "")
	server := startEcho(t, r.origin.cert)
	r.plain(server.address)
	conns := make([]net.Conn, n)
	for i := range conns {
		c, err := net.DialTimeout("tcp", r.address, patience)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		conns[i] = c
	}
	eventually(t, "all are relayed", func() bool {
		return strings.Contains(r.ask("status"), fmt.Sprintf(", %d of ", n))
	})
	for range long(2, 10) {
		r.upgrade()
	}
	for i, m := range regexp.MustCompile(`msg="handed over".* took=(\S+)`).FindAllStringSubmatch(r.text(), -1) {
		t.Logf("upgrade %d with %d connections took %s", i+1, n, m[1])
	}
	for i, c := range conns {
		sealed := tls.Client(c, &tls.Config{RootCAs: r.origin.roots, ServerName: "chat.example.com"})
		if i%(n/100) == 0 { // all of them would be a test of TLS
			echo(t, sealed)
		}
	}
	if out := r.ask("status"); !strings.Contains(out, fmt.Sprintf(", %d of ", n)) {
		t.Errorf("want %d connections:\n%s", n, out)
	}
}

// plain makes the listener plain TCP before a server.
func (r *runProcess) plain(server string) {
	r.t.Helper()
	text := fmt.Sprintf("listeners: [{address: \"127.0.0.1:0\", pool: p}]\npools: {p: {servers: [%q]}}\nlog: {access: %q}\nadmin: {address: \"127.0.0.1:0\", socket: %q}\n",
		server, r.log, r.socket)
	if err := os.WriteFile(r.file, []byte(text), 0o600); err != nil {
		r.t.Fatal(err)
	}
	r.ask("reload")
}
