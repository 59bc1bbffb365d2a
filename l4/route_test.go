package l4

import (
	"bytes"
	"crypto/ecdh"
	"crypto/rand"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net"
	"slices"
	"strings"
	"testing"

	"culvert/sniff"
)

// nameless are hellos that no name routes.
func nameless() map[string][]byte {
	return map[string][]byte{
		"no name":        craftHello(alpnExtension("h2")),
		"no extensions":  craftHello(),
		"IPv4 address":   craftHello(sniExtension("192.0.2.1")),
		"IPv6 address":   craftHello(sniExtension("2001:db8::1")),
		"with brackets":  craftHello(sniExtension("[2001:db8::1]")),
		"unknown":        craftHello(sniExtension("other.example.org")),
		"apex":           craftHello(sniExtension("example.com")),
		"a longer name":  craftHello(sniExtension("chat.example.com.evil.example")),
		"a shorter name": craftHello(sniExtension("hat.example.com")),
	}
}

func TestHelloWithoutARouteGoesToTheDefault(t *testing.T) {
	chat, other := startOrigin(t, echo), startOrigin(t, echo)
	for _, tt := range []struct {
		name string
		def  *Route
		want []byte // nil: the echo
		end  Ending
	}{
		{"nothing configured", nil, sniff.AlertUnrecognizedName.AppendRecord(nil), Ending{Culvert, ReasonNoRoute}},
		{"reject", &Route{Action: Reject}, sniff.AlertUnrecognizedName.AppendRecord(nil), Ending{Culvert, ReasonNoRoute}},
		{"close", &Route{Action: Close}, []byte{}, Ending{Culvert, ReasonClosedByRoute}},
		{"pool", &Route{Pool: roundRobin(t, other.addr)}, nil, Ending{Client, ReasonClosed}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := startRig(t, &Config{Listeners: []*Listener{tlsListener(t, tt.def, &Route{ServerName: "chat.example.com", Pool: roundRobin(t, chat.addr)})}})
			for kind, wire := range nameless() {
				for range 4 {
					want := tt.want
					if want == nil {
						want = wire
					}
					c := r.dial(0)
					if got, err := r.bounce(c, wire); err != nil || !bytes.Equal(got, want) {
						t.Errorf("%s: got % x, %v, want % x and the end", kind, got, err, want)
					}
					c.Close()
					rec := r.next()
					if rec.Route != "default" || rec.Reason != tt.end.Reason || rec.EndedBy != tt.end.By {
						t.Errorf("%s: got record %+v", kind, rec)
					}
				}
			}
			st := r.e.Stats()
			if got, want := st.Listeners[0].Ended[tt.end], uint64(4*len(nameless())); got != want {
				t.Errorf("%v was counted %d times, want %d", tt.end, got, want)
			}
			if got, want := st.Routes[1], uint64(4*len(nameless())); got.Route != "default" || got.Taken != want {
				t.Errorf("got %+v, want the default to have taken %d", got, want)
			}
		})
	}
	if n := chat.accepted.Load(); n != 0 {
		t.Errorf("the named server got %d connections, want none", n)
	}
}

func TestAddressAsNameIsRecordedAndRoutesNothing(t *testing.T) {
	r := chatRig(t)
	for _, name := range []string{"192.0.2.1", "2001:db8::1", "[::1]"} {
		c := r.dial(0)
		_, _ = r.bounce(c, craftHello(sniExtension(name)))
		c.Close()
		if rec := r.next(); rec.ServerName != name || rec.Route != "default" {
			t.Errorf("%s: got server name %q and route %q, want the default", name, rec.ServerName, rec.Route)
		}
	}
}

func TestBadNameIsRecordedAsItWasSent(t *testing.T) {
	r := chatRig(t)
	for _, name := range []string{"chat example.com", "a\x00b", "\xff\x1b[31m", "..", strings.Repeat("a", 300)} {
		c := r.dial(0)
		_, _ = r.bounce(c, craftHello(sniExtension(name)))
		c.Close()
		if rec := r.next(); rec.ServerName != name || rec.Reason != "bad_name" {
			t.Errorf("%q: got server name %q and %v", name, rec.ServerName, rec.Reason)
		}
	}
}

func TestSpellingOfTheNameChangesNothing(t *testing.T) {
	r := chatRig(t)
	rng := mathrand.New(mathrand.NewPCG(1, 1))
	for n := range 200 {
		name := []byte("chat.example.com")
		for i, b := range name {
			if b != '.' && rng.IntN(2) == 0 {
				name[i] = b - 'a' + 'A'
			}
		}
		if n%2 == 0 {
			name = append(name, '.')
		}
		r.wantEchoed(string(name), craftHello(sniExtension(string(name)), alpnExtension("h2")))
	}
}

