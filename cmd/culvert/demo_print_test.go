package main

import (
	"bytes"
	"net/netip"
	"testing"
	"time"

	"culvert/balancer"
	"culvert/l4"
)

func TestFormatConnection(t *testing.T) {
	at := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	client := netip.MustParseAddrPort("127.0.0.1:4000")
	tests := []struct {
		name string
		r    l4.Record
		want string
	}{
		{
			"relayed",
			l4.Record{Start: at, Client: client, ServerName: "chat.culvert.test", Server: "chat-1", BytesUp: 1, BytesDown: 2, Total: 1500 * time.Millisecond, EndedBy: l4.Client, Reason: l4.ReasonClosed},
			"03:04:06.500  127.0.0.1:4000  chat.culvert.test  chat-1  up 1 B, down 2 B  1.5s  closed by client\n",
		}, {
			"failed over",
			l4.Record{Start: at, Client: client, ServerName: "chat.culvert.test", Server: "chat-2", Tries: []l4.Try{{Server: "chat-1", Reason: l4.ReasonRefused}}, EndedBy: l4.Server, Reason: l4.ReasonReset},
			"03:04:05.000  127.0.0.1:4000  chat.culvert.test  (chat-1: connect_refused)  chat-2  up 0 B, down 0 B  0s  reset by server\n",
		}, {
			"refused, with a name that is no text",
			l4.Record{Start: at, ServerName: "\x1b[2J", Connect: -1, Total: 40 * time.Microsecond, Reason: l4.ReasonNoRoute},
			"03:04:05.000  unix  \\x1b[2J  0s  no_route by culvert\n",
		}, {
			"no name",
			l4.Record{Start: at, Client: client, Connect: -1, Reason: l4.ReasonHelloTimeout},
			"03:04:05.000  127.0.0.1:4000  (no name)  0s  hello_timeout by culvert\n",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var b bytes.Buffer
			formatConnection(&b, &tt.r)
			if b.String() != tt.want {
				t.Errorf("got  %q\nwant %q", b.String(), tt.want)
			}
		})
	}
}

func TestOtherClientsReachTheOtherServers(t *testing.T) {
	pool, err := balancer.New(balancer.Config{Name: "p", Servers: []balancer.ServerConfig{
		{Name: "a", Address: "127.0.0.1:1"}, {Name: "b", Address: "127.0.0.1:2"}, {Name: "c", Address: "127.0.0.1:3"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	usual := netip.MustParseAddr("127.0.0.1")
	reached := map[string]bool{firstServer(pool, usual): true}
	for _, c := range otherClients(pool, usual) {
		if got := firstServer(pool, c.IP); got != c.Server {
			t.Errorf("%v goes to %s, announced as %s", c.IP, got, c.Server)
		}
		reached[c.Server] = true
	}
	if len(reached) != 3 {
		t.Errorf("reached %v, want all three", reached)
	}
	for _, far := range []string{"192.0.2.1", "::1"} {
		if got := otherClients(pool, netip.MustParseAddr(far)); got != nil {
			t.Errorf("%s: got %v, want none", far, got)
		}
	}
}

func TestCheckListen(t *testing.T) {
	tests := []struct {
		in string
		ok bool
	}{
		{"127.0.0.1:0", true},
		{":8443", true},
		{"[::1]:8443", true},
		{"localhost:8443", false},
		{"8443", false},
		{"unix:/run/culvert", false},
		{"", false},
	}
	for _, tt := range tests {
		if err := checkListen("--address", tt.in); (err == nil) != tt.ok {
			t.Errorf("%q: %v", tt.in, err)
		}
	}
}
