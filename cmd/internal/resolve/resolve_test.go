package resolve

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/miekg/dns"
)

// zone is a DNS server on loopback that answers from a map of records.
type zone struct {
	addr netip.AddrPort

	mu        sync.Mutex
	records   map[string][]string // by name and type, such as "chat.test. A"
	rcode     int
	asked     map[string]int
	truncates bool // over UDP
}

func startZone(t *testing.T) *zone {
	t.Helper()
	pc, ln := sameport(t)
	z := &zone{addr: netip.MustParseAddrPort(pc.LocalAddr().String()), records: map[string][]string{}, asked: map[string]int{}}
	udp := &dns.Server{PacketConn: pc, Handler: dns.HandlerFunc(z.answer)}
	tcp := &dns.Server{Listener: ln, Handler: dns.HandlerFunc(z.answer)}
	for _, s := range []*dns.Server{udp, tcp} {
		started := make(chan struct{})
		s.NotifyStartedFunc = func() { close(started) }
		go func() { _ = s.ActivateAndServe() }()
		<-started
		t.Cleanup(func() { _ = s.Shutdown() })
	}
	return z
}

// sameport opens a port for UDP and TCP.
func sameport(t *testing.T) (net.PacketConn, net.Listener) {
	t.Helper()
	var err error
	for range 100 { // the UDP port may be in use
		ln, e := net.Listen("tcp", "127.0.0.1:0")
		if e != nil {
			t.Fatal(e)
		}
		var pc net.PacketConn
		if pc, err = net.ListenPacket("udp", ln.Addr().String()); err == nil {
			return pc, ln
		}
		ln.Close()
	}
	t.Fatal(err)
	return nil, nil
}

// questions returns how often something was asked.
func (z *zone) questions(key string) int {
	z.mu.Lock()
	defer z.mu.Unlock()
	return z.asked[key]
}

func (z *zone) answer(w dns.ResponseWriter, q *dns.Msg) {
	z.mu.Lock()
	defer z.mu.Unlock()
	m := new(dns.Msg)
	m.SetReply(q)
	key := q.Question[0].Name + " " + dns.TypeToString[q.Question[0].Qtype]
	z.asked[key]++
	m.Rcode = z.rcode
	if _, udp := w.RemoteAddr().(*net.UDPAddr); udp && z.truncates {
		m.Truncated = true
	} else {
		for _, text := range z.records[key] {
			rr, err := dns.NewRR(q.Question[0].Name + " " + text)
			if err != nil {
				panic(err)
			}
			m.Answer = append(m.Answer, rr)
		}
	}
	_ = w.WriteMsg(m)
}

// set gives the records of a name, each as "TTL IN TYPE VALUE".
func (z *zone) set(key string, records ...string) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.records[key] = records
}

func (z *zone) setRcode(rcode int) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.rcode = rcode
}

func (z *zone) resolver() *Resolver {
	return New(Config{Servers: []netip.AddrPort{z.addr}, Timeout: 10 * time.Second})
}

func addrs(texts ...string) (all []netip.Addr) {
	for _, s := range texts {
		all = append(all, netip.MustParseAddr(s))
	}
	return all
}

func TestAddrs(t *testing.T) {
	z := startZone(t)
	z.set("chat.test. A", "60 IN A 192.0.2.9", "60 IN A 192.0.2.8")
	z.set("chat.test. AAAA", "60 IN AAAA 2001:db8::1")
	r := z.resolver()
	for range 3 {
		got, err := r.Addrs(t.Context(), "chat.test")
		if diff := cmp.Diff(addrs("192.0.2.8", "192.0.2.9", "2001:db8::1"), got, cmpopts.EquateComparable(netip.Addr{})); diff != "" || err != nil {
			t.Fatalf("%v\n%s", err, diff)
		}
	}
	if n := z.questions("chat.test. A"); n != 1 {
		t.Errorf("asked %d times while the answer was good, want once", n)
	}
	at, ok := r.Next()
	if left := time.Until(at); !ok || left > time.Minute || left < 50*time.Second {
		t.Errorf("the answer expires in %s, want a minute", left)
	}
}

func TestTruncatedAnswersComeOverTCP(t *testing.T) {
	z := startZone(t)
	z.truncates = true
	z.set("chat.test. A", "60 IN A 192.0.2.8")
	if got, err := z.resolver().Addrs(t.Context(), "chat.test"); err != nil || len(got) != 1 {
		t.Errorf("%v, %v", got, err)
	}
}

