package main

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestNamesAreFollowed: a real DNS server changes its answer, and culvert its
// servers; connections of the old one go on.
func TestNamesAreFollowed(t *testing.T) {
	need(t, "dnsmasq")
	dnsPort := freePort(t)
	o := startOrigin(t)
	_, port, _ := net.SplitHostPort(o.address)
	hosts := filepath.Join(t.TempDir(), "hosts")
	stop := startDNS(t, hosts, dnsPort, "127.0.0.1")
	file := writeConfig(t, fmt.Sprintf(`listeners:
  - {address: "127.0.0.1:0", default: chat}
pools:
  chat: {servers: ["chat.test:%s"]}
dns: {servers: "127.0.0.1:%s", min_ttl: 100ms, max_ttl: 100ms}
log: {access: "off"}
admin: {socket: %q}
`, port, dnsPort, filepath.Join(filepath.Dir(hosts), "admin.sock")))
	r := &runProcess{origin: o, socket: filepath.Join(filepath.Dir(hosts), "admin.sock")}
	r.process = start(t, stderr, nil, "run", file)
	r.address = r.expect(`listening on (127\.0\.0\.1:\d+)`)[1]
	r.expect("ready")
	conn := r.dial()
	stop()
	r.expect("cannot be looked up, its last addresses stay in use")
	echo(t, r.dial())
	startDNS(t, hosts, dnsPort, "127.0.0.2")
	r.expect(`the addresses of a name have changed.* name=chat.test`)
	eventually(t, "the server has another address", func() bool {
		out := r.ask("status")
		return strings.Contains(out, "127.0.0.2:"+port) && !strings.Contains(out, "127.0.0.1:"+port)
	})
	echo(t, conn)
}

// freePort returns a port that nothing uses, and that the kernel gives to
// nobody who asks for any: the program that it is for opens it later.
func freePort(t *testing.T) string {
	t.Helper()
	for range 100 {
		addr := fmt.Sprintf("127.0.0.1:%d", 20000+rand.IntN(10000))
		ln, err := net.Listen("tcp", addr)
		if err != nil {
			continue
		}
		ln.Close()
		pc, err := net.ListenPacket("udp", addr)
		if err != nil {
			continue
		}
		pc.Close()
		return strings.TrimPrefix(addr, "127.0.0.1:")
	}
	t.Fatal("no port is free")
	return ""
}

// startDNS runs dnsmasq with one name.
func startDNS(t *testing.T, hosts, port, addr string) (stop func()) {
	t.Helper()
	if err := os.WriteFile(hosts, []byte(addr+" chat.test\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("dnsmasq", "--keep-in-foreground", "--no-resolv", "--no-hosts", "--conf-file=/dev/null", "--pid-file",
		"--addn-hosts="+hosts, "--port="+port, "--listen-address=127.0.0.1", "--bind-interfaces", "--user=root", "--log-facility=-")
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "dnsmasq listens", func() bool {
		c, err := net.Dial("tcp", "127.0.0.1:"+port)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	stop = func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	t.Cleanup(stop)
	return stop
}
