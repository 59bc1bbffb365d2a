package l4

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"culvert/sniff"
)

// smallHello is a hello of about 300 bytes, chatHello one with a post-quantum
// key share.
func smallHello(t testing.TB) []byte {
	return helloFor(t, &tls.Config{ServerName: "chat.example.com", InsecureSkipVerify: true, CurvePreferences: []tls.CurveID{tls.X25519}})
}

// chatRig serves chat.example.com with an echo and rejects everything else.
func chatRig(t testing.TB) *rig {
	t.Helper()
	o := startOrigin(t, echo)
	return startRig(t, &Config{Listeners: []*Listener{tlsListener(t, nil, &Route{ServerName: "chat.example.com", Pool: roundRobin(t, o.addr)})}})
}

// bounce sends the pieces, each after the engine has read the one before it,
// ends, and returns what comes back.
func (r *rig) bounce(c net.Conn, pieces ...[]byte) ([]byte, error) {
	for _, p := range pieces {
		if _, err := c.Write(p); err != nil {
			return nil, err
		}
		if len(pieces) > 1 {
			r.e.Tick()
		}
	}
	_ = c.(*net.TCPConn).CloseWrite()
	return io.ReadAll(c)
}

// wantEchoed sends wire in pieces and checks that the server got it unchanged
// and that the hello in it was routed.
func (r *rig) wantEchoed(what string, pieces ...[]byte) {
	r.t.Helper()
	c := r.dial(0)
	got, err := r.bounce(c, pieces...)
	c.Close()
	sent := bytes.Join(pieces, nil)
	if err != nil || !bytes.Equal(got, sent) {
		r.t.Fatalf("%s: got %d bytes, %v, want the %d that were sent", what, len(got), err, len(sent))
	}
	rec := r.next()
	if rec.Route != "chat.example.com" || rec.ServerName != "chat.example.com" || rec.Reason != ReasonClosed || rec.BytesUp != uint64(len(sent)) {
		r.t.Fatalf("%s: got record %+v", what, rec)
	}
}

func hellos(t testing.TB) map[string][]byte {
	small, big := smallHello(t), chatHello(t)
	if len(small) > 400 || len(big) < 1500 {
		t.Fatalf("the hellos have %d and %d bytes", len(small), len(big))
	}
	return map[string][]byte{"small": small, "post-quantum": big}
}

func TestHelloByteByByteIsRouted(t *testing.T) {
	r := chatRig(t)
	for name, wire := range hellos(t) {
		for range soak(3, 500) {
			r.wantEchoed(name, slices.Collect(slices.Chunk(wire, 1))...)
		}
	}
}

func TestHelloInTwoSegmentsIsRouted(t *testing.T) {
	r := chatRig(t)
	for name, wire := range hellos(t) {
		for at := 1; at < len(wire); at++ {
			r.wantEchoed(fmt.Sprintf("%s split at %d", name, at), wire[:at], wire[at:])
		}
	}
}

func TestHelloSplitAcrossRecordsIsRouted(t *testing.T) {
	r := chatRig(t)
	for name, wire := range hellos(t) {
		msg := messageOf(wire)
		for at := 1; at < len(msg); at++ {
			r.wantEchoed(fmt.Sprintf("%s split at %d", name, at), tlsRecords(msg, at))
		}
		r.wantEchoed(name+" in records of one byte", tinyRecords(msg))
		r.wantEchoed(name+" in the 4 bytes of the handshake header", tlsRecords(msg, 1, 1, 1, 1))
	}
}

func TestHelloSplitAcrossRecordsAndSegmentsIsRouted(t *testing.T) {
	r := chatRig(t)
	rng := rand.New(rand.NewPCG(1, 2))
	for name, wire := range hellos(t) {
		for n := range soak(100, 2000) {
			msg := messageOf(wire)
			var sizes []int
			for left := len(msg); left > 0; left -= sizes[len(sizes)-1] {
				sizes = append(sizes, 1+rng.IntN(min(left, 1+len(msg)/4)))
			}
			split := tlsRecords(msg, sizes...)
			var pieces [][]byte
			for rest := split; len(rest) > 0; {
				n := 1 + rng.IntN(len(rest))
				pieces, rest = append(pieces, rest[:n]), rest[n:]
			}
			r.wantEchoed(fmt.Sprintf("%s, case %d", name, n), pieces...)
		}
		r.wantEchoed(name+" in records of one byte, byte by byte", slices.Collect(slices.Chunk(tinyRecords(messageOf(wire)), 1))...)
	}
}

