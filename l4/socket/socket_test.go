package socket

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// patience bounds every wait of a test.
const patience = 20 * time.Second

func TestAddrRoundTrip(t *testing.T) {
	for _, tt := range []struct {
		in, want string
		domain   int
	}{
		{"192.0.2.1:443", "192.0.2.1:443", unix.AF_INET},
		{"0.0.0.0:0", "0.0.0.0:0", unix.AF_INET},
		{"255.255.255.255:65535", "255.255.255.255:65535", unix.AF_INET},
		{"[2001:db8::1]:443", "[2001:db8::1]:443", unix.AF_INET6},
		{"[::]:256", "[::]:256", unix.AF_INET6},
		{"[::1]:1", "[::1]:1", unix.AF_INET6},
		{"[::ffff:192.0.2.1]:443", "192.0.2.1:443", unix.AF_INET},
	} {
		a := IP(netip.MustParseAddrPort(tt.in))
		sa := a.kernel()
		if got := fromKernel(&sa.raw).String(); a.String() != tt.want || got != tt.want || sa.domain != tt.domain {
			t.Errorf("%s: got %s, and %s of family %d from the kernel's form; want %s of family %d", tt.in, a, got, sa.domain, tt.want, tt.domain)
		}
		if a.IsUnix() || !a.IsValid() || a.Path() != "" {
			t.Errorf("%s: got unix %v, valid %v, path %q", tt.in, a.IsUnix(), a.IsValid(), a.Path())
		}
	}
	if (Addr{}).IsValid() {
		t.Error("the zero Addr is valid")
	}
}

func TestMappedPeerIsItsIPv4Address(t *testing.T) {
	var raw unix.RawSockaddrAny
	mapped := netip.MustParseAddrPort("[::ffff:192.0.2.1]:443")
	sa := Addr{ip: mapped}.kernel() // as a dual-stack listener sees it
	raw = sa.raw
	if got, want := fromKernel(&raw), netip.MustParseAddrPort("192.0.2.1:443"); sa.domain != unix.AF_INET6 || got != want {
		t.Errorf("got %s of family %d, want %s", got, sa.domain, want)
	}
}

func TestUnixAddr(t *testing.T) {
	longest := "/" + strings.Repeat("a", maxPath-1)
	for _, tt := range []struct{ path, want string }{
		{"/run/culvert.sock", ""},
		{"relative.sock", ""},
		{longest, ""},
		{longest + "a", "at most 107"},
		{"", "empty"},
		{"/run/\x00/x", "NUL"},
	} {
		a, err := Unix(tt.path)
		if tt.want != "" {
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%.20q: got %v, want %q", tt.path, err, tt.want)
			}
			continue
		}
		if err != nil || !a.IsUnix() || a.Path() != tt.path || a.String() != "unix:"+tt.path || a.AddrPort().IsValid() {
			t.Errorf("%.20q: got %v, %v", tt.path, a, err)
		}
		sa := a.kernel()
		if got, want := int(sa.len), 2+len(tt.path)+1; got != want || fromKernel(&sa.raw).IsValid() {
			t.Errorf("%.20q: got length %d, want %d", tt.path, got, want)
		}
	}
}

