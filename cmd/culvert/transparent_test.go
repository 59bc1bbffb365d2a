package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestTransparent: with the rules that check prints, a server sees the client's
// own address, and its answers come back. Client, balancer and server are in
// networks of their own.
func TestTransparent(t *testing.T) {
	if os.Getuid() != 0 {
		missing(t, "root")
	}
	need(t, "ip")
	need(t, "nft")
	n := networks(t)
	servers := n.listen("sv", "10.2.0.2:443")
	file := writeConfig(t, `listeners: [{address: "10.1.0.1:443", pool: p}]
pools: {p: {servers: ["10.2.0.2:443"], source: client}}
log: {access: "off"}
`)
	out, status := culvert(t, "check", file)
	_, rules, ok := strings.Cut(out, "to the clients:\n")
	if status != 0 || !ok {
		t.Fatalf("check: status %d\n%s", status, out)
	}
	n.sh("lb", rules)
	p := startCommand(t, exec.Command("ip", "netns", "exec", n.name("lb"), must(exec.LookPath("culvert")), "run", file), stderr)
	p.expect("ready")
	for range 5 {
		conn := n.dial("cl", "10.1.0.1:443")
		server := <-servers
		if got, want := server.RemoteAddr().(*net.TCPAddr).IP.String(), "10.1.0.2"; got != want {
			t.Errorf("the server sees %s, want %s", got, want)
		}
		go func() { _, _ = server.Write([]byte("ahoy\n")) }()
		_ = conn.SetDeadline(time.Now().Add(patience))
		if b := make([]byte, 5); must(conn.Read(b)) != 5 || string(b) != "ahoy\n" {
			t.Errorf("the client got %q", b)
		}
		server.Close()
		conn.Close()
	}
}

// nets are three networks: a client's, a server's, and a balancer's between.
type nets struct {
	t      *testing.T
	suffix string
}

func networks(t *testing.T) *nets {
	t.Helper()
	n := &nets{t, fmt.Sprintf("%d", os.Getpid())}
	t.Cleanup(func() {
		for _, x := range []string{"cl", "lb", "sv"} {
			_ = exec.Command("ip", "netns", "del", n.name(x)).Run()
		}
	})
	n.run(fmt.Sprintf(`
for x in cl lb sv; do ip netns add culvert-$x-%[1]s; ip -n culvert-$x-%[1]s link set lo up; done
ip link add eth0 netns culvert-cl-%[1]s type veth peer name cl netns culvert-lb-%[1]s
ip link add eth0 netns culvert-sv-%[1]s type veth peer name sv netns culvert-lb-%[1]s
ip -n culvert-cl-%[1]s addr add 10.1.0.2/24 dev eth0
ip -n culvert-sv-%[1]s addr add 10.2.0.2/24 dev eth0
ip -n culvert-lb-%[1]s addr add 10.1.0.1/24 dev cl
ip -n culvert-lb-%[1]s addr add 10.2.0.1/24 dev sv
for i in cl sv; do ip -n culvert-lb-%[1]s link set $i up; ip -n culvert-$i-%[1]s link set eth0 up; done
ip -n culvert-cl-%[1]s route add default via 10.1.0.1
ip -n culvert-sv-%[1]s route add default via 10.2.0.1
`, n.suffix))
	return n
}

func (n *nets) name(x string) string { return "culvert-" + x + "-" + n.suffix }

func (n *nets) run(script string) {
	n.t.Helper()
	if out, err := exec.Command("sh", "-ec", script).CombinedOutput(); err != nil {
		n.t.Fatalf("%s: %v\n%s", script, err, out)
	}
}

// sh runs a script in network x.
func (n *nets) sh(x, script string) {
	n.t.Helper()
	cmd := exec.Command("ip", "netns", "exec", n.name(x), "sh", "-ec", script)
	if out, err := cmd.CombinedOutput(); err != nil {
		n.t.Fatalf("in %s: %s: %v\n%s", x, script, err, out)
	}
}

// in calls f with a thread that is in network x: sockets stay where they were
// made.
func (n *nets) in(x string, f func()) {
	n.t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	home := must(os.Open("/proc/thread-self/ns/net"))
	defer home.Close()
	there := must(os.Open("/run/netns/" + n.name(x)))
	defer there.Close()
	if err := unix.Setns(int(there.Fd()), unix.CLONE_NEWNET); err != nil {
		n.t.Fatal(err)
	}
	defer func() {
		if err := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); err != nil {
			panic(err) // the thread is of no more use
		}
	}()
	f()
}

func (n *nets) listen(x, address string) <-chan net.Conn {
	n.t.Helper()
	var ln net.Listener
	n.in(x, func() { ln = must(net.Listen("tcp4", address)) })
	n.t.Cleanup(func() { ln.Close() })
	conns := make(chan net.Conn)
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			conns <- c
		}
	}()
	return conns
}

func (n *nets) dial(x, address string) (c net.Conn) {
	n.t.Helper()
	n.in(x, func() { c = must(net.DialTimeout("tcp4", address, patience)) })
	n.t.Cleanup(func() { c.Close() })
	return c
}