func TestEveryRecordVersionOfTLSIsRouted(t *testing.T) {
	r := chatRig(t)
	for minor := range 5 { // SSL 3.0 to TLS 1.3
		wire := chatHello(t)
		wire[2] = byte(minor)
		r.wantEchoed(fmt.Sprintf("record version 3.%d", minor), wire)
	}
	for _, v := range []uint16{tls.VersionTLS10, tls.VersionTLS11, tls.VersionTLS12, tls.VersionTLS13} {
		wire := helloFor(t, &tls.Config{ServerName: "chat.example.com", InsecureSkipVerify: true, MinVersion: tls.VersionTLS10, MaxVersion: v})
		r.wantEchoed(tls.VersionName(v), wire)
	}
}

// badHello is what a client sends, cut off at the byte that decides.
type badHello struct {
	reject *sniff.Reject
	wire   []byte
}

func badHellos() []badHello {
	sni := sniExtension("chat.example.com")
	twoNames := vec16(bytes.Repeat(append([]byte{0}, vec16([]byte("chat.example.com"))...), 2))
	return []badHello{
		{sniff.ErrNotTLS, []byte("G")},
		{sniff.ErrSSLv2, []byte{0x80, 0x2e, 1}},
		{sniff.ErrUnexpectedMessage, []byte{22, 3, 1, 0, 100, 2}},
		{sniff.ErrUnexpectedMessage, []byte{21, 3}},
		{sniff.ErrEmptyRecord, []byte{22, 3, 1, 0, 0}},
		{sniff.ErrRecordOverflow, []byte{22, 3, 1, 0x40, 1}},
		{sniff.ErrTooLarge, []byte{22, 3, 1, 0, 100, 1, 0xff, 0xff, 0xff}},
		{sniff.ErrMalformed, tlsRecords(handshakeMessage(1, []byte{3, 3, 0}))},
		{sniff.ErrDuplicateExtension, craftHello(sni, sni)},
		{sniff.ErrPSKNotLast, craftHello(pskExtension(100), sni)},
		{sniff.ErrBadName, craftHello(sniExtension("chat example.com"))},
		{sniff.ErrBadName, craftHello(sniExtension(""))},
		{sniff.ErrBadName, craftHello(sniExtension("chat.example.com\x00.evil.example"))},
		{sniff.ErrBadName, craftHello(sniExtension(strings.Repeat("a", 64) + ".example.com"))},
		{sniff.ErrTwoNames, craftHello(extension(extServerName, twoNames))},
	}
}

func TestBadHelloIsAnsweredWithItsAlert(t *testing.T) {
	o := startOrigin(t, echo)
	pool := roundRobin(t, o.addr)
	r := startRig(t, &Config{Listeners: []*Listener{tlsListener(t, &Route{Pool: pool}, &Route{ServerName: "chat.example.com", Pool: pool})}})
	counts := map[Reason]uint64{}
	for _, bad := range badHellos() {
		// What the client goes on sending must not turn the alert into a reset.
		for _, more := range []int{0, 1, 2, 100, 1500, 4096, 20000, 40000} {
			c := r.dial(0)
			_, _ = c.Write(append(slices.Clone(bad.wire), bytes.Repeat([]byte{22}, more)...))
			got, err := io.ReadAll(c)
			if want := bad.reject.Alert.AppendRecord(nil); err != nil && !(want == nil && more > 0) || !bytes.Equal(got, want) {
				t.Errorf("%s with %d bytes behind: got % x, %v, want % x and the end", bad.reject.Reason, more, got, err, want)
			}
			c.Close()
			rec := r.next()
			if rec.Reason != Reason(bad.reject.Reason) || rec.EndedBy != Culvert || rec.Route != "" || rec.Server != "" {
				t.Errorf("%s: got record %+v", bad.reject.Reason, rec)
			}
			counts[Reason(bad.reject.Reason)]++
		}
	}
	for _, reason := range sniff.Reasons() {
		got := r.e.Stats().Listeners[0].Ended[Ending{Culvert, Reason(reason)}]
		if want := counts[Reason(reason)]; got != want || want == 0 {
			t.Errorf("%s was counted %d times, want %d, and more than none", reason, got, want)
		}
	}
	if n := o.accepted.Load(); n != 0 {
		t.Errorf("the server got %d connections, want none", n)
	}
}

