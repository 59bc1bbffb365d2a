package l4

import (
	"io"
	"net"
	"net/netip"
	"testing"
)

// from is p, dialed from these addresses.
func from(p *Pool, addrs ...string) *Pool {
	for _, a := range addrs {
		p.Sources = append(p.Sources, netip.MustParseAddr(a))
	}
	return p
}

func TestSourcesTakeTurns(t *testing.T) {
	seen := make(chan string, 10)
	o := startOrigin(t, func(c net.Conn) {
		seen <- c.RemoteAddr().(*net.TCPAddr).IP.String()
		echo(c)
	})
	r := startRig(t, &Config{Loops: 1, Listeners: []*Listener{plainListener(from(roundRobin(t, o.addr), "127.0.0.5", "127.0.0.6"))}})
	count := map[string]int{}
	for range 10 {
		echoes(t, r.dial(0), 10)
		count[<-seen]++
	}
	if count["127.0.0.5"] != 5 || count["127.0.0.6"] != 5 {
		t.Errorf("the server saw %v", count)
	}
}

func TestSourceThatCannotBe(t *testing.T) {
	o := startOrigin(t, echo)
	for _, addr := range []string{"2001:db8::1", "192.0.2.1"} {
		r := startRig(t, &Config{Loops: 1, Listeners: []*Listener{plainListener(from(roundRobin(t, o.addr), addr))}})
		if _, err := r.dial(0).Read(make([]byte, 1)); err == nil {
			t.Error("it was served")
		}
		if rec := r.next(); rec.Reason.ServersFault() {
			t.Errorf("from %s: ended with %s", addr, rec.Reason)
		}
	}
}

// TestPortsRunOut: with four ports an address carries four connections to a
// server; the next source carries as many more, and after that there is a word
// for it, until one ends.
func TestPortsRunOut(t *testing.T) {
	if !isolated(t) {
		return
	}
	o := startOrigin(t, echo)
	r := startRig(t, &Config{Loops: 1, Listeners: []*Listener{plainListener(from(roundRobin(t, o.addr), "127.0.0.5", "127.0.0.6"))}})
	sh(t, "sysctl -qw net.ipv4.ip_local_port_range='40000 40003'")
	var conns []net.Conn
	dial := func(i int) net.Conn {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 1, 1), Port: 50000 + i}}
		c, err := d.Dial("tcp", r.addrs[0])
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	for i := range 8 {
		conns = append(conns, dial(i+1))
		tell(t, conns[i], "ahoy")
	}
	if _, err := io.ReadAll(dial(100)); err != nil {
		t.Errorf("the ninth: %v", err)
	}
	if rec := r.next(); rec.Reason != ReasonNoPorts {
		t.Errorf("the ninth ended with %s", rec.Reason)
	}
	reset(conns[0]) // leaves no TIME_WAIT behind
	r.next()
	tell(t, dial(101), "ahoy")
}