func listenAt(t *testing.T, a Addr, o ListenOptions) *Listener {
	t.Helper()
	l, err := Listen(a, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	return l
}

func loopback(t *testing.T) *Listener {
	return listenAt(t, IP(netip.MustParseAddrPort("127.0.0.1:0")), ListenOptions{})
}

// freeAddr is an address on which nobody listens.
func freeAddr(t *testing.T) Addr {
	t.Helper()
	l, err := Listen(IP(netip.MustParseAddrPort("127.0.0.1:0")), ListenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr()
}

func unixAddr(t *testing.T) Addr {
	t.Helper()
	a, err := Unix(filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// await waits until one of these events of fd happens.
func await(t *testing.T, fd int, events int16) {
	t.Helper()
	p := []unix.PollFd{{Fd: int32(fd), Events: events}}
	for end := time.Now().Add(patience); ; {
		n, err := unix.Poll(p, int(patience/time.Millisecond))
		if n == 1 {
			return
		}
		if err != unix.EINTR || time.Now().After(end) {
			t.Fatalf("nothing happened: %v", err)
		}
	}
}

// accept takes the connection that is on its way.
func accept(t *testing.T, l *Listener) (int, netip.AddrPort) {
	t.Helper()
	await(t, l.FD(), unix.POLLIN)
	fd, peer, e := l.Accept()
	if e != 0 {
		t.Fatal(e)
	}
	t.Cleanup(func() { Close(fd) })
	return fd, peer
}

// dial connects to l and waits until that is done.
func dial(t *testing.T, a Addr) int {
	t.Helper()
	target := NewTarget(a)
	fd, done, e := Dial(&target, Dialing{})
	if e != 0 {
		t.Fatal(e)
	}
	t.Cleanup(func() { Close(fd) })
	if !done {
		await(t, fd, unix.POLLOUT)
	}
	if e := Err(fd); e != 0 {
		t.Fatal(e)
	}
	return fd
}

// pair is the two ends of a TCP connection.
func pair(t *testing.T) (dialed, accepted int) {
	l := loopback(t)
	dialed = dial(t, l.Addr())
	accepted, _ = accept(t, l)
	return dialed, accepted
}

func TestAcceptTellsThePeer(t *testing.T) {
	for _, tt := range []struct{ listen, dial, peer string }{
		{"127.0.0.1:0", "127.0.0.1", "127.0.0.1"},
		{"[::1]:0", "::1", "::1"},
		{"[::]:0", "127.0.0.1", "127.0.0.1"}, // arrives as ::ffff:127.0.0.1
		{"[::]:0", "::1", "::1"},
		{"0.0.0.0:0", "127.0.0.1", "127.0.0.1"},
	} {
		l := listenAt(t, IP(netip.MustParseAddrPort(tt.listen)), ListenOptions{})
		port := l.Addr().AddrPort().Port()
		fd := dial(t, IP(netip.AddrPortFrom(netip.MustParseAddr(tt.dial), port)))
		sa, err := unix.Getsockname(fd)
		if err != nil {
			t.Fatal(err)
		}
		_, peer := accept(t, l)
		own := 0
		switch sa := sa.(type) {
		case *unix.SockaddrInet4:
			own = sa.Port
		case *unix.SockaddrInet6:
			own = sa.Port
		}
		if want := netip.AddrPortFrom(netip.MustParseAddr(tt.peer), uint16(own)); port == 0 || peer != want {
			t.Errorf("%s from %s: got peer %s, want %s", tt.listen, tt.dial, peer, want)
		}
	}
}

func TestUnixPeerHasNoAddress(t *testing.T) {
	l := listenAt(t, unixAddr(t), ListenOptions{})
	dial(t, l.Addr())
	if _, peer := accept(t, l); peer.IsValid() {
		t.Errorf("got peer %s, want none", peer)
	}
}

func TestAcceptOfAnEmptyQueue(t *testing.T) {
	if fd, _, e := loopback(t).Accept(); e != syscall.EAGAIN || fd != -1 {
		t.Errorf("got %d, %v, want -1 and %v", fd, e, syscall.EAGAIN)
	}
}

func TestOneIPv6AddressTakesNoIPv4(t *testing.T) {
	l := listenAt(t, IP(netip.MustParseAddrPort("[::1]:0")), ListenOptions{})
	if v, err := unix.GetsockoptInt(l.FD(), unix.IPPROTO_IPV6, unix.IPV6_V6ONLY); err != nil || v != 1 {
		t.Errorf("IPV6_V6ONLY is %d, %v, want 1", v, err)
	}
}

func TestStaleUnixSocketIsReplaced(t *testing.T) {
	a := unixAddr(t)
	l, err := Listen(a, ListenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	l.Close() // the file stays
	if _, err := os.Stat(a.Path()); err != nil {
		t.Fatal(err)
	}
	l = listenAt(t, a, ListenOptions{})
	dial(t, a)
	accept(t, l)
}

func TestLiveUnixSocketIsRefused(t *testing.T) {
	a := unixAddr(t)
	l := listenAt(t, a, ListenOptions{})
	if _, err := Listen(a, ListenOptions{}); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("got %v, want that the address is in use", err)
	}
	dial(t, a) // still there
	accept(t, l)
}

func TestFileThatIsNoSocketIsRefused(t *testing.T) {
	a := unixAddr(t)
	if err := os.WriteFile(a.Path(), []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(a, ListenOptions{}); err == nil || !strings.Contains(err.Error(), "not a socket") {
		t.Errorf("got %v, want that it is not a socket", err)
	}
	if b, err := os.ReadFile(a.Path()); err != nil || string(b) != "precious" {
		t.Errorf("the file holds %q, %v", b, err)
	}
	link := unixAddr(t)
	if err := os.Symlink(a.Path(), link.Path()); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(link, ListenOptions{}); err == nil {
		t.Error("a symbolic link was replaced")
	}
}

func TestShareOutlivesTheFirst(t *testing.T) {
	a := unixAddr(t)
	first, err := Listen(a, ListenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	second, err := first.Another(ListenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(second.Close)
	first.Close()
	dial(t, a)
	accept(t, second)
	if second.Addr() != a {
		t.Errorf("got %s, want %s", second.Addr(), a)
	}
}

func TestLimitsOfTheProcess(t *testing.T) {
	lim := Limits()
	var r syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &r); err != nil {
		t.Fatal(err)
	}
	if lim.FDs != int64(min(r.Cur, 1<<30)) {
		t.Errorf("got %d descriptors, want %d", lim.FDs, r.Cur)
	}
	if os.Getuid() != 0 && lim.PipeBytes <= 0 {
		t.Errorf("got %d bytes of pipes for an ordinary user, want a limit", lim.PipeBytes)
	}
	for content, want := range map[string]int{"16384\n": 16384, "0": 0, "x": 7, "": 7} {
		path := filepath.Join(t.TempDir(), "v")
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := sysctl(path, 7); got != want {
			t.Errorf("%q: got %d, want %d", content, got, want)
		}
	}
	if got := sysctl("/nonexistent", 9); got != 9 {
		t.Errorf("got %d, want the default", got)
	}
}