func TestTenThousandEmptyRecordsAreOneReject(t *testing.T) {
	r := chatRig(t)
	c := r.dial(0)
	_, _ = c.Write(bytes.Repeat([]byte{22, 3, 3, 0, 0}, 10000))
	got, err := io.ReadAll(c)
	if want := sniff.AlertUnexpectedMessage.AppendRecord(nil); err != nil || !bytes.Equal(got, want) {
		t.Errorf("got % x, %v, want % x", got, err, want)
	}
	c.Close()
	if rec := r.next(); rec.Reason != "empty_record" {
		t.Errorf("got %v, want empty_record", rec.Reason)
	}
}

func TestNotTLSGoesToThePlaintextPool(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	web := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) { _, _ = io.WriteString(w, q.Host+q.URL.Path) })}
	go func() { _ = web.Serve(ln) }()
	t.Cleanup(func() { web.Close() })
	l := tlsListener(t, nil)
	l.Plaintext = roundRobin(t, ln.Addr().String())
	r := startRig(t, &Config{Listeners: []*Listener{l}})
	transport := &http.Transport{DisableKeepAlives: true}
	for n := range 100 {
		want := fmt.Sprintf("%s/page/%d", r.addrs[0], n)
		resp, err := (&http.Client{Transport: transport, Timeout: patience}).Get("http://" + want)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || string(got) != want {
			t.Fatalf("got %q, %v, want %q", got, err, want)
		}
		if rec := r.next(); rec.Pool != "pool" || rec.Route != "" || rec.Reason != ReasonClosed {
			t.Fatalf("got record %+v", rec)
		}
	}
}

func TestOtherProtocolsGoToThePlaintextPoolUnchanged(t *testing.T) {
	o := startOrigin(t, echo)
	l := tlsListener(t, nil)
	l.Plaintext = roundRobin(t, o.addr)
	r := startRig(t, &Config{Listeners: []*Listener{l}})
	rng := rand.New(rand.NewPCG(3, 4))
	inputs := [][]byte{[]byte("SSH-2.0-OpenSSH_9.9\r\n"), {0}, make([]byte, 100), []byte("\x16\x02\x00\x00\x00")}
	for range 100 {
		b := make([]byte, 1+rng.IntN(5000))
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
		b[0] &= 0x0f // no record type, no SSL 2.0
		inputs = append(inputs, b)
	}
	for _, in := range inputs {
		c := r.dial(0)
		if got, err := r.bounce(c, in); err != nil || !bytes.Equal(got, in) {
			t.Fatalf("% x: got %d bytes, %v, want the %d that were sent", in[:min(len(in), 5)], len(got), err, len(in))
		}
		c.Close()
		r.next()
	}
}

func TestSSLv2IsClosedEvenWithAPlaintextPool(t *testing.T) {
	o := startOrigin(t, echo)
	l := tlsListener(t, nil)
	l.Plaintext = roundRobin(t, o.addr)
	r := startRig(t, &Config{Listeners: []*Listener{l}})
	c := r.dial(0)
	_, _ = c.Write([]byte{0x80, 0x2e, 1})
	_ = c.(*net.TCPConn).CloseWrite()
	if got, err := io.ReadAll(c); err != nil || len(got) > 0 {
		t.Errorf("got % x, %v, want a silent end", got, err)
	}
	if rec := r.next(); rec.Reason != "sslv2" || rec.Pool != "" || o.accepted.Load() != 0 {
		t.Errorf("got %v, pool %q and %d connections at the server, want sslv2 and none", rec.Reason, rec.Pool, o.accepted.Load())
	}
}

func TestClientThatLeavesInItsHelloIsCounted(t *testing.T) {
	r := chatRig(t)
	wire := chatHello(t)
	for n := range 100 {
		c := r.dial(0)
		_, _ = c.Write(wire[:1+n*len(wire)/101])
		want := Record{Reason: ReasonHelloClosed, EndedBy: Client}
		if n%2 == 0 {
			c.Close()
		} else {
			r.e.Tick()
			reset(c)
			want.Reason = ReasonReset
		}
		if rec := r.next(); rec.Reason != want.Reason || rec.EndedBy != want.EndedBy {
			t.Fatalf("after %d bytes: got %v by %v, want %v by %v", n, rec.Reason, rec.EndedBy, want.Reason, want.EndedBy)
		}
	}
}