func TestEachPatternReachesItsPool(t *testing.T) {
	tags := []string{"exact", "wildcard", "deeper", "regexp", "default"}
	pools := map[string]*Pool{}
	for _, tag := range tags {
		o := startOrigin(t, func(c net.Conn) { _, _ = io.WriteString(c, tag); echo(c) })
		pools[tag] = roundRobin(t, o.addr)
	}
	r := startRig(t, &Config{Loops: 2, Listeners: []*Listener{tlsListener(t, &Route{Pool: pools["default"]},
		&Route{ServerName: `~^[a-z]+\d+\.`, Pool: pools["regexp"]},
		&Route{ServerName: "*.example.com", Pool: pools["wildcard"]},
		&Route{ServerName: "*.deep.example.com", Pool: pools["deeper"]},
		&Route{ServerName: "chat.example.com", Pool: pools["exact"]})}})
	for name, want := range map[string]string{
		"chat.example.com": "exact", "Chat.Example.Com.": "exact",
		"a.example.com": "wildcard", "a.b.example.com": "wildcard", "host1.example.com": "wildcard", "deep.example.com": "wildcard",
		"a.deep.example.com": "deeper", "A.B.DEEP.example.com": "deeper",
		"host1.example.org": "regexp", "host22.x": "regexp",
		"example.com": "default", "host.example.org": "default",
	} {
		for range 10 {
			c := r.dial(0)
			got, err := r.bounce(c, craftHello(sniExtension(name)))
			if err != nil || !strings.HasPrefix(string(got), want) {
				t.Errorf("%s: got %.10q, %v, want %s", name, got, err, want)
			}
			c.Close()
			r.next()
		}
	}
}

func TestFailedALPNConditionNeverFallsToAWeakerRoute(t *testing.T) {
	strict, weak, acme := startOrigin(t, echo), startOrigin(t, echo), startOrigin(t, echo)
	weaker := roundRobin(t, weak.addr)
	r := startRig(t, &Config{Listeners: []*Listener{tlsListener(t, &Route{Pool: weaker},
		&Route{ServerName: "chat.example.com", ALPN: []string{"h2"}, Pool: roundRobin(t, strict.addr)},
		&Route{ServerName: "*.example.com", Pool: weaker},
		&Route{ServerName: "~.*", Pool: weaker},
		&Route{ServerName: "www.example.com", Pool: roundRobin(t, strict.addr)},
		&Route{ServerName: "www.example.com", ALPN: []string{"acme-tls/1"}, Pool: roundRobin(t, acme.addr)})}})
	alert := sniff.AlertUnrecognizedName.AppendRecord(nil)
	for _, tt := range []struct {
		name  string
		alpn  []string
		route string
	}{
		{"chat.example.com", nil, "no alpn match"},
		{"CHAT.example.com.", nil, "no alpn match"},
		{"chat.example.com", []string{"http/1.1"}, "no alpn match"},
		{"chat.example.com", []string{"h2c", "H2", "h"}, "no alpn match"},
		{"chat.example.com", []string{"http/1.1", "h2"}, "chat.example.com alpn=h2"},
		{"www.example.com", []string{"acme-tls/1"}, "www.example.com alpn=acme-tls/1"},
		{"www.example.com", []string{"h2"}, "www.example.com"},
	} {
		wire := craftHello(sniExtension(tt.name))
		if tt.alpn != nil {
			wire = craftHello(sniExtension(tt.name), alpnExtension(tt.alpn...))
		}
		want := wire
		if tt.route == "no alpn match" {
			want = alert
		}
		for range 20 {
			c := r.dial(0)
			if got, err := r.bounce(c, wire); err != nil || !bytes.Equal(got, want) {
				t.Errorf("%s %q: got % x, %v, want % x", tt.name, tt.alpn, got, err, want)
			}
			c.Close()
			rec := r.next()
			if rec.Route != tt.route || rec.ALPN != strings.Join(tt.alpn, ",") || (rec.Reason == ReasonNoRoute) != (tt.route == "no alpn match") {
				t.Errorf("%s %q: got record %+v", tt.name, tt.alpn, rec)
			}
		}
	}
	if n := weak.accepted.Load(); n != 0 {
		t.Errorf("a weaker route got %d connections, want none", n)
	}
	if n := acme.accepted.Load(); n != 20 {
		t.Errorf("the ACME server got %d connections, want 20", n)
	}
}

