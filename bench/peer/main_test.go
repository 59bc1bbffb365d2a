package peer

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// waitLimit is how long a test waits for an event that normally happens soon.
// Only a failing test waits as long.
const waitLimit = 20 * time.Second

// TestMain makes the test binary run as the relay, and as other programs that
// the tests start.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		command, ok := map[string]func([]string) error{
			"relay": RelayCommand, "stubborn": stubborn, "harness": harness,
		}[os.Args[1]]
		if ok {
			if err := command(os.Args[2:]); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
			os.Exit(0)
		}
	}
	status := m.Run()
	if dir, err := buildCulvert(); err == nil {
		os.RemoveAll(dir)
	}
	os.Exit(status)
}

// buildCulvert builds the program in a folder of its own, once.
var buildCulvert = sync.OnceValues(func() (dir string, err error) {
	if dir, err = os.MkdirTemp("", "culvert-peer-test"); err != nil {
		return "", err
	}
	out, err := exec.Command("go", "build", "-o", dir, "culvert/cmd/culvert").CombinedOutput()
	if err != nil {
		return dir, fmt.Errorf("%w: %s", err, out)
	}
	return dir, nil
})

// stubborn listens on its argument and has a child; both ignore SIGTERM.
func stubborn(args []string) error {
	signal.Ignore(syscall.SIGTERM)
	if len(args) > 1 { // the child
		select {}
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	if err := exec.Command(self, "stubborn", args[0], "child").Start(); err != nil {
		return err
	}
	if _, err := net.Listen("tcp", args[0]); err != nil {
		return err
	}
	select {}
}

// harness starts a relay, prints its process ID, and waits to be killed.
func harness(args []string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	r, err := relayPeer(self).Start(context.Background(), Setup{Servers: []string{"127.0.0.1:1"}}, args[0])
	if err != nil {
		return err
	}
	fmt.Println(r.PIDs()[0])
	select {}
}

// self is the test binary.
func self(t *testing.T) string {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// peers returns the named peers, culvert from this tree.
func peers(t *testing.T, names ...string) []Peer {
	t.Helper()
	var ps []Peer
	for _, p := range Known(self(t)) {
		for _, name := range names {
			if p.Name != name {
				continue
			}
			if name == "culvert" {
				p = p.WithBinary(builtCulvert(t))
			}
			ps = append(ps, p)
		}
	}
	if len(ps) != len(names) {
		t.Fatalf("not all of %v are known", names)
	}
	return ps
}

func builtCulvert(t *testing.T) string {
	t.Helper()
	dir, err := buildCulvert()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "culvert")
}

// forEach runs f for each installed peer. In CI those that are always measured
// must be installed.
func forEach(t *testing.T, names []string, f func(*testing.T, Peer)) {
	t.Helper()
	for _, p := range peers(t, names...) {
		t.Run(p.Name, func(t *testing.T) {
			if err := p.Find(); err != nil {
				if os.Getenv("CI") == "true" && !p.Optional {
					t.Fatal(err)
				}
				t.Skip(err)
			}
			f(t, p)
		})
	}
}

// begin starts a peer and stops it at the end of the test.
func begin(t *testing.T, p Peer, s Setup) *Running {
	t.Helper()
	if s.Workers == 0 {
		s.Workers = 2
	}
	r, err := p.Start(t.Context(), s, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Stop)
	return r
}

// goodbye is what the server sends after the client's EOF.
const goodbye = "bye"

// echoServer echoes all bytes, and sends goodbye after EOF.
func echoServer(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				if _, err := io.Copy(struct{ io.Writer }{c}, struct{ io.Reader }{c}); err == nil { // without pipes
					_, _ = io.WriteString(c, goodbye)
				}
			}()
		}
	}()
	return ln.Addr().String()
}

// refused returns an address on which no process listens, below the ephemeral
// ports.
func refused(t *testing.T) string {
	t.Helper()
	addr, err := freeAddr()
	if err != nil {
		t.Fatal(err)
	}
	return addr
}

// hello is a ClientHello for name.
func hello(t *testing.T, name string) []byte {
	t.Helper()
	client, server := net.Pipe()
	defer server.Close()
	go func() {
		defer client.Close()
		_ = tls.Client(client, &tls.Config{ServerName: name, InsecureSkipVerify: true}).Handshake()
	}()
	head := make([]byte, 5)
	if _, err := io.ReadFull(server, head); err != nil {
		t.Fatal(err)
	}
	body := make([]byte, int(head[3])<<8|int(head[4]))
	if _, err := io.ReadFull(server, body); err != nil {
		t.Fatal(err)
	}
	return append(head, body...)
}

// client is a connection that has sent a hello and received its echo.
type client struct {
	*net.TCPConn
}

func (c client) echo(b []byte) error {
	_ = c.SetDeadline(time.Now().Add(waitLimit))
	if _, err := c.Write(b); err != nil {
		return err
	}
	got := make([]byte, len(b))
	if _, err := io.ReadFull(c, got); err != nil {
		return err
	}
	if !bytes.Equal(got, b) {
		return errors.New("something else came back")
	}
	return nil
}

// dial connects from the i-th loopback address. For the first one the kernel
// chooses the address, with which it finds a port faster.
func dial(addr string, hello []byte, i int) (client, error) {
	var from net.Dialer
	if i > 0 {
		from.LocalAddr = &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(1+i))}
	}
	c, err := from.Dial("tcp", addr)
	if err != nil {
		return client{}, err
	}
	cl := client{c.(*net.TCPConn)}
	if err := cl.echo(hello); err != nil {
		c.Close()
		return client{}, err
	}
	return cl, nil
}

// open dials with a hello for ServerName and closes at the end of the test.
func open(t *testing.T, addr string) client {
	t.Helper()
	c, err := dial(addr, hello(t, ServerName), 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// gone waits until the processes have ended and been reaped.
func gone(t *testing.T, pids []int) {
	t.Helper()
	for end := time.Now().Add(waitLimit); ; time.Sleep(time.Millisecond) {
		var left []int
		for _, pid := range pids {
			if _, err := os.Stat("/proc/" + strconv.Itoa(pid)); err == nil {
				left = append(left, pid)
			}
		}
		if len(left) == 0 {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("processes %v are still there", left)
		}
	}
}

// startedIn returns the processes whose working folder is below dir.
func startedIn(dir string) []int {
	var pids []int
	links, _ := filepath.Glob("/proc/[0-9]*/cwd")
	for _, l := range links {
		if target, err := os.Readlink(l); err == nil && strings.HasPrefix(target, dir) {
			pid, _ := strconv.Atoi(strings.Split(l, "/")[2])
			pids = append(pids, pid)
		}
	}
	return pids
}

// script is a program of a few lines of shell.
func script(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// firstLine reads a line of a command's output.
func firstLine(t *testing.T, r io.Reader) string {
	t.Helper()
	line, err := bufio.NewReader(r).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(line)
}