func TestHelloOfExactlyTheCapIsRouted(t *testing.T) {
	for _, limit := range []int{0, 2048, 20000} {
		o := startOrigin(t, echo)
		l := tlsListener(t, nil, &Route{ServerName: "chat.example.com", Pool: roundRobin(t, o.addr)})
		l.MaxHello = limit
		r := startRig(t, &Config{Listeners: []*Listener{l}})
		if limit == 0 {
			limit = sniff.DefaultLimit
		}
		wire := paddedHello(t, "chat.example.com", limit)
		r.wantEchoed("at once", wire)
		r.wantEchoed("in pieces", slices.Collect(slices.Chunk(wire, 1000))...)
		over := paddedHello(t, "chat.example.com", limit+1)
		c := r.dial(0)
		_, _ = c.Write(over)
		got, err := io.ReadAll(c)
		if want := sniff.AlertRecordOverflow.AppendRecord(nil); err != nil || !bytes.Equal(got, want) {
			t.Errorf("a byte over %d: got % x, %v, want % x", limit, got, err, want)
		}
		c.Close()
		if rec := r.next(); rec.Reason != "too_large" {
			t.Errorf("a byte over %d: got %v, want too_large", limit, rec.Reason)
		}
	}
}

func TestUnfinishedHelloHoldsNoMoreThanTheCap(t *testing.T) {
	r := chatRig(t)
	wire := paddedHello(t, "chat.example.com", sniff.DefaultLimit)
	c := r.dial(0)
	most := int64(0)
	for piece := range slices.Chunk(wire[:len(wire)-1], 997) {
		if _, err := c.Write(piece); err != nil {
			t.Fatal(err)
		}
		r.e.Tick()
		most = max(most, r.e.Stats().KeptBytes)
	}
	if most < sniff.DefaultLimit/2 || most > sniff.DefaultLimit+4<<10 {
		t.Errorf("%d bytes were kept at most, want up to %d", most, sniff.DefaultLimit+4<<10)
	}
	if got, err := r.bounce(c, wire[len(wire)-1:]); err != nil || !bytes.Equal(got, wire) {
		t.Errorf("got %d bytes, %v, want the hello", len(got), err)
	}
	c.Close()
}

func TestHellosBeyondTheKeptBytesAreRefused(t *testing.T) {
	o := startOrigin(t, echo)
	const bound = 256 << 10
	r := startRig(t, &Config{
		Listeners: []*Listener{tlsListener(t, nil, &Route{ServerName: "chat.example.com", Pool: roundRobin(t, o.addr)})},
		Limits:    Limits{KeptBytes: bound},
	})
	wire := paddedHello(t, "chat.example.com", 20000)
	var open []net.Conn
	for range 100 {
		c := r.dial(0)
		_, _ = c.Write(wire[:10000])
		r.e.Tick()
		_, _ = c.Write(wire[10000:19999])
		r.e.Tick()
		if kept := r.e.Stats().KeptBytes; kept > bound {
			t.Fatalf("%d bytes are kept, want at most %d", kept, bound)
		}
		open = append(open, c)
	}
	served := 0
	for _, c := range open {
		if got, err := r.bounce(c, wire[19999:]); err == nil && bytes.Equal(got, wire) {
			served++
		}
		c.Close()
	}
	refused := int(r.e.Stats().Listeners[0].Ended[Ending{Culvert, ReasonMemoryLimit}])
	if served < 5 || served > bound/20000 || served+refused != len(open) {
		t.Errorf("%d of %d were served and %d refused", served, len(open), refused)
	}
	for range open {
		r.next()
	}
}

// connect opens n connections to listener 0, sends the same first bytes on each,
// and returns when the engine has accepted all of them, with the times of its
// clock before the first and after the last.
func (r *rig) connect(n int, first []byte) (conns []net.Conn, before, after time.Duration) {
	r.t.Helper()
	before = r.clock.now()
	had := r.e.Stats().Listeners[0].Active
	for range n {
		c := r.dial(0)
		if len(first) > 0 {
			if _, err := c.Write(first); err != nil {
				r.t.Fatal(err)
			}
		}
		conns = append(conns, c)
	}
	eventually(r.t, "all are accepted", func() bool { return r.e.Stats().Listeners[0].Active == had+int64(n) })
	r.e.Tick()
	return conns, before, r.clock.now()
}

// advanceTo moves the engine's clock to a time that is ahead.
func (r *rig) advanceTo(at time.Duration) { r.advance(at - r.clock.now()) }

