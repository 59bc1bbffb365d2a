package l4

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"
)

// proxied is ln for a proxy on loopback.
func proxied(ln *Listener, from string) *Listener {
	ln.Proxied = true
	ln.ProxyFrom = []netip.Prefix{netip.MustParsePrefix(from)}
	return ln
}

const announced = "PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\r\n"

// TestProxyHeaderAndHelloInPieces: header and hello come in one segment, or in
// two that are cut anywhere, and the client is who the header says.
func TestProxyHeaderAndHelloInPieces(t *testing.T) {
	o := startOrigin(t, tlsEcho(t))
	r := startRig(t, &Config{Loops: 1, Listeners: []*Listener{proxied(routeTo(t, roundRobin(t, o.addr)), "127.0.0.0/8")}})
	first := append([]byte(announced), chatHello(t)...)
	step := soak(37, 1)
	for cut := 0; cut < len(first); cut += step {
		c := r.dial(0)
		for _, part := range [][]byte{first[:cut], first[cut:]} {
			if _, err := c.Write(part); err != nil {
				t.Fatal(err)
			}
			if cut > 0 {
				r.e.Tick() // the first part is read on its own
			}
		}
		if _, err := io.ReadFull(c, make([]byte, 5)); err != nil {
			t.Fatalf("cut at %d: %v", cut, err)
		}
		c.Close()
		rec := r.next()
		if rec.Client.String() != "192.0.2.7:56324" || rec.ServerName != "chat.example.com" {
			t.Fatalf("cut at %d: client %s, name %q, %s", cut, rec.Client, rec.ServerName, rec.Reason)
		}
	}
}

func TestProxyHeaderIsRequired(t *testing.T) {
	o := startOrigin(t, echo)
	tests := []struct {
		name, from, send string
		reason           Reason
	}{
		{"from somebody else", "192.0.2.0/24", announced + "hello", ReasonProxyUntrusted},
		{"none", "127.0.0.0/8", "\x16\x03\x01\x02\x00", ReasonProxyHeader},
		{"a bad one", "127.0.0.0/8", "PROXY TCP4 192.0.2.7 198.51.100.1 56324 65536\r\n", ReasonProxyHeader},
		{"a long one", "127.0.0.0/8", v2Prefix + "\xff\xff", ReasonProxyHeader},
		{"half of one", "127.0.0.0/8", announced[:20], ReasonHelloClosed},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := startRig(t, &Config{Loops: 1, Listeners: []*Listener{proxied(plainListener(roundRobin(t, o.addr)), tt.from)}})
			c := r.dial(0)
			if _, err := io.WriteString(c, tt.send); err != nil {
				t.Fatal(err)
			}
			_ = c.(*net.TCPConn).CloseWrite()
			if b, _ := io.ReadAll(c); len(b) > 0 {
				t.Errorf("answer %q", b)
			}
			if rec := r.next(); rec.Reason != tt.reason {
				t.Errorf("ended with %s, want %s", rec.Reason, tt.reason)
			}
			if n := o.accepted.Load(); n != 0 {
				t.Errorf("%d connections got to the server", n)
			}
		})
	}
}

const v2Prefix = "\r\n\r\n\x00\r\nQUIT\n\x21\x11"

// dialProxy opens the first connection, which has sent no more than that.
func (r *rig) dialProxy(sent string) net.Conn {
	r.t.Helper()
	c := r.dial(0)
	if _, err := io.WriteString(c, sent); err != nil {
		r.t.Fatal(err)
	}
	eventually(r.t, "it was accepted", func() bool { return r.e.Active() == 1 })
	return c
}

func TestProxyHeaderTimeout(t *testing.T) {
	o := startOrigin(t, echo)
	r := startRig(t, &Config{Loops: 1, Listeners: []*Listener{proxied(plainListener(roundRobin(t, o.addr)), "127.0.0.0/8")}})
	r.dialProxy("PROXY ")
	r.advance(DefaultProxyTimeout - time.Second)
	if r.e.Active() != 1 {
		t.Error("it was closed early")
	}
	r.advance(time.Second + 2*coarseTick)
	if rec := r.next(); rec.Reason != ReasonHelloTimeout {
		t.Errorf("ended with %s", rec.Reason)
	}
}

// TestProxyHeaderOnPlainTCP: what comes behind the header is the server's, also
// when nothing does.
func TestProxyHeaderOnPlainTCP(t *testing.T) {
	o := saying(t, "a")
	r := startRig(t, &Config{Loops: 1, Listeners: []*Listener{proxied(plainListener(roundRobin(t, o.addr)), "127.0.0.0/8")}})
	for _, behind := range []string{"", "word"} {
		c := r.dial(0)
		if _, err := io.WriteString(c, announced+behind); err != nil {
			t.Fatal(err)
		}
		hear(t, c, "a"+behind)
		tell(t, c, "another")
		c.Close()
		if rec := r.next(); rec.Client.Addr() != netip.MustParseAddr("192.0.2.7") || rec.BytesUp != uint64(len(behind)+7) {
			t.Errorf("client %s, %d bytes up", rec.Client, rec.BytesUp)
		}
	}
}

