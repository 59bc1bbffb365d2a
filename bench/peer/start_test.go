package peer

import (
	"context"
	"errors"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestStartSaysWhatIsWrong(t *testing.T) {
	setup := Setup{Servers: []string{"127.0.0.1:1"}}
	tests := []struct {
		name  string
		peer  Peer
		setup Setup
		want  []string
	}{
		{"no program", Peer{Name: "nginx", Binary: "nosuch-nginx", Install: "apt-get install nginx"}, setup, []string{"nginx: nosuch-nginx not found", "apt-get install nginx"}},
		{"ends at once", Peer{Name: "odd", Binary: script(t, "echo first\necho the config is odd >&2\nexit 3\n"), args: noArgs}, setup, []string{"odd: ended too early (exit status 3)", "the config is odd"}},
		{"ends well", Peer{Name: "odd", Binary: script(t, "exit 0\n"), args: noArgs}, setup, []string{"odd: ended too early (exit status 0)"}},
		{"not a program", Peer{Name: "odd", Binary: script(t, "")[:4], args: noArgs}, setup, []string{"odd: /tmp not found"}},
		{"no servers", Peer{Name: "odd"}, Setup{}, []string{"odd: no servers"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			_, err := tt.peer.Start(t.Context(), tt.setup, dir)
			if err == nil {
				t.Fatal("it started")
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("got %q, want %q in it", err, want)
				}
			}
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("%q is not one line", err)
			}
			if left, _ := os.ReadDir(dir); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

func noArgs(config) []string { return nil }

func TestCancelledStartLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	p := Peer{Name: "sleepy", Binary: script(t, "sleep 60 & wait\n"), args: noArgs}
	ctx, cancel := context.WithCancel(t.Context())
	result := make(chan error, 1)
	go func() {
		_, err := p.Start(ctx, Setup{Servers: []string{"127.0.0.1:1"}}, dir)
		result <- err
	}()
	var pids []int
	for end := time.Now().Add(waitLimit); len(pids) < 2 && time.Now().Before(end); {
		pids = startedIn(dir)
	}
	cancel()
	select {
	case err := <-result:
		if !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want context.Canceled", err)
		}
	case <-time.After(waitLimit):
		t.Fatal("Start goes on")
	}
	if len(pids) < 2 {
		t.Errorf("processes %v, want the shell and its child", pids)
	}
	gone(t, pids)
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestPortThatIsTakenMeanwhile(t *testing.T) {
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	server := echoServer(t)
	forEach(t, []string{"culvert", "haproxy", "relay"}, func(t *testing.T, p Peer) {
		for _, free := range []int{startTries, startTries + 1} { // which try gets a free one
			tries := 0
			r, err := p.start(t.Context(), Setup{Servers: []string{server}, Workers: 1}, t.TempDir(), func() (string, error) {
				tries++
				if tries < free {
					return busy.Addr().String(), nil
				}
				return freeAddr()
			})
			if got, want := err == nil, free <= startTries; got != want || tries != startTries {
				t.Errorf("free at try %d: %d tries, error %v", free, tries, err)
			}
			if err == nil {
				open(t, r.Addr)
				r.Stop()
			}
		}
	})
}

func TestChildrenGetTheHardLimit(t *testing.T) {
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		t.Fatal(err)
	}
	lower := l
	lower.Cur = 100
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &lower); err != nil {
		t.Fatal(err)
	}
	p := Peer{Name: "limit", Binary: script(t, "ulimit -n >&2\nexit 1\n"), args: noArgs}
	_, err := p.Start(t.Context(), Setup{Servers: []string{"127.0.0.1:1"}}, t.TempDir())
	if err == nil || strings.HasSuffix(err.Error(), ": 100") {
		t.Errorf("got %v, want the hard limit %d", err, l.Max)
	}
}

func TestLastLines(t *testing.T) {
	tests := []struct {
		name, in, want string
	}{
		{"nothing", "", ""},
		{"blank", " \n\n", ""},
		{"one", "a\n", ": a"},
		{"no end of line", "a", ": a"},
		{"repeated", "a\na\na\n", ": a"},
		{"last two of three", "a\nb\nc\n", ": b / c"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := lastLines(tt.in, 2); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}
