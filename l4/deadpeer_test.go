package l4

import (
	"context"
	"io"
	"net"
	"testing"
	"time"

	"culvert/l4/socket"
)

// soonDead are dead-peer options that give up as soon as the kernel can.
var soonDead = socket.Options{
	UserTimeout: time.Second, KeepaliveIdle: time.Second, KeepaliveInterval: time.Second, KeepaliveCount: 1,
}

const (
	clientHost = "127.0.0.7"
	serverHost = "127.0.0.8"
)

// vanish makes every packet to and from host disappear.
func vanish(t *testing.T, host string) {
	sh(t, `nft add table inet dead
		nft add chain inet dead in '{ type filter hook input priority 0; }'
		nft add rule inet dead in ip saddr `+host+` drop
		nft add rule inet dead in ip daddr `+host+` drop`)
	t.Cleanup(func() { sh(t, "nft delete table inet dead") })
}

// TestP10VanishedHostIsGivenUp takes a host off the network while a connection is
// idle, or while data to it is in flight.
func TestP10VanishedHostIsGivenUp(t *testing.T) {
	if !isolated(t) {
		return
	}
	for host, gone := range map[string]Party{clientHost: Client, serverHost: Server} {
		for _, inFlight := range []bool{false, true} {
			name := gone.String() + ", idle"
			if inFlight {
				name = gone.String() + ", data in flight"
			}
			t.Run(name, func(t *testing.T) { vanishes(t, host, gone, inFlight) })
		}
	}
}

func vanishes(t *testing.T, host string, gone Party, inFlight bool) {
	ln, err := net.Listen("tcp", serverHost+":0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	pool := roundRobin(t, ln.Addr().String())
	pool.TCP = soonDead
	l := plainListener(pool)
	l.TCP = soonDead
	r := startRig(t, &Config{Listeners: []*Listener{l}})
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(clientHost)}}
	const n = 25
	var stay []net.Conn
	for range n {
		c, err := d.DialContext(context.Background(), "tcp", r.addrs[0])
		if err != nil {
			t.Fatal(err)
		}
		s, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		defer s.Close()
		stays := c
		if gone == Client {
			stays = s
		}
		_ = stays.SetDeadline(time.Now().Add(patience))
		stay = append(stay, stays)
	}
	r.advance(2 * settleAfter) // then the servers' sockets have their options as well
	start := time.Now()
	vanish(t, host)
	for _, c := range stay {
		if inFlight {
			if _, err := c.Write([]byte("into the void")); err != nil {
				t.Fatal(err)
			}
		}
	}
	for range n {
		rec := r.next()
		if rec.Reason != ReasonStalled || rec.EndedBy != gone {
			t.Fatalf("got %v by %v, want %v by %v", rec.Reason, rec.EndedBy, ReasonStalled, gone)
		}
	}
	if took := time.Since(start); took < soonDead.UserTimeout/2 || took > 10*time.Second {
		t.Errorf("given up after %v, want about %v", took, 2*soonDead.UserTimeout)
	}
	for _, c := range stay {
		if _, err := c.Read(make([]byte, 1)); err == nil || isTimeout(err) {
			t.Fatalf("the other side got %v, want its connection ended", err)
		}
	}
}

// A peer that keeps its window shut for as long as that is given up as well,
// and one that opens it in time is not.
func TestShutWindowIsGivenUpInTheEnd(t *testing.T) {
	for _, opens := range []bool{false, true} {
		name := "stays shut"
		if opens {
			name = "opens in time"
		}
		t.Run(name, func(t *testing.T) {
			p := startPairs(t, 256<<10, func(c *Config) { c.Listeners[0].TCP.UserTimeout = 2 * time.Second })
			s := p.newStream(1, client)
			s.stall()
			if opens {
				for range 3 {
					time.Sleep(time.Second) // half the time that it may stay shut
					s.read(s.sent - s.got)
					s.stall()
				}
				s.finish()
				return
			}
			if rec := p.next(); rec.Reason != ReasonStalled || rec.EndedBy != Client {
				t.Errorf("got %v by %v, want %v by %v", rec.Reason, rec.EndedBy, ReasonStalled, Client)
			}
			if _, err := io.Copy(io.Discard, struct{ io.Reader }{s.from}); err == nil {
				t.Error("the server's connection ended well, want a reset")
			}
		})
	}
}
