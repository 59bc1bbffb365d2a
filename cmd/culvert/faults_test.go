package main

import (
	"crypto/sha256"
	"fmt"
	"hash"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// TestP8StreamsSurviveLoss: with every thirtieth packet lost between client,
// balancer and server, each byte arrives, in both directions at once.
func TestP8StreamsSurviveLoss(t *testing.T) {
	if os.Getuid() != 0 {
		missing(t, "root")
	}
	need(t, "ip")
	need(t, "nft")
	n := networks(t)
	servers := n.listen("sv", "10.2.0.2:443")
	file := writeConfig(t, "listeners: [{address: \"10.1.0.1:443\", pool: p}]\npools: {p: {servers: [\"10.2.0.2:443\"], timeouts: {connect: 1m, failover: off}}}\nlog: {access: \"off\"}\n") // a SYN may be lost several times
	p := startCommand(t, exec.Command("ip", "netns", "exec", n.name("lb"), must(exec.LookPath("culvert")), "run", file), stderr)
	p.expect("ready")
	n.sh("lb", `nft -f - <<'END'
table inet loss {
  chain in { type filter hook input priority 0; iif != "lo" numgen random mod 30 == 0 drop; }
  chain out { type filter hook output priority 0; oif != "lo" numgen random mod 30 == 0 drop; }
}
END`)
	var both sync.WaitGroup
	for range 4 {
		conn := n.dial("cl", "10.1.0.1:443")
		select {
		case server := <-servers:
			both.Go(func() { exchange(t, conn, server, long(256<<10, 16<<20)) })
		case <-time.After(2 * patience):
			t.Fatal("the server got no connection")
		}
	}
	both.Wait()
}

// exchange sends random bytes from each end to the other, at once, and checks
// what arrives.
func exchange(t *testing.T, a, b net.Conn, size int) {
	defer a.Close()
	defer b.Close()
	var all sync.WaitGroup
	var sent, got [2]hash.Hash
	for i, ends := range [][2]net.Conn{{a, b}, {b, a}} {
		sent[i], got[i] = sha256.New(), sha256.New()
		_ = ends[0].SetDeadline(time.Now().Add(time.Duration(long(1, 30)) * patience))
		all.Go(func() {
			source := rand.NewChaCha8([32]byte{byte(i)})
			_, _ = io.CopyN(io.MultiWriter(ends[0], sent[i]), source, int64(size))
			_ = ends[0].(*net.TCPConn).CloseWrite()
		})
		all.Go(func() {
			if n, err := io.Copy(got[i], ends[1]); err != nil || n != int64(size) {
				t.Errorf("%d of %d bytes arrived, %v", n, size, err)
			}
		})
	}
	all.Wait()
	for i := range sent {
		if string(sent[i].Sum(nil)) != string(got[i].Sum(nil)) {
			t.Error("what arrived is not what was sent")
		}
	}
}

// freeze stops p, and waits until none of its threads runs: the signal only
// asks for it.
func (p *process) freeze() {
	p.t.Helper()
	p.signal(syscall.SIGSTOP)
	eventually(p.t, "all threads are stopped", func() bool {
		threads := must(filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", p.cmd.Process.Pid)))
		for _, file := range threads {
			if text, err := os.ReadFile(file); err != nil || !strings.Contains(string(text), "State:\tT") {
				return false
			}
		}
		return len(threads) > 0
	})
}

// TestP5StoppedServer: a server that is stopped with SIGSTOP still has its
// kernel accept. Its clients get another one after the first-byte timeout,
// until checks of its TLS have found out; and it serves again when it goes on.
func TestP5StoppedServer(t *testing.T) {
	r := startRun(t, "")
	file := writeConfig(t, fmt.Sprintf("listeners: [{address: \"127.0.0.1:0\", pool: p}]\npools: {p: {servers: [%q]}}\nlog: {access: \"off\"}\n", r.origin.address))
	victim := start(t, stderr, nil, "run", file) // a process of its own before the same origin
	address := victim.expect(`listening on (127\.0\.0\.1:\d+)`)[1]
	victim.expect("ready")
	pool := `{servers: [%q, %q], balance: round-robin, timeouts: {first_byte: 1s}, eject: off, health: {check: %s, interval: 100ms, fast_interval: 100ms, timeout: 100ms, fall: 2, rise: 1}}`

	r.reconfigure(fmt.Sprintf(pool, address, r.origin.address, "tcp"))
	victim.freeze()
	for range 4 {
		leave(t, r.dial())
	}
	eventually(t, "the four have records", func() bool { return len(r.records()) == 4 })
	left := 0
	for _, rec := range r.records() {
		if rec["server"] != r.origin.address {
			t.Errorf("served by %v", rec["server"])
		}
		if strings.Contains(fmt.Sprint(rec["tries"]), "first_byte_timeout") {
			left++
		}
	}
	if left != 2 {
		t.Errorf("%d of four came to the stopped server first, in turn it were two", left)
	}

	r.reconfigure(fmt.Sprintf(pool, address, r.origin.address, "tls"))
	r.expect(`msg="server is down".*` + address)
	victim.signal(syscall.SIGCONT)
	r.expect(`msg="server is up".*` + address)
	for range 2 {
		r.dial()
	}
}
