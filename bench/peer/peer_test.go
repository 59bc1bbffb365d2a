package peer

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"culvert/bench/measure"
)

var (
	every   = []string{"culvert", "direct", "haproxy", "nginx", "relay", "sniproxy"}
	started = []string{"culvert", "haproxy", "nginx", "relay", "sniproxy"}
	routers = []string{"culvert", "haproxy", "nginx"}
)

func TestPeerRelaysAndLeavesNothing(t *testing.T) {
	server := echoServer(t)
	forEach(t, every, func(t *testing.T, p Peer) {
		dir := t.TempDir()
		r, err := p.Start(t.Context(), Setup{Servers: []string{server}, Workers: 2, HalfClose: true}, dir)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(r.Stop)
		open(t, r.Addr).Close()
		pids := r.PIDs()
		if (len(pids) == 0) != (p.Name == "direct") {
			t.Errorf("processes %v", pids)
		}
		r.Stop()
		r.Stop()
		gone(t, pids)
		if left, _ := os.ReadDir(dir); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
		if r.PIDs() != nil {
			t.Errorf("processes %v of a stopped peer", r.PIDs())
		}
	})
}

func TestHalfCloseIsAsSetUp(t *testing.T) {
	server := echoServer(t)
	forEach(t, []string{"culvert", "nginx", "relay"}, func(t *testing.T, p Peer) {
		for _, kept := range []bool{true, false} {
			c := open(t, begin(t, p, Setup{Servers: []string{server}, HalfClose: kept}).Addr)
			if err := c.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			rest, _ := io.ReadAll(c) // may be reset when it is not kept
			if got := string(rest) == goodbye; got != kept {
				t.Errorf("half_close %v: after the client's end came %q", kept, rest)
			}
		}
	})
}

func TestWorkersAreAsManyAsSetUp(t *testing.T) {
	server := echoServer(t)
	for _, n := range []int{1, 2} {
		r := begin(t, peers(t, "nginx")[0], Setup{Servers: []string{server}, Workers: n})
		open(t, r.Addr)
		if err := poll(t.Context(), nil, func() (bool, error) { return len(r.PIDs()) == n+1, nil }); err != nil {
			t.Errorf("%d workers: processes %v, want the main one and the workers", n, r.PIDs())
		}
	}
}

func TestHundredThousandRoutes(t *testing.T) {
	server := echoServer(t)
	const n = 100_000
	forEach(t, routers, func(t *testing.T, p Peer) {
		begun := time.Now()
		r := begin(t, p, Setup{Servers: []string{server}, Routes: n})
		t.Logf("started in %v", time.Since(begun))
		if out := r.generations[0].output(); strings.Contains(strings.ToLower(out), "warn") {
			t.Errorf("it prints a warning%s", out)
		}
		for _, name := range []string{ServerName, RouteName(0), RouteName(n - 1), strings.ToUpper(RouteName(n / 2))} {
			c, err := dial(r.Addr, hello(t, name), 0)
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			c.Close()
		}
		if c, err := dial(r.Addr, hello(t, RouteName(n)), 0); err == nil {
			c.Close()
			t.Errorf("%s has no route and was served", RouteName(n))
		}
	})
}

func TestThousandServers(t *testing.T) {
	servers := []string{echoServer(t)}
	for i := range 999 {
		servers = append(servers, "127.1."+strconv.Itoa(i/250)+"."+strconv.Itoa(1+i%250)+servers[0][strings.IndexByte(servers[0], ':'):])
	}
	forEach(t, []string{"culvert", "haproxy", "nginx", "relay"}, func(t *testing.T, p Peer) {
		begin(t, p, Setup{Servers: servers})
	})
}

func TestRefusingServerIsLeftAtOnce(t *testing.T) {
	servers := []string{refused(t), echoServer(t)}
	b := hello(t, ServerName)
	forEach(t, []string{"culvert", "haproxy", "nginx", "relay"}, func(t *testing.T, p Peer) {
		r := begin(t, p, Setup{Servers: servers, ConnectTimeout: 700 * time.Millisecond, FirstByte: 3 * time.Second})
		begun := time.Now()
		for i := range 20 { // clients of either server
			c, err := dial(r.Addr, b, i)
			if err != nil {
				t.Fatalf("client %d: %v", i, err)
			}
			c.Close()
		}
		if took := time.Since(begun); took > 900*time.Millisecond {
			t.Errorf("20 connections took %v", took)
		}
	})
}

// reloaded starts p and reloads it while c is open. before are its processes
// before that.
func reloaded(t *testing.T, p Peer, server string) (r *Running, c client, before []int) {
	t.Helper()
	r = begin(t, p, Setup{Servers: []string{server}, HalfClose: true})
	c = open(t, r.Addr)
	before = r.PIDs()
	if err := r.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := c.echo([]byte("still there")); err != nil {
		t.Errorf("the old connection: %v", err)
	}
	open(t, r.Addr)
	return r, c, before
}

func TestReloadKeepsConnections(t *testing.T) {
	server := echoServer(t)
	forEach(t, []string{"haproxy", "nginx"}, func(t *testing.T, p Peer) {
		r, c, before := reloaded(t, p, server)
		during := r.PIDs()
		if len(during) <= len(before) {
			t.Errorf("processes %v, before %v: the old one with the connection is missing", during, before)
		}
		c.Close()
		if err := poll(t.Context(), nil, func() (bool, error) { return len(r.PIDs()) == len(before), nil }); err != nil {
			t.Errorf("processes %v: the old one stays without connections", r.PIDs())
		}
		r.Stop()
		gone(t, append(before, during...))
	})
}