func TestUnfinishedHelloIsClosedAtItsDeadline(t *testing.T) {
	for _, tt := range []struct {
		name  string
		first []byte
	}{
		{"silent", nil},
		{"slow", []byte{22}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			const timeout, n = time.Hour, 100
			l := tlsListener(t, nil)
			l.HelloTimeout = timeout
			r := startRig(t, &Config{Listeners: []*Listener{l}, Loops: 2})
			conns, before, after := r.connect(soak(n, 4000), tt.first)
			wire := chatHello(t)
			for step := 1; step < 60; step++ { // a byte a minute
				r.advanceTo(before + time.Duration(step)*time.Minute)
				for _, c := range conns {
					if len(tt.first) > 0 {
						_, _ = c.Write(wire[step : step+1])
					}
				}
			}
			for _, early := range []time.Duration{time.Minute, time.Second, 100 * time.Millisecond} {
				r.advanceTo(before + timeout - early)
				got := r.e.Stats().Listeners[0].Active
				if r.clock.now() < before+timeout && got != int64(len(conns)) {
					t.Errorf("%v before the deadline %d are open, want %d", early, got, len(conns))
				}
			}
			r.advanceTo(after + timeout + 2*coarseTick)
			if got := r.e.Stats().Listeners[0].Active; got != 0 {
				t.Errorf("at the deadline %d are open, want none", got)
			}
			for _, c := range conns {
				if got, err := io.ReadAll(c); err != nil || len(got) > 0 {
					t.Fatalf("got % x, %v, want a silent end", got, err)
				}
				c.Close()
				if rec := r.next(); rec.Reason != ReasonHelloTimeout || rec.EndedBy != Culvert || rec.Total < timeout {
					t.Fatalf("got record %+v, want %v after %v or later", rec, ReasonHelloTimeout, timeout)
				}
			}
		})
	}
}

func TestGoodClientIsServedBesideSlowOnes(t *testing.T) {
	o := startOrigin(t, tlsEcho(t))
	r := startRig(t, &Config{Listeners: []*Listener{tlsListener(t, nil, &Route{ServerName: "chat.example.com", Pool: roundRobin(t, o.addr)})}})
	conns, _, _ := r.connect(soak(500, 4000), []byte{22, 3, 1})
	for range 20 {
		r.dialTLS("chat.example.com").Close()
	}
	if got := r.e.Stats().Listeners[0].Active; got < int64(len(conns)) {
		t.Errorf("%d are open, want at least the %d slow ones", got, len(conns))
	}
	kept := r.e.Stats().KeptBytes
	if each := kept / int64(len(conns)); each > 12<<10 {
		t.Errorf("a slow client costs %d bytes, want at most 12 KiB", each)
	}
}

