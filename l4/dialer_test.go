package l4

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"culvert/l4/socket"
)

// aCaller is a client with everything that a server can be told.
var aCaller = Caller{netip.MustParseAddrPort("192.0.2.7:56324"), netip.MustParseAddrPort("198.51.100.1:443"), chat, "a,b", "7-1"}

// TestDialer: a blocking dial honours source and header, for a client and for
// culvert itself.
func TestDialer(t *testing.T) {
	sources := []string{"127.0.0.5", "127.0.0.6"}
	tests := []struct {
		name    string
		pool    ProxyVersion
		route   ProxyVersion
		sources []string
		want    byte // version
	}{
		{"version 1", ProxyV1, ProxyInherit, nil, 1},
		{"version 1, sources", ProxyV1, ProxyInherit, sources, 1},
		{"version 2", ProxyV2, ProxyInherit, nil, 2},
		{"version 2, sources", ProxyV2, ProxyInherit, sources, 2},
		{"the route says so", ProxyOff, ProxyV2, sources, 2},
		{"the route says otherwise", ProxyV1, ProxyV2, nil, 2},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := make(chan introduction, 1)
			p := from(roundRobin(t, introduced(t, got, func(net.Conn) {}).addr), tt.sources...)
			p.SendProxy = tt.pool
			d := NewDialer(p, tt.route)
			if !d.PerClient() {
				t.Error("connections are not for one client")
			}
			var used []string
			for range 2 {
				for _, c := range []Caller{aCaller, {}} {
					closeDialed(t)(d.Dial(t.Context(), p.Balancer.Servers()[0], c))
					x := told(t, got)
					used = append(used, x.source.String())
					x.source = netip.Addr{}
					if want := introductionFor(c, tt.want); x != want {
						t.Errorf("the server got %+v, want %+v", x, want)
					}
				}
			}
			want := []string{"127.0.0.1", "127.0.0.1", "127.0.0.1", "127.0.0.1"}
			if tt.sources != nil {
				want = []string{"127.0.0.5", "127.0.0.6", "127.0.0.5", "127.0.0.6"}
			}
			if !slices.Equal(used, want) {
				t.Errorf("dialed from %v, want %v", used, want)
			}
		})
	}
}

// introductionFor is what a server should learn of c from a header.
func introductionFor(c Caller, version byte) introduction {
	x := introduction{version: version, own: c == Caller{}, announcement: announcement{c.Client, c.Local}}
	if version == 2 {
		x.alpn, x.authority, x.id, x.summed = c.ALPN, c.Name, c.ID, true
	}
	return x
}

// closeDialed takes the results of a dial that must succeed.
func closeDialed(t testing.TB) func(net.Conn, error) {
	return func(c net.Conn, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
	}
}

// TestTrafficHasAllValues: what the loops send has the same values as what a
// Dialer sends.
func TestTrafficHasAllValues(t *testing.T) {
	for _, v := range []ProxyVersion{ProxyV1, ProxyV2} {
		got := make(chan introduction, 1)
		p := from(roundRobin(t, introduced(t, got, func(net.Conn) {}).addr), "127.0.0.5")
		p.SendProxy = v
		r := startRig(t, &Config{Loops: 1, Listeners: []*Listener{routeTo(t, p)}})
		c := r.dial(0)
		_, _ = c.Write(craftHello(sniExtension(chat), alpnExtension("h2", "http/1.1")))
		x := told(t, got)
		id := r.e.uniqueID(r.next().ID)
		client, local := netip.MustParseAddrPort(c.LocalAddr().String()), netip.MustParseAddrPort(c.RemoteAddr().String())
		want := introductionFor(Caller{client, local, chat, "h2", id}, byte(v-ProxyOff))
		want.source = netip.MustParseAddr("127.0.0.5")
		if x != want {
			t.Errorf("the server got %+v, want %+v", x, want)
		}
	}
}