// TestReloadInOneProcess: culvert is the same process before and after.
func TestReloadInOneProcess(t *testing.T) {
	server := echoServer(t)
	forEach(t, []string{"culvert"}, func(t *testing.T, p Peer) {
		r, _, before := reloaded(t, p, server)
		if during := r.PIDs(); !slices.Equal(during, before) {
			t.Errorf("processes %v, before %v", during, before)
		}
		if err := os.WriteFile(filepath.Join(r.config.Dir, "culvert.yaml"), []byte("nonsense: 1\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := r.Reload(t.Context()); err == nil || !strings.Contains(err.Error(), "nonsense") {
			t.Errorf("got %v, want culvert's message", err)
		}
	})
}

func TestReloadIsNotPretended(t *testing.T) {
	server := echoServer(t)
	forEach(t, []string{"direct", "relay", "sniproxy"}, func(t *testing.T, p Peer) {
		r := begin(t, p, Setup{Servers: []string{server}})
		if err := r.Reload(t.Context()); !errors.Is(err, ErrNoReload) {
			t.Errorf("got %v, want ErrNoReload", err)
		}
	})
}

func TestReloadOfBrokenFileKeepsServing(t *testing.T) {
	server := echoServer(t)
	forEach(t, []string{"haproxy"}, func(t *testing.T, p Peer) {
		r := begin(t, p, Setup{Servers: []string{server}})
		if err := os.WriteFile(filepath.Join(r.config.Dir, "haproxy.cfg"), []byte("nonsense\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := r.Reload(t.Context()); err == nil || !strings.Contains(err.Error(), "nonsense") {
			t.Errorf("got %v, want HAProxy's message", err)
		}
		open(t, r.Addr).Close()
		if err := p.writeFiles(r.config); err != nil {
			t.Fatal(err)
		}
		if err := r.Reload(t.Context()); err != nil {
			t.Errorf("with the file mended: %v", err)
		}
		if err := poll(t.Context(), nil, func() (bool, error) { return len(r.PIDs()) == 1, nil }); err != nil {
			t.Errorf("processes %v, want the new one", r.PIDs())
		}
	})
}

func TestRestartServesOnTheSameAddress(t *testing.T) {
	server := echoServer(t)
	forEach(t, started, func(t *testing.T, p Peer) {
		r := begin(t, p, Setup{Servers: []string{server}, HalfClose: true})
		c := open(t, r.Addr)
		before := r.PIDs()
		if err := r.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
		open(t, r.Addr)
		if serving := r.generations[len(r.generations)-1].pid(); slices.Contains(before, serving) {
			t.Errorf("process %d is an old one", serving)
		}
		cuts := p.Name == "relay" || p.Name == "sniproxy"
		if cuts {
			gone(t, before)
		}
		if err := c.echo([]byte("still there")); (err != nil) != cuts {
			t.Errorf("the old connection: %v", err)
		}
		c.Close()
		gone(t, before)
	})
}

func TestRestartNeedsProcess(t *testing.T) {
	r := begin(t, direct(), Setup{Servers: []string{"127.0.0.1:1"}})
	if err := r.Restart(t.Context()); !errors.Is(err, ErrNoProcess) {
		t.Errorf("got %v, want ErrNoProcess", err)
	}
}

func TestStoppedPeerStaysStopped(t *testing.T) {
	forEach(t, []string{"relay"}, func(t *testing.T, p Peer) {
		r := begin(t, p, Setup{Servers: []string{"127.0.0.1:1"}})
		r.Stop()
		if err := r.Restart(t.Context()); !errors.Is(err, errStopped) {
			t.Errorf("got %v, want that it was stopped", err)
		}
	})
}

func TestStopEndsWhatIgnoresTheSignal(t *testing.T) {
	p := Peer{Name: "stubborn", Binary: self(t), args: func(c config) []string { return []string{"stubborn", c.Listen} }}
	r := begin(t, p, Setup{Servers: []string{"127.0.0.1:1"}})
	pids := r.PIDs()
	if len(pids) != 2 {
		t.Fatalf("processes %v, want it and its child", pids)
	}
	r.Stop()
	gone(t, pids)
}

func TestPeersEndWithTheHarness(t *testing.T) {
	cmd := exec.Command(self(t), "harness", t.TempDir())
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pid, _ := strconv.Atoi(firstLine(t, out))
	if len(measure.Family(pid)) == 0 {
		t.Errorf("there is no process %d", pid)
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	gone(t, []int{pid})
}

func TestUnprivileged(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to run as user nobody")
	}
	server := echoServer(t)
	forEach(t, started, func(t *testing.T, p Peer) {
		dir, err := os.MkdirTemp("", "peer-test")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		r, err := p.Start(t.Context(), Setup{Servers: []string{server}, Workers: 1, Unprivileged: true}, dir)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Stop()
		open(t, r.Addr)
		for _, pid := range r.PIDs() {
			if got := owner(t, pid); got != nobody().Uid {
				t.Errorf("process %d is user %d's", pid, got)
			}
		}
		if p.reload != nil {
			if err := r.Reload(t.Context()); err != nil {
				t.Error(err)
			}
		}
	})
}

func TestFolderThatNobodyEntersIsSaid(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to run as user nobody")
	}
	dir := filepath.Join(t.TempDir(), "below") // the parent of t.TempDir is not searchable
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	_, err := peers(t, "relay")[0].Start(t.Context(), Setup{Servers: []string{"127.0.0.1:1"}, Unprivileged: true}, dir)
	if err == nil || !strings.Contains(err.Error(), "the user nobody cannot access") {
		t.Errorf("got %v", err)
	}
}

func TestVersions(t *testing.T) {
	forEach(t, started, func(t *testing.T, p Peer) {
		v := p.Version(context.Background())
		if v == "" || strings.ContainsAny(v, " \n") {
			t.Errorf("version %q", v)
		}
	})
}
