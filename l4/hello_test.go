package l4

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
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
	ln := tlsListener(t, nil, &Route{ServerName: "chat.example.com", Pool: roundRobin(t, o.addr)})
	ln.HelloTimeout = time.Minute // nine thousand segments take a busy machine more than the default
	return startRig(t, &Config{Listeners: []*Listener{ln}})
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
			var lengths []int
			for left := len(msg); left > 0; left -= lengths[len(lengths)-1] {
				lengths = append(lengths, 1+rng.IntN(min(left, 1+len(msg)/4)))
			}
			split := tlsRecords(msg, lengths...)
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

func TestP6UnfinishedHelloHoldsNoMoreThanTheCap(t *testing.T) {
	r := chatRig(t)
	wire := paddedHello(t, "chat.example.com", sniff.DefaultLimit)
	c := r.dial(0)
	most := int64(0)
	for piece := range slices.Chunk(wire[:len(wire)-1], 997) {
		if _, err := c.Write(piece); err != nil {
			t.Fatal(err)
		}
		r.e.Tick()
		most = max(most, r.e.Stats().BufferedBytes)
	}
	if most < sniff.DefaultLimit/2 || most > sniff.DefaultLimit+4<<10 {
		t.Errorf("%d bytes were buffered at most, want up to %d", most, sniff.DefaultLimit+4<<10)
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
		Limits:    Limits{BufferedBytes: bound},
	})
	wire := paddedHello(t, "chat.example.com", 20000)
	var open []net.Conn
	for range 100 {
		c := r.dial(0)
		_, _ = c.Write(wire[:10000])
		r.e.Tick()
		_, _ = c.Write(wire[10000:19999])
		r.e.Tick()
		if kept := r.e.Stats().BufferedBytes; kept > bound {
			t.Fatalf("%d bytes are buffered, want at most %d", kept, bound)
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