func TestNoAnswer(t *testing.T) {
	z := startZone(t)
	r := z.resolver()
	if got, err := r.Addrs(t.Context(), "missing.test"); err == nil {
		t.Errorf("a name that does not exist: %v", got)
	}
	z.setRcode(dns.RcodeServerFailure)
	if got, err := r.Addrs(t.Context(), "chat.test"); err == nil || !strings.Contains(err.Error(), "SERVFAIL") {
		t.Errorf("a server that fails: %v, %v", got, err)
	}
	closed, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	at := closed.LocalAddr().String()
	r = New(Config{Servers: []netip.AddrPort{netip.MustParseAddrPort(at)}})
	if _, err := r.Addrs(t.Context(), "chat.test"); err == nil || err.Error() != at+": read: connection refused" {
		t.Errorf("no server: %v, want the error that both families have, once", err)
	}
}

// TestLastGoodAnswer: while the lookup of a name fails its addresses stay in
// use; when the lookup succeeds again they are replaced.
func TestLastGoodAnswer(t *testing.T) {
	z := startZone(t)
	z.set("chat.test. A", "0 IN A 192.0.2.8")
	r := New(Config{Servers: []netip.AddrPort{z.addr}, MinTTL: time.Millisecond, MaxTTL: time.Millisecond})
	if _, err := r.Addrs(t.Context(), "chat.test"); err != nil {
		t.Fatal(err)
	}
	z.setRcode(dns.RcodeServerFailure)
	if c := refresh(t, r); len(c) != 1 || c[0].Err == nil || c[0].Again {
		t.Errorf("the first failure: %+v", c)
	}
	if c := refresh(t, r); len(c) != 1 || c[0].Err == nil || !c[0].Again {
		t.Errorf("the second failure: %+v", c)
	}
	if got, err := r.Addrs(t.Context(), "chat.test"); err != nil || len(got) != 1 {
		t.Errorf("while it fails: %v, %v", got, err)
	}
	z.setRcode(dns.RcodeSuccess)
	z.set("chat.test. A", "0 IN A 192.0.2.9")
	if c := refresh(t, r); len(c) != 1 || c[0].Err != nil || c[0].Name != "chat.test" {
		t.Errorf("another answer: %+v", c)
	}
	if got, err := r.Addrs(t.Context(), "chat.test"); err != nil || got[0] != addrs("192.0.2.9")[0] {
		t.Errorf("after the change: %v, %v", got, err)
	}
}

// refresh waits until an answer has expired and calls Refresh.
func refresh(t *testing.T, r *Resolver) []Change {
	t.Helper()
	at, ok := r.Next()
	if !ok {
		t.Fatal("nothing is in use")
	}
	time.Sleep(time.Until(at) + time.Millisecond)
	return r.Refresh(context.Background())
}

func TestServices(t *testing.T) {
	z := startZone(t)
	z.set("_https._tcp.chat.test. SRV", "60 IN SRV 20 0 443 c.test.", "60 IN SRV 10 5 8443 b.test.", "60 IN SRV 10 10 443 a.test.")
	got, err := z.resolver().Services(t.Context(), "_https._tcp.chat.test")
	want := []Service{{"a.test.", 443, 10, 10}, {"b.test.", 8443, 10, 5}, {"c.test.", 443, 20, 0}}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Fatalf("%v\n%s", err, diff)
	}
	z.set("_none._tcp.chat.test. SRV", "60 IN SRV 0 0 0 .")
	if got, err := z.resolver().Services(t.Context(), "_none._tcp.chat.test"); err == nil {
		t.Errorf("a service that does not exist: %v", got)
	}
}

func TestHostsFileHasPrecedence(t *testing.T) {
	z := startZone(t)
	z.set("localhost. A", "60 IN A 192.0.2.8")
	got, err := z.resolver().Addrs(t.Context(), "localhost")
	if err != nil || len(got) == 0 || !got[0].IsLoopback() {
		t.Errorf("%v, %v, want the address in /etc/hosts", got, err)
	}
}

// TestBegin: names not looked up since Begin are not refreshed.
func TestBegin(t *testing.T) {
	z := startZone(t)
	z.set("chat.test. A", "60 IN A 192.0.2.8")
	r := z.resolver()
	if _, err := r.Addrs(t.Context(), "chat.test"); err != nil {
		t.Fatal(err)
	}
	r.Begin()
	if at, ok := r.Next(); ok {
		t.Errorf("a name that is not in use is due at %s", at)
	}
}