// tlsRig serves chat.example.com with a TLS echo configured by cfg.
func tlsRig(t *testing.T, cfg *tls.Config) *rig {
	t.Helper()
	cfg.Certificates = []tls.Certificate{certificate(t)}
	o := startOrigin(t, func(c net.Conn) {
		s := tls.Server(c, cfg)
		_, _ = io.Copy(s, s)
		s.Close()
	})
	return startRig(t, &Config{Listeners: []*Listener{tlsListener(t, nil, &Route{ServerName: "chat.example.com", Pool: roundRobin(t, o.addr)})}})
}

// talkTLS makes a connection, sends and receives, and returns what was
// negotiated and what the engine recorded.
func (r *rig) talkTLS(cfg *tls.Config) (tls.ConnectionState, Record) {
	r.t.Helper()
	c := tls.Client(r.dial(0), cfg)
	if _, err := c.Write([]byte("message")); err != nil {
		r.t.Fatal(err)
	}
	got := make([]byte, 7)
	if _, err := io.ReadFull(c, got); err != nil || string(got) != "message" {
		r.t.Fatalf("got %q, %v, want the echo", got, err)
	}
	state := c.ConnectionState()
	c.Close()
	rec := r.next()
	if rec.Route != "chat.example.com" {
		r.t.Fatalf("got record %+v", rec)
	}
	return state, rec
}

func TestHelloRetryRequestPassesThrough(t *testing.T) {
	r := tlsRig(t, &tls.Config{CurvePreferences: []tls.CurveID{tls.CurveP521}})
	for range soak(100, 1000) {
		state, _ := r.talkTLS(&tls.Config{ServerName: "chat.example.com", InsecureSkipVerify: true})
		if !state.HelloRetryRequest || state.CurveID != tls.CurveP521 {
			t.Fatalf("got curve %v, retry %v, want a retry with %v", state.CurveID, state.HelloRetryRequest, tls.CurveP521)
		}
	}
}

func TestHandshakeWithAndWithoutPostQuantumKeys(t *testing.T) {
	r := tlsRig(t, &tls.Config{})
	for _, curve := range []tls.CurveID{tls.X25519MLKEM768, tls.X25519, tls.CurveP256} {
		for range soak(100, 1000) {
			state, _ := r.talkTLS(&tls.Config{ServerName: "chat.example.com", InsecureSkipVerify: true, CurvePreferences: []tls.CurveID{curve}})
			if state.CurveID != curve {
				t.Fatalf("got %v, want %v", state.CurveID, curve)
			}
		}
	}
}

func TestResumptionWithATicketOf12KiB(t *testing.T) {
	server := &tls.Config{}
	server.WrapSession = func(cs tls.ConnectionState, ss *tls.SessionState) ([]byte, error) {
		ss.Extra = append(ss.Extra, make([]byte, 12<<10))
		return server.EncryptTicket(cs, ss)
	}
	server.UnwrapSession = server.DecryptTicket
	r := tlsRig(t, server)
	client := &tls.Config{ServerName: "chat.example.com", InsecureSkipVerify: true, ClientSessionCache: tls.NewLRUClientSessionCache(1)}
	r.talkTLS(client)
	for range soak(100, 1000) {
		state, rec := r.talkTLS(client)
		if !state.DidResume || rec.BytesUp < 12<<10 {
			t.Fatalf("resumed %v with %d bytes, want a resumption with more than 12 KiB", state.DidResume, rec.BytesUp)
		}
		// The ticket is wrapped anew, with the padding of before: start over.
		client.ClientSessionCache = tls.NewLRUClientSessionCache(1)
		r.talkTLS(client)
	}
}

func TestHelloWithATicketOf12KiBIsRouted(t *testing.T) {
	r := chatRig(t)
	wire := craftHello(sniExtension("chat.example.com"), pskExtension(12<<10))
	split := tlsRecords(messageOf(wire), 5000, 5000)
	for range soak(50, 1000) {
		r.wantEchoed("in one piece", wire)
		r.wantEchoed("in segments", slices.Collect(slices.Chunk(wire, 1400))...)
		r.wantEchoed("in three records", split)
	}
}

// echConfig is an encrypted_client_hello configuration with its private key
// (RFC 9849 section 4).
func echConfig(t *testing.T, public string) tls.EncryptedClientHelloKey {
	t.Helper()
	key, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	body := []byte{7}                                      // config id
	body = binary.BigEndian.AppendUint16(body, 0x0020)     // DHKEM(X25519, HKDF-SHA256)
	body = append(body, vec16(key.PublicKey().Bytes())...) //
	body = append(body, vec16([]byte{0, 1, 0, 1})...)      // HKDF-SHA256, AES-128-GCM
	body = append(body, 64, byte(len(public)))             // maximum name length, public name
	body = append(append(body, public...), 0, 0)           // no extensions
	return tls.EncryptedClientHelloKey{Config: extension(extECH, body), PrivateKey: key.Bytes()}
}

