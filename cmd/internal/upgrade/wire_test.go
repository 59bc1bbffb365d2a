package upgrade

import (
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// pair returns two links that are connected.
func pair(t testing.TB) (a, b *link) {
	t.Helper()
	a, b, err := links()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		a.conn.Close()
		b.conn.Close()
	})
	return a, b
}

// links returns both ends of a connection.
func links() (a, b *link, err error) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	var both [2]*link
	for i, fd := range fds {
		if both[i], err = newLink(os.NewFile(uintptr(fd), "link")); err != nil {
			return nil, nil, err
		}
		both[i].within(10 * time.Second)
	}
	return both[0], both[1], nil
}

func openFDs(t testing.TB) int {
	t.Helper()
	d, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(d)
}

func TestMessages(t *testing.T) {
	a, b := pair(t)
	f, err := os.Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	long := strings.Repeat("x", 1<<20)
	go func() {
		_ = a.send(kindHello, hello{Version: 7})
		_ = a.send(kindFailed, long, int(f.Fd()), int(f.Fd()))
		_ = a.conn.Close()
	}()
	var h hello
	if fds, err := b.expect(kindHello, &h); err != nil || h.Version != 7 || len(fds) != 0 {
		t.Fatalf("%+v, %v", h, err)
	}
	m, err := b.receive()
	if err != nil || m.kind != kindFailed || len(m.fds) != 2 {
		t.Fatalf("%+v, %v", m, err)
	}
	closeAll(m.fds)
	var text string
	if err := m.decode(&text); err != nil || text != long {
		t.Errorf("%d bytes, %v", len(text), err)
	}
	if _, err := b.receive(); !errors.Is(err, io.EOF) {
		t.Errorf("after the end: %v", err)
	}
}

// TestWrongMessages: whatever comes, there is an error, and no descriptor stays
// open.
func TestWrongMessages(t *testing.T) {
	null, err := os.Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	many := make([]int, maxFDs)
	for i := range many {
		many[i] = int(null.Fd())
	}
	tests := []struct {
		name   string
		header string
		fds    []int
		want   string
	}{
		{"too long", "\xff\xff\xff\xff\x00\x01\x00\x00", nil, "too many"},
		{"fewer descriptors than it says", "\x00\x00\x00\x00\x00\x01\x00\x02", many[:1], "1 descriptors came with it, not 2"},
		{"more descriptors than it says", "\x00\x00\x00\x00\x00\x01\x00\x00", many, "253 descriptors came with it, not 0"},
		{"another kind", "\x00\x00\x00\x00\x00\x07\x00\x01", many[:1], "done, expected hello"},
		{"no kind", "\x00\x00\x00\x00\xff\xff\x00\x00", nil, "message 65535: no such message"},
		{"no encoding", "\x00\x00\x00\x03\x00\x01\x00\x00abc", nil, "hello: "},
		{"garbage", "garbage\n", nil, "no such message"},
		{"a failure with a descriptor", "\x00\x00\x00\x00\x00\x04\x00\x01", many[:1], "the new process: "},
		{"descriptors that nobody expects", "\x00\x00\x00\x00\x00\x01\x00\x01", many[:1], "EOF"},
		{"half a header", "\x00\x00\x00\x00", many[:1], "EOF"},
		{"half a body", "\x00\x00\x00\x09\x00\x01\x00\x01abc", many[:1], "EOF"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a, b := pair(t)
			before := openFDs(t)
			var rights []byte
			if len(tt.fds) > 0 {
				rights = syscall.UnixRights(tt.fds...)
			}
			if _, _, err := a.conn.WriteMsgUnix([]byte(tt.header), rights, nil); err != nil {
				t.Fatal(err)
			}
			if err := a.conn.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			if _, err := b.expect(kindHello, new(hello)); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q in it", err, tt.want)
			}
			if n := openFDs(t); n != before {
				t.Errorf("%d descriptors are left open", n-before)
			}
		})
	}
}

func TestLinkNeedsAUnixSocket(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	f, err := ln.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := newLink(f); err == nil {
		t.Error("a TCP listener was taken")
	}
}

func FuzzReceive(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x00\x00\x01\x00\x00"))
	f.Add([]byte("\x00\x00\x00\x03\x00\x05\x00\x00abc"))
	f.Fuzz(func(t *testing.T, b []byte) {
		a, c := pair(t)
		go func() {
			_, _ = a.conn.Write(b)
			_ = a.conn.CloseWrite()
		}()
		for {
			m, err := c.receive()
			if err != nil {
				return
			}
			var batch []struct{}
			_ = m.decode(&batch)
		}
	})
}

// TestNoDescriptorsLeft: a process that may have no more descriptors loses some
// of a message, and knows it.
func TestNoDescriptorsLeft(t *testing.T) {
	tidy(t)
	a, b := pair(t)
	fd := null(t)
	var was syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &was); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = syscall.Setrlimit(syscall.RLIMIT_NOFILE, &was) }()
	few := syscall.Rlimit{Cur: uint64(openFDs(t) + 20), Max: was.Max}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &few); err != nil {
		t.Fatal(err)
	}
	if err := a.send(kindBatch, nil, slices.Repeat([]int{fd}, 60)...); err != nil {
		if errors.Is(err, syscall.ETOOMANYREFS) {
			return // the kernel counts those under way (unix(7))
		}
		t.Fatal(err)
	}
	if _, err := b.receive(); err == nil || !strings.Contains(err.Error(), "ulimit -n") {
		t.Errorf("error %v", err)
	}
}