// TestHandledTellsAll: a Handler's connection has the values that the loops
// would send.
func TestHandledTellsAll(t *testing.T) {
	x := newTerminator(t)
	r := startRig(t, handled(t, x))
	c := r.dialOffering("own.example", append(longProtocols(1), "h2"))
	h := <-x.handled
	got := h.Caller()
	c.Close()
	want := Caller{
		netip.MustParseAddrPort(c.LocalAddr().String()), netip.MustParseAddrPort(c.RemoteAddr().String()),
		"own.example", longProtocols(1)[0], r.e.uniqueID(r.next().ID),
	}
	if got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestProbeOfAnotherPort(t *testing.T) {
	got := make(chan introduction, 1)
	o := introduced(t, got, func(net.Conn) {})
	p := from(roundRobin(t, refusedAddr(t)), "127.0.0.5")
	p.SendProxy = ProxyV2
	d := NewDialer(p, ProxyInherit)
	s := p.Balancer.Servers()[0]
	if _, err := d.Probe(s, 0)(t.Context()); DialReason(err) != ReasonRefused {
		t.Errorf("the server's own port: %v", err)
	}
	closeDialed(t)(d.Probe(s, netip.MustParseAddrPort(o.addr).Port())(t.Context()))
	want := introductionFor(Caller{}, 2)
	want.source = netip.MustParseAddr("127.0.0.5")
	if x := told(t, got); x != want {
		t.Errorf("the server got %+v, want %+v", x, want)
	}
}

// TestProbeOfAUnixSocket: it has no port to replace.
func TestProbeOfAUnixSocket(t *testing.T) {
	path := t.TempDir() + "/s"
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	serveOrigin(t, ln, echo)
	p := roundRobin(t, path)
	closeDialed(t)(NewDialer(p, ProxyInherit).Probe(p.Balancer.Servers()[0], 4711)(t.Context()))
}

// TestSourceOfAnotherFamilyIsPassedOver: the next one in the rotation may do.
func TestSourceOfAnotherFamilyIsPassedOver(t *testing.T) {
	o := startOrigin(t, echo)
	p := from(roundRobin(t, o.addr), "2001:db8::1", "127.0.0.5", "192.0.2.1")
	d := NewDialer(p, ProxyInherit)
	for range 6 {
		c, err := d.Dial(t.Context(), p.Balancer.Servers()[0], Caller{})
		if err != nil {
			t.Fatal(err)
		}
		if got := c.LocalAddr().(*net.TCPAddr).IP.String(); got != "127.0.0.5" {
			t.Errorf("dialed from %s", got)
		}
		c.Close()
	}
}

// TestProbesOfATransparentPool: without a client the kernel chooses.
func TestProbesOfATransparentPool(t *testing.T) {
	o := startOrigin(t, echo)
	p := roundRobin(t, o.addr)
	p.Transparent = true
	closeDialed(t)(NewDialer(p, ProxyInherit).Probe(p.Balancer.Servers()[0], 0)(t.Context()))
}

// TestConnectTimeoutBoundsADial: a server that does not answer holds it no
// longer, however long its caller would wait.
func TestConnectTimeoutBoundsADial(t *testing.T) {
	silent, _ := silentAddr(t)
	p := roundRobin(t, silent)
	p.ConnectTimeout = 50 * time.Millisecond
	began := time.Now()
	_, err := NewDialer(p, ProxyInherit).Dial(t.Context(), p.Balancer.Servers()[0], Caller{})
	if took := time.Since(began); took > DefaultConnectTimeout {
		t.Errorf("it took %v, want about %v", took, p.ConnectTimeout)
	}
	late := (*ConnectTimeoutError)(nil)
	if !errors.As(err, &late) || late.After != p.ConnectTimeout || DialReason(err) != ReasonConnectTimeout {
		t.Errorf("got %v, reason %s", err, DialReason(err))
	}
	if timeout := (interface{ Timeout() bool })(nil); !errors.Is(err, context.DeadlineExceeded) || !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Errorf("%v is no timeout", err)
	}
}

// TestCallersDeadlineIsNoConnectTimeout: nor is its cancellation.
func TestCallersDeadlineIsNoConnectTimeout(t *testing.T) {
	silent, _ := silentAddr(t)
	p := roundRobin(t, silent)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := NewDialer(p, ProxyInherit).Dial(ctx, p.Balancer.Servers()[0], Caller{})
	if late := (*ConnectTimeoutError)(nil); errors.As(err, &late) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want the caller's deadline", err)
	}
}

// TestServerThatNeverReadsEndsTheDial: its window is shut before the header is
// written.
func TestServerThatNeverReadsEndsTheDial(t *testing.T) {
	o := startOrigin(t, func(c net.Conn) { <-t.Context().Done() })
	at := socket.NewTarget(ip(o.addr))
	conn, err := socket.Connect(t.Context(), &at, socket.Dialing{}, &socket.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	shutWindow(t, conn)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	began := time.Now()
	if err := writeHeader(ctx, conn, []byte("PROXY UNKNOWN\r\n")); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want the deadline", err)
	}
	if took := time.Since(began); took > DefaultConnectTimeout {
		t.Errorf("it took %v, want about 50ms", took)
	}
}

// shutWindow writes to c until its peer, which does not read, takes no more.
func shutWindow(t testing.TB, c net.Conn) {
	t.Helper()
	for n, junk := 1, make([]byte, 1<<20); n > 0; {
		_ = c.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
		var err error
		if n, err = c.Write(junk); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal(err)
		}
	}
	_ = c.SetWriteDeadline(time.Time{})
}
