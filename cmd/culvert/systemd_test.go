package main

import (
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// manager is a service manager's end of sd_notify(3).
func manager(t *testing.T) (env string, next func() string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify")
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return "NOTIFY_SOCKET=" + path, func() string {
		_ = c.SetReadDeadline(time.Now().Add(patience))
		b := make([]byte, 1024)
		n, err := c.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		return string(b[:n])
	}
}

// TestManagerIsTold: systemd learns when culvert is ready, reloads, hands over
// and stops.
func TestManagerIsTold(t *testing.T) {
	env, next := manager(t)
	t.Setenv("NOTIFY_SOCKET", strings.TrimPrefix(env, "NOTIFY_SOCKET="))
	r := startUpgradable(t, "")
	want := func(part string) {
		t.Helper()
		if got := next(); !strings.Contains(got, part) {
			t.Errorf("the manager was told %q, want %q", got, part)
		}
	}
	want("READY=1")
	r.signal(syscall.SIGHUP)
	want("RELOADING=1\nMONOTONIC_USEC=")
	want("READY=1")
	r.upgrade()
	told := next() + " " + next()
	if !strings.Contains(told, fmt.Sprintf("MAINPID=%d", r.current())) || !strings.Contains(told, "READY=1") {
		t.Errorf("an upgrade told %q", told)
	}
	_ = syscall.Kill(r.current(), syscall.SIGTERM)
	want("STOPPING=1")
}

// TestSocketActivation: culvert takes the sockets that a manager has opened,
// with what waits in their queues, and any number of loops polls them.
func TestSocketActivation(t *testing.T) {
	var lc net.ListenConfig
	lc.SetMultipathTCP(false) // as systemd's are, unless SocketProtocol=mptcp
	ln, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	waiting, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer waiting.Close()
	f, err := ln.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	o := startOrigin(t)
	file := writeConfig(t, fmt.Sprintf("listeners: [{address: %q, default: chat}]\npools: {chat: {servers: [%q]}}\nlog: {access: \"off\"}\nloops: 3\n", ln.Addr(), o.address))
	// LISTEN_PID must be the process's own, which a shell becomes.
	cmd := exec.Command("sh", "-c", `LISTEN_PID=$$ LISTEN_FDS=1 exec culvert run "$0"`, file)
	cmd.ExtraFiles = []*os.File{f}
	p := startCommand(t, cmd, stderr)
	p.expect("ready")
	r := &runProcess{process: p, origin: o, address: ln.Addr().String()}
	for range 10 {
		r.dial()
	}
	sealed := tls.Client(waiting, &tls.Config{RootCAs: o.roots, ServerName: "chat.example.com"})
	echo(t, sealed)
}
