package socket

import (
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func wantOption(t *testing.T, what string, fd, level, opt, want int) {
	t.Helper()
	if got, err := unix.GetsockoptInt(fd, level, opt); err != nil || got != want {
		t.Errorf("%s is %d, %v, want %d", what, got, err, want)
	}
}

func TestOptionsAreSetOnBothKindsOfSocket(t *testing.T) {
	for _, tt := range []struct {
		name                               string
		opt                                Options
		user, keep, idle, interval, probes int
	}{
		{"defaults", Options{}, 30000, 1, 15, 5, 3},
		{"own", Options{UserTimeout: 1500 * time.Millisecond, KeepaliveIdle: 1500 * time.Millisecond, KeepaliveInterval: time.Second, KeepaliveCount: 7}, 1500, 1, 2, 1, 7},
		{"off", Options{UserTimeout: -1, KeepaliveIdle: -1}, 0, 0, 7200, 75, 9},
	} {
		l := listenAt(t, IP(netip.MustParseAddrPort("127.0.0.1:0")), ListenOptions{Options: tt.opt})
		dialed := dial(t, l.Addr())
		wantOption(t, tt.name+": TCP_NODELAY from the start", dialed, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
		target := NewTarget(l.Addr())
		target.Settle(dialed, &tt.opt)
		accepted, _ := accept(t, l)
		for kind, fd := range map[string]int{"dialed": dialed, "accepted": accepted} {
			what := tt.name + ", " + kind + ": "
			wantOption(t, what+"TCP_NODELAY", fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
			wantOption(t, what+"TCP_USER_TIMEOUT", fd, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, tt.user)
			wantOption(t, what+"SO_KEEPALIVE", fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE, tt.keep)
			if tt.keep == 1 {
				if kind == "accepted" || tt.idle < 3 {
					wantOption(t, what+"TCP_KEEPIDLE", fd, unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, tt.idle)
				}
				wantOption(t, what+"TCP_KEEPINTVL", fd, unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, tt.interval)
				wantOption(t, what+"TCP_KEEPCNT", fd, unix.IPPROTO_TCP, unix.TCP_KEEPCNT, tt.probes)
			}
			wantOption(t, what+"SO_PROTOCOL", fd, unix.SOL_SOCKET, unix.SO_PROTOCOL, unix.IPPROTO_TCP)
		}
	}
}

// A net.Conn has the options that were asked for, not Go's.
func TestConnsHaveTheirOptions(t *testing.T) {
	o := &Options{UserTimeout: 20 * time.Second, KeepaliveIdle: 2 * time.Second, KeepaliveInterval: 3 * time.Second, KeepaliveCount: 7}
	l := loopback(t)
	target := NewTarget(l.Addr())
	dialed, err := Connect(t.Context(), &target, Dialing{}, o)
	if err != nil {
		t.Fatal(err)
	}
	defer dialed.Close()
	fd, _ := accept(t, l)
	dup, err := unix.Dup(fd) // accept closes fd
	if err != nil {
		t.Fatal(err)
	}
	accepted, err := Conn(dup, o)
	if err != nil {
		t.Fatal(err)
	}
	defer accepted.Close()
	for kind, c := range map[string]net.Conn{"dialed": dialed, "accepted": accepted} {
		raw, err := c.(*net.TCPConn).SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		_ = raw.Control(func(fd uintptr) {
			wantOption(t, kind+": TCP_NODELAY", int(fd), unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
			wantOption(t, kind+": TCP_USER_TIMEOUT", int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, 20_000)
			wantOption(t, kind+": SO_KEEPALIVE", int(fd), unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1)
			wantOption(t, kind+": TCP_KEEPIDLE", int(fd), unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 2)
			wantOption(t, kind+": TCP_KEEPINTVL", int(fd), unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, 3)
			wantOption(t, kind+": TCP_KEEPCNT", int(fd), unix.IPPROTO_TCP, unix.TCP_KEEPCNT, 7)
		})
	}
}

// Sockets that fall silent together are not probed together.
func TestProbesAreSpread(t *testing.T) {
	seen := map[int]int{}
	l := loopback(t)
	for range 200 {
		fd := dial(t, l.Addr())
		target := NewTarget(l.Addr())
		target.Settle(fd, &Options{})
		idle, err := unix.GetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPIDLE)
		if err != nil || idle < 10 || idle > 15 {
			t.Errorf("%d s, %v", idle, err)
		}
		seen[idle]++
	}
	if len(seen) < 6 {
		t.Errorf("got %v, want each from 10 to 15 s", seen)
	}
	for _, o := range []Options{{KeepaliveIdle: -1}, {KeepaliveIdle: time.Second}, {KeepaliveIdle: 2 * time.Second}} {
		fd := dial(t, l.Addr())
		before, _ := unix.GetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPIDLE)
		o.Spread(fd)
		wantOption(t, "a short one", fd, unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, before)
	}
}

func TestDescriptorsAreNonBlockingAndClosedOnExec(t *testing.T) {
	dialed, accepted := pair(t)
	l := loopback(t)
	shared, err := l.Another(ListenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(shared.Close)
	pipe, e := NewPipe(1 << 16)
	if e != 0 {
		t.Fatal(e)
	}
	t.Cleanup(pipe.Close)
	poll := newPoller(t)
	for what, fd := range map[string]int{
		"dialed": dialed, "accepted": accepted, "listener": l.FD(), "shared": shared.FD(),
		"pipe, read": pipe.r, "pipe, write": pipe.w, "gate": poll.gate, "eventfd": poll.wake,
	} {
		if v, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil || v&unix.FD_CLOEXEC == 0 {
			t.Errorf("%s: not closed on exec (%v)", what, err)
		}
		if v, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0); err != nil || v&unix.O_NONBLOCK == 0 {
			t.Errorf("%s: blocking (%v)", what, err)
		}
	}
}

func TestDeferredAcceptWaitsForTheFirstByte(t *testing.T) {
	l := listenAt(t, IP(netip.MustParseAddrPort("127.0.0.1:0")), ListenOptions{DeferAccept: time.Minute})
	if v, err := unix.GetsockoptInt(l.FD(), unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT); err != nil || v < 60 {
		t.Errorf("TCP_DEFER_ACCEPT is %d, %v, want 60 or more", v, err)
	}
	fd := dial(t, l.Addr())
	if _, _, e := l.Accept(); e != syscall.EAGAIN {
		t.Errorf("got %v for a silent client, want %v", e, syscall.EAGAIN)
	}
	if _, e := Write(fd, []byte("x")); e != 0 {
		t.Fatal(e)
	}
	accept(t, l)
	plain := loopback(t)
	wantOption(t, "TCP_DEFER_ACCEPT without being asked for", plain.FD(), unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT, 0)
}