func TestHelloDeadlineIsClearedByTheHello(t *testing.T) {
	o := startOrigin(t, echo)
	l := tlsListener(t, nil, &Route{ServerName: "chat.example.com", Pool: roundRobin(t, o.addr)})
	l.HelloTimeout, l.Session.IdleTimeout = time.Minute, time.Hour
	r := startRig(t, &Config{Listeners: []*Listener{l}, Loops: 2})
	wire := chatHello(t)
	conns, _, _ := r.connect(soak(100, 1000), wire[:100])
	talk := func(c net.Conn, b []byte, want int) {
		t.Helper()
		if _, err := c.Write(b); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(c, make([]byte, want)); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range conns {
		talk(c, wire[100:], len(wire))
	}
	for range 40 {
		r.advance(15 * time.Second)
	}
	for _, c := range conns {
		_ = c.SetDeadline(time.Now().Add(patience))
		talk(c, []byte("still there"), 11)
	}
	if got := r.e.Stats().Listeners[0].Active; got != int64(len(conns)) {
		t.Errorf("after 10 times the hello timeout %d are open, want %d", got, len(conns))
	}
}

func TestHelloTimeoutCanBeOff(t *testing.T) {
	o := startOrigin(t, echo)
	l := tlsListener(t, nil, &Route{ServerName: "chat.example.com", Pool: roundRobin(t, o.addr)})
	l.HelloTimeout = Off
	r := startRig(t, &Config{Listeners: []*Listener{l}})
	wire := chatHello(t)
	conns, _, _ := r.connect(1, wire[:1])
	for range 24 {
		r.advance(time.Hour)
	}
	if got, err := r.bounce(conns[0], wire[1:]); err != nil || !bytes.Equal(got, wire) {
		t.Errorf("got %d bytes, %v, want the hello", len(got), err)
	}
}

// mutate changes a few bytes of wire.
func mutate(rng *rand.Rand, wire []byte) []byte {
	b := slices.Clone(wire)
	for range 1 + rng.IntN(4) {
		if len(b) < 2 {
			return append(b, 22)
		}
		at := rng.IntN(len(b))
		if rng.IntN(2) == 0 {
			at = rng.IntN(min(len(b), 64)) // headers decide most
		}
		n := min(1+rng.IntN(40), len(b)-at)
		switch rng.IntN(6) {
		case 0:
			b[at] ^= 1 << rng.IntN(8)
		case 1:
			b[at] = byte(rng.Uint32())
		case 2:
			b = slices.Delete(b, at, at+n)
		case 3:
			b = slices.Insert(b, at, slices.Clone(b[at:at+n])...)
		case 4:
			b = b[:at+1]
		case 5:
			b[at] = []byte{0, 1, 0x7f, 0x80, 0xff}[rng.IntN(5)]
		}
	}
	return b
}

func TestMutatedHellosAreClosedOrRouted(t *testing.T) {
	o := startOrigin(t, echo)
	pool := roundRobin(t, o.addr)
	l := tlsListener(t, &Route{Pool: pool}, &Route{ServerName: "chat.example.com", Pool: pool})
	r := startRig(t, &Config{Listeners: []*Listener{l}, Loops: 2})
	small, big := smallHello(t), chatHello(t)
	seeds := [][]byte{
		small, big, tlsRecords(messageOf(small), 3, 50, 7), tinyRecords(messageOf(small)),
		craftHello(sniExtension("chat.example.com"), alpnExtension("h2", "http/1.1"), pskExtension(5000)),
	}
	seed := uint64(time.Now().UnixNano())
	rng := rand.New(rand.NewPCG(seed, 0))
	t.Logf("seed %d", seed)
	const batch = 100
	for round := range soak(2000, 1e6) / batch {
		var silent []net.Conn
		for n := range batch {
			b := mutate(rng, seeds[rng.IntN(len(seeds))])
			c := r.dial(0)
			_, _ = c.Write(b)
			if n%4 == 0 { // leaves it to the engine to end this
				silent = append(silent, c)
				continue
			}
			_ = c.(*net.TCPConn).CloseWrite()
			if _, err := io.ReadAll(c); errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatalf("% x: not ended in time", b)
			}
			c.Close()
		}
		eventually(t, "all are accepted", func() bool { return r.e.Stats().Listeners[0].Accepted == uint64(batch*(round+1)) })
		r.advance(DefaultHelloTimeout + time.Second)
		for _, c := range silent {
			c.Close() // those that were routed
		}
		for range batch {
			r.next()
		}
	}
	r.wantEchoed("a good hello", big)
}

// FuzzSegments checks that the cuts between segments change nothing: the
// engine does with the bytes what the parser says of them as a whole.
func FuzzSegments(f *testing.F) {
	o := startOrigin(f, echo)
	pool := roundRobin(f, o.addr)
	r := startRig(f, &Config{Listeners: []*Listener{tlsListener(f, &Route{Pool: pool}, &Route{ServerName: "chat.example.com", Pool: pool})}, Loops: 1})
	f.Add(smallHello(f), uint16(7), uint16(100))
	f.Add(tinyRecords(messageOf(smallHello(f))), uint16(3), uint16(9))
	for _, bad := range badHellos() {
		f.Add(bad.wire, uint16(1), uint16(2))
	}
	f.Fuzz(func(t *testing.T, wire []byte, first, second uint16) {
		if len(wire) == 0 || len(wire) > 40000 {
			return
		}
		a := int(first) % len(wire)
		b := a + int(second)%(len(wire)-a)
		c, err := net.DialTimeout("tcp", r.addrs[0], patience)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(patience))
		got, err := r.bounce(c, wire[:a], wire[a:b], wire[b:])
		if errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal("not ended in time")
		}
		var reject *sniff.Reject
		want := wire
		switch verdict := new(sniff.Parser).Parse(wire, new(sniff.Hello)); {
		case errors.As(verdict, &reject):
			want = reject.Alert.AppendRecord(nil)
		case verdict != nil:
			want = nil
		}
		if !bytes.Equal(got, want) {
			t.Errorf("got % x, %v, want % x", got, err, want)
		}
	})
}
