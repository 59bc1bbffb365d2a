package l4

import (
	"crypto/tls"
	"fmt"
	"net"
	"strings"
	"testing"
)

// longProtocols returns n different protocols of 255 bytes, of which the text
// in a record has room for none.
func longProtocols(n int) []string {
	var all []string
	for i := range n {
		all = append(all, fmt.Sprintf("%0255d", i))
	}
	return all
}

// TestLeadsKnowsTheWholeOffer: a name leads to where a second hello with the
// same offer would have been routed, whatever the record shows of the offer.
func TestLeadsKnowsTheWholeOffer(t *testing.T) {
	tests := []struct {
		name  string
		offer []string
		alpn  []string // condition of the first route of own.example
		first bool     // the connection is that route's
	}{
		{"one protocol", []string{"h2"}, []string{"h2"}, true},
		{"another protocol", []string{"http/1.1"}, []string{"h2"}, false},
		{"no offer", nil, []string{"h2"}, false},
		{"the last of many long ones", append(longProtocols(40), "last"), []string{"last"}, true},
		{"none of many long ones", longProtocols(40), []string{"last"}, false},
		{"a comma in the offer", []string{"a,b"}, []string{"a", "b"}, false},
		{"a comma in the condition", []string{"a,b"}, []string{"a,b"}, true},
		{"an escaped comma", []string{"a%2Cb"}, []string{"a,b"}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			first, other := newTerminator(t), newTerminator(t)
			r := startRig(t, &Config{Loops: 1, Listeners: []*Listener{tlsListener(t, &Route{Action: Reject},
				&Route{ServerName: "own.example", ALPN: tt.alpn, Action: Handle, Handler: first},
				&Route{ServerName: "own.example", Action: Handle, Handler: other},
				&Route{ServerName: "first.example", Action: Handle, Handler: first},
			)}})
			says(t, r.dialOffering("own.example", tt.offer), "ahoy")
			by := other
			if tt.first {
				by = first
			}
			h := <-by.handled
			if !h.Leads("own.example") {
				t.Error("the connection's own name leads elsewhere")
			}
			if got := h.Leads("first.example"); got != tt.first {
				t.Errorf("a name of the first route leads here: %t, want %t", got, tt.first)
			}
		})
	}
}

// dialOffering makes a handshake through listener 0 whose hello offers these
// protocols.
func (r *rig) dialOffering(name string, protocols []string) *tls.Conn {
	r.t.Helper()
	c := tls.Client(r.dial(0), &tls.Config{ServerName: name, NextProtos: protocols, InsecureSkipVerify: true})
	if err := c.Handshake(); err != nil {
		r.t.Fatal(err)
	}
	return c
}

// TestOfferIsUnambiguousInRecords: splitting the text at commas and decoding
// the parts gives back the protocols.
func TestOfferIsUnambiguousInRecords(t *testing.T) {
	x := newTerminator(t)
	r := startRig(t, handled(t, x))
	tests := []struct {
		name  string
		offer []string
		want  string
	}{
		{"usual", []string{"h2", "http/1.1"}, "h2,http/1.1"},
		{"comma", []string{"a,b", "h2"}, "a%2Cb,h2"},
		{"percent sign", []string{"a%2Cb", "100%"}, "a%252Cb,100%25"},
		{"cut before a long one", []string{"h2", strings.Repeat(",", 100)}, "h2"},
		{"none fits", longProtocols(2), ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r.dialOffering("own.example", tt.offer).Close()
			if got := r.next().ALPN; got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// TestServersGetTheFirstProtocolExactly: also one that is longer than a
// record's text, or has a comma.
func TestServersGetTheFirstProtocolExactly(t *testing.T) {
	got := make(chan introduction, 1)
	pool := roundRobin(t, refusedAddr(t), introduced(t, got, func(net.Conn) {}).addr)
	pool.SendProxy = ProxyV2
	r := startRig(t, &Config{Loops: 1, Listeners: []*Listener{routeTo(t, pool)}})
	for _, first := range []string{"h2", "a,b", "a%2Cb", longProtocols(1)[0]} {
		c := r.dial(0)
		_, _ = c.Write(helloFor(t, &tls.Config{ServerName: chat, InsecureSkipVerify: true, NextProtos: []string{first, "http/1.1"}}))
		if x := told(t, got); x.alpn != first || !x.summed {
			t.Errorf("the server got %q, checksum %t, want %q", x.alpn, x.summed, first)
		}
		c.Close()
	}
}