// headed is an origin that takes a PROXY header, reports it, and goes on with
// serve.
func headed(t testing.TB, got chan<- announcement, serve func(net.Conn)) *origin {
	return startOrigin(t, func(c net.Conn) {
		head, err := readHeader(c)
		if head == nil {
			return // the peer is gone
		}
		a, err2 := parseProxyHeader(head)
		if err = errors.Join(err, err2); err != nil {
			t.Errorf("header %q: %v", head, err)
			return
		}
		got <- a
		serve(c)
	})
}

func TestSendProxy(t *testing.T) {
	for _, v := range []ProxyVersion{ProxyV1, ProxyV2} {
		got := make(chan announcement, 1)
		pool := roundRobin(t, headed(t, got, tlsEcho(t)).addr)
		pool.SendProxy = v
		plain := roundRobin(t, headed(t, got, echo).addr)
		plain.SendProxy = v
		r := startRig(t, &Config{Loops: 1, Listeners: []*Listener{routeTo(t, pool), plainListener(plain)}})
		c := r.dialTLS("chat.example.com")
		checkAnnounced(t, <-got, c)
		tell(t, c, "sealed")
		d := r.dial(1)
		checkAnnounced(t, <-got, d)
		tell(t, d, "plain")
	}
}

func checkAnnounced(t *testing.T, a announcement, c net.Conn) {
	t.Helper()
	if a.client.String() != c.LocalAddr().String() || a.local.String() != c.RemoteAddr().String() {
		t.Errorf("announced %v, want %s and %s", a, c.LocalAddr(), c.RemoteAddr())
	}
}

// TestSendProxyAfterAFailure: the server that is tried next gets a whole header
// of its own.
func TestSendProxyAfterAFailure(t *testing.T) {
	got := make(chan announcement, 2)
	bad := headed(t, got, func(net.Conn) {})
	good := headed(t, got, tlsEcho(t))
	pool := roundRobin(t, bad.addr, good.addr)
	pool.SendProxy = ProxyV2
	r := startRig(t, &Config{Loops: 1, Listeners: []*Listener{routeTo(t, pool)}})
	c := r.dialTLS("chat.example.com")
	checkAnnounced(t, <-got, c)
	checkAnnounced(t, <-got, c)
	tell(t, c, "sealed")
}

// TestSendProxyOfAnAnnouncedClient: what one proxy said is what the next one
// says.
func TestSendProxyOfAnAnnouncedClient(t *testing.T) {
	got := make(chan announcement, 1)
	pool := roundRobin(t, headed(t, got, echo).addr)
	pool.SendProxy = ProxyV2
	r := startRig(t, &Config{Loops: 1, Listeners: []*Listener{proxied(plainListener(pool), "127.0.0.0/8")}})
	c := r.dial(0)
	if _, err := io.WriteString(c, announced); err != nil {
		t.Fatal(err)
	}
	want := announcement{netip.MustParseAddrPort("192.0.2.7:56324"), netip.MustParseAddrPort("198.51.100.1:443")}
	if a := <-got; a != want {
		t.Errorf("announced %v, want %v", a, want)
	}
	tell(t, c, "word")
}

// TestRouteDecidesWhetherToAnnounce: a route says otherwise than its pool.
func TestRouteDecidesWhetherToAnnounce(t *testing.T) {
	got := make(chan announcement, 1)
	pool := roundRobin(t, headed(t, got, tlsEcho(t)).addr)
	ln := tlsListener(t, nil, &Route{ServerName: "chat.example.com", Pool: pool, SendProxy: ProxyV1})
	r := startRig(t, &Config{Loops: 1, Listeners: []*Listener{ln}})
	c := r.dialTLS("chat.example.com")
	checkAnnounced(t, <-got, c)
}

// TestHelloDeadlineWithoutOneForTheHeader: a header that may take its time
// leaves the hello its deadline.
func TestHelloDeadlineWithoutOneForTheHeader(t *testing.T) {
	o := startOrigin(t, tlsEcho(t))
	ln := proxied(routeTo(t, roundRobin(t, o.addr)), "127.0.0.0/8")
	ln.ProxyTimeout = Off
	r := startRig(t, &Config{Loops: 1, Listeners: []*Listener{ln}})
	c := r.dial(0)
	if _, err := io.WriteString(c, "PROXY "); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it was accepted", func() bool { return r.e.Active() == 1 })
	r.advance(DefaultHelloTimeout + 2*coarseTick)
	if rec := r.next(); rec.Reason != ReasonHelloTimeout {
		t.Errorf("ended with %s", rec.Reason)
	}
}
