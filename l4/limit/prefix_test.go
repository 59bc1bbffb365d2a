package limit

import (
	"net/netip"
	"testing"
)

func TestPrefixOfAnAddress(t *testing.T) {
	for _, tt := range []struct {
		name     string
		p        Prefix
		in, want string
	}{
		{"an IPv4 address is whole", Prefix{}, "192.0.2.1", "192.0.2.1"},
		{"an IPv6 address is its /64", Prefix{}, "2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"},
		{"the first of its /64", Prefix{}, "2001:db8:1:2::", "2001:db8:1:2::"},
		{"the last of its /64", Prefix{}, "2001:db8:1:2:ffff:ffff:ffff:ffff", "2001:db8:1:2::"},
		{"the next /64", Prefix{}, "2001:db8:1:3::1", "2001:db8:1:3::"},
		{"a zone does not count", Prefix{}, "fe80::1%eth0", "fe80::"},
		{"loopback", Prefix{}, "::1", "::"},
		{"a mapped address is the IPv4 one", Prefix{}, "::ffff:192.0.2.1", "192.0.2.1"},
		{"IPv4 by network", Prefix{IPv4: 24}, "192.0.2.77", "192.0.2.0"},
		{"a mapped address by network", Prefix{IPv4: 24}, "::ffff:192.0.2.77", "192.0.2.0"},
		{"IPv6 by site", Prefix{IPv6: 48}, "2001:db8:1:2:3:4:5:6", "2001:db8:1::"},
		{"IPv6 whole, without its zone", Prefix{IPv6: 128}, "fe80::1%eth0", "fe80::1"},
		{"one length leaves the other", Prefix{IPv6: 48}, "192.0.2.1", "192.0.2.1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got, want := tt.p.Of(netip.MustParseAddr(tt.in)), netip.MustParseAddr(tt.want); got != want {
				t.Errorf("%s: got %s, want %s", tt.in, got, want)
			}
		})
	}
	if got := (Prefix{IPv4: 8, IPv6: 8}).Of(netip.Addr{}); got.IsValid() {
		t.Errorf("no address: got %s, want none", got)
	}
}

// held returns how many prefixes take memory.
func held[T comparable](p *Prefixes[T]) int {
	n := 0
	for i := range p.shards {
		n += len(p.shards[i].values)
	}
	return n
}

func TestPrefixesHoldOnlyWhatIsNotZero(t *testing.T) {
	type state struct{ conns, rate int } // more than a count
	var p Prefixes[state]
	a, b := netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("192.0.2.1")
	for _, tt := range []struct {
		name string
		addr netip.Addr
		to   state
		was  state
		held int
	}{
		{"a zero value is not entered", a, state{}, state{}, 0},
		{"a value is", a, state{1, 0}, state{}, 1},
		{"another prefix has its own", b, state{0, 7}, state{}, 2},
		{"one address of a prefix finds what another left", netip.MustParseAddr("2001:db8::ffff"), state{2, 3}, state{1, 0}, 2},
		{"zero frees it", a, state{}, state{2, 3}, 1},
		{"the other stays", b, state{}, state{0, 7}, 0},
	} {
		var was state
		p.Update(tt.addr, func(s state) state { was = s; return tt.to })
		if was != tt.was || held(&p) != tt.held {
			t.Errorf("%s: found %v and holds %d, want %v and %d", tt.name, was, held(&p), tt.was, tt.held)
		}
	}
}