func TestEncryptedHelloIsRoutedByItsOuterName(t *testing.T) {
	key := echConfig(t, "chat.example.com")
	r := tlsRig(t, &tls.Config{EncryptedClientHelloKeys: []tls.EncryptedClientHelloKey{key}})
	for range soak(100, 1000) {
		state, rec := r.talkTLS(&tls.Config{
			ServerName: "secret.example.net", InsecureSkipVerify: true, MinVersion: tls.VersionTLS13,
			EncryptedClientHelloConfigList: vec16(key.Config),
		})
		if !state.ECHAccepted || rec.ServerName != "chat.example.com" || strings.Contains(fmt.Sprintf("%+v", rec), "secret") {
			t.Fatalf("accepted %v, got record %+v", state.ECHAccepted, rec)
		}
	}
}

func TestGreaseOfAnEncryptedHelloIsRouted(t *testing.T) {
	r := chatRig(t)
	for n := range 100 {
		body := make([]byte, n*3)
		_, _ = rand.Read(body)
		r.wantEchoed("GREASE", craftHello(extension(0x0a0a, nil), extension(extECH, body), sniExtension("chat.example.com"), extension(0xfafa, []byte{0})))
	}
}

// earlyHello is a hello that offers early data, and some of it right behind.
func earlyHello() []byte {
	wire := craftHello(sniExtension("chat.example.com"), extension(extEarlyData, nil), pskExtension(100))
	return append(wire, tlsRecord(23, []byte("early data that must not be said twice"))...)
}

// counter is a server that reads what it gets and resets every connection.
func resetting(got chan<- []byte, want int) func(net.Conn) {
	return func(c net.Conn) {
		b := make([]byte, want)
		n, _ := io.ReadFull(c, b)
		got <- b[:n]
		reset(c)
	}
}

func TestEarlyDataIsForwardedUntouched(t *testing.T) {
	r := chatRig(t)
	wire := earlyHello()
	for range soak(50, 1000) {
		r.wantEchoed("in one segment", wire)
		r.wantEchoed("in two", wire[:100], wire[100:])
		r.wantEchoed("behind the hello", wire[:len(wire)-43], wire[len(wire)-43:])
	}
}

func TestEarlyDataIsNeverSaidTwice(t *testing.T) {
	plain := craftHello(sniExtension("chat.example.com"))
	for _, tt := range []struct {
		name    string
		wire    []byte
		servers int // that get it
	}{
		{"early data", earlyHello(), 1},
		{"offer of early data alone", craftHello(sniExtension("chat.example.com"), extension(extEarlyData, nil), pskExtension(100)), 1},
		{"bytes behind the hello", append(slices.Clone(plain), tlsRecord(20, []byte{1})...), 1},
		{"a plain hello, which may be repeated", plain, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := make(chan []byte, 2)
			first, second := startOrigin(t, resetting(got, len(tt.wire))), startOrigin(t, resetting(got, len(tt.wire)))
			r := startRig(t, &Config{Listeners: []*Listener{tlsListener(t, nil, &Route{ServerName: "chat.example.com", Pool: roundRobin(t, first.addr, second.addr)})}})
			for range soak(100, 1000) {
				before := first.accepted.Load() + second.accepted.Load()
				c := r.dial(0)
				if _, err := c.Write(tt.wire); err != nil {
					t.Fatal(err)
				}
				if b, err := io.ReadAll(c); err == nil || len(b) > 0 {
					t.Fatalf("got %d bytes, %v, want the server's reset", len(b), err)
				}
				rec := r.next()
				if n := first.accepted.Load() + second.accepted.Load() - before; n != int64(tt.servers) || len(rec.Tries)+1 < tt.servers {
					t.Fatalf("%d servers were asked, want %d; record %+v", n, tt.servers, rec)
				}
				for range tt.servers {
					if b := <-got; !bytes.Equal(b, tt.wire) {
						t.Fatalf("a server got %d bytes that differ from the %d that were sent", len(b), len(tt.wire))
					}
				}
			}
		})
	}
}

func TestEarlyDataGoesOnWhenNobodyHasSeenIt(t *testing.T) {
	o := startOrigin(t, echo)
	r := startRig(t, &Config{Listeners: []*Listener{tlsListener(t, nil, &Route{ServerName: "chat.example.com", Pool: roundRobin(t, refusedAddr(t), o.addr)})}})
	for range 100 {
		r.wantEchoed("after a refusal", earlyHello())
	}
	if n := o.accepted.Load(); n != 100 {
		t.Errorf("the server got %d connections, want 100", n)
	}
}
