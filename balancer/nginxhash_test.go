package balancer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func threeServers() []ServerConfig {
	return []ServerConfig{{Address: "10.0.0.1:443"}, {Address: "10.0.0.2:443"}, {Address: "10.0.0.3:443"}}
}

func TestRingPoints(t *testing.T) {
	p := mustPool(t, Config{Policy: NGINXHash, Servers: threeServers()})
	r := p.primaries.ring
	if len(r.points) != 480 {
		t.Fatalf("%d points, want 480", len(r.points))
	}
	want := []point{0x00b37748<<32 | 2, 0x00c2e48a<<32 | 2, 0x014157fa<<32 | 1, 0x018c802c<<32 | 1, 0x01f6ca67<<32 | 2}
	if diff := cmp.Diff(want, r.points[:5]); diff != "" {
		t.Errorf("first points (-want +got):\n%s", diff)
	}
	want = []point{0xfee4a3de << 32, 0xffe4004e << 32}
	if diff := cmp.Diff(want, r.points[478:]); diff != "" {
		t.Errorf("last points (-want +got):\n%s", diff)
	}
	for _, h := range []uint32{0xea185c25, 0xda9647c2, 0x0294f7bb} {
		if _, ok := slices.BinarySearch(r.points, point(h)<<32); !ok {
			t.Errorf("the first server has no point %08x", h)
		}
	}
}

func TestRingLookup(t *testing.T) {
	tests := []struct {
		client string
		crc    uint32
		index  uint32
		order  []string
	}{
		{"127.0.0.1", 0xd7b7e7a8, 409, []string{"10.0.0.3:443", "10.0.0.1:443", "10.0.0.2:443"}},
		{"192.0.2.1", 0xdb610037, 417, []string{"10.0.0.3:443", "10.0.0.2:443", "10.0.0.1:443"}},
		{"2001:db8::1", 0x00b4af0e, 1, []string{"10.0.0.3:443", "10.0.0.2:443", "10.0.0.1:443"}},
	}
	for _, tt := range tests {
		t.Run(tt.client, func(t *testing.T) {
			p := mustPool(t, Config{Policy: NGINXHash, Servers: threeServers()})
			client := netip.MustParseAddr(tt.client)
			if got := checksum(appendRemoteAddr(nil, client)); got != tt.crc {
				t.Errorf("key hashes to %08x, want %08x", got, tt.crc)
			}
			if got := p.primaries.ring.find(client); got != tt.index {
				t.Errorf("point %d, want %d", got, tt.index)
			}
			got, _ := walk(p, client)
			if diff := cmp.Diff(tt.order, got); diff != "" {
				t.Errorf("order (-want +got):\n%s", diff)
			}
		})
	}
}

func TestSplitAddress(t *testing.T) {
	tests := []struct{ address, host, port string }{
		{"10.0.0.1:443", "10.0.0.1", "443"},
		{"10.0.0.1", "10.0.0.1", ""},
		{"chat.example.com:8065", "chat.example.com", "8065"},
		{"chat7", "chat7", ""},
		{"[2001:db8::1]:443", "[2001:db8::1]", "443"},
		{"[2001:db8::1]", "[2001:db8::1]", ""},
		{"2001:db8::1", "2001:db8:", "1"},
		{"h:", "h", ""},
		{"h:44x", "h:44x", ""},
		{"443", "443", ""},
		{":443", "", "443"},
		{"unix:/run/chat.sock", "/run/chat.sock", ""},
		{"UNIX:/run/chat:80", "/run/chat:80", ""},
		{"unix", "unix", ""},
	}
	for _, tt := range tests {
		if host, port := splitAddress(tt.address); host != tt.host || port != tt.port {
			t.Errorf("splitAddress(%q) = %q, %q, want %q, %q", tt.address, host, port, tt.host, tt.port)
		}
	}
}

func TestRemoteAddr(t *testing.T) {
	tests := []struct {
		name   string
		client netip.Addr
		want   string
	}{
		{"unix socket", netip.Addr{}, "unix:"},
		{"IPv4", netip.MustParseAddr("192.0.2.10"), "192.0.2.10"},
		{"IPv4-mapped", netip.MustParseAddr("::ffff:192.0.2.10"), "192.0.2.10"},
		{"IPv6", netip.MustParseAddr("2001:DB8:0:0:0:0:0:ABCD"), "2001:db8::abcd"},
		{"zone", netip.MustParseAddr("fe80::1%eth0"), "fe80::1"},
		{"one zero group stays", netip.MustParseAddr("2001:db8:0:1:1:1:1:1"), "2001:db8:0:1:1:1:1:1"},
		{"first of equal runs", netip.MustParseAddr("2001:0:0:1:0:0:1:1"), "2001::1:0:0:1:1"},
		{"unspecified", netip.IPv6Unspecified(), "::"},
		{"loopback", netip.IPv6Loopback(), "::1"},
		{"loopback's neighbour", netip.MustParseAddr("::2"), "::2"},
		{"IPv4-compatible", netip.MustParseAddr("::192.0.2.10"), "::192.0.2.10"},
		{"IPv4-compatible, 16 bits", netip.MustParseAddr("::2:10"), "::0.2.0.16"},
		{"last group above a byte", netip.MustParseAddr("::210"), "::0.0.2.16"},
		{"last group ending in 1", netip.MustParseAddr("::201"), "::201"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := string(appendRemoteAddr(nil, tt.client)); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func FuzzChecksumEqualsLibrary(f *testing.F) {
	f.Add([]byte("192.0.2.1"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if got, want := checksum(b), crc32.ChecksumIEEE(b); got != want {
			t.Errorf("%q: %08x, want %08x", b, got, want)
		}
	})
}

// nginxPool is nginx's algorithm written down naively: linear search, no
// packing, everything recomputed.
type nginxPool struct {
	peers  []*nginxPeer // primaries
	backup []*nginxPeer
	points []nginxPoint
}

type nginxPeer struct {
	cfg     ServerConfig
	current int
	tried   bool
}

type nginxPoint struct {
	hash   uint32
	server string
}

func newNginxPool(servers []ServerConfig) *nginxPool {
	n := new(nginxPool)
	for _, s := range servers {
		s.Weight = max(s.Weight, 1)
		if s.Backup {
			n.backup = append(n.backup, &nginxPeer{cfg: s})
			continue
		}
		n.peers = append(n.peers, &nginxPeer{cfg: s})
		n.points = append(n.points, nginxPoints(s)...)
	}
	sort.SliceStable(n.points, func(i, j int) bool { return n.points[i].hash < n.points[j].hash })
	var kept []nginxPoint
	for _, p := range n.points {
		if len(kept) == 0 || kept[len(kept)-1].hash != p.hash {
			kept = append(kept, p)
		}
	}
	n.points = kept
	return n
}

func nginxPoints(s ServerConfig) []nginxPoint {
	host, port := s.Address, ""
	if i := strings.LastIndexByte(s.Address, ':'); i >= 0 && strings.Trim(s.Address[i+1:], "0123456789") == "" {
		host, port = s.Address[:i], s.Address[i+1:]
	}
	if len(s.Address) >= 5 && strings.ToLower(s.Address[:5]) == "unix:" {
		host, port = s.Address[5:], ""
	}
	var points []nginxPoint
	prev := uint32(0)
	for range s.Weight * 160 {
		b := append([]byte(host), 0)
		b = append(b, port...)
		b = binary.LittleEndian.AppendUint32(b, prev)
		prev = crc32.ChecksumIEEE(b)
		points = append(points, nginxPoint{prev, s.Address})
	}
	return points
}

// nginxTurn is nginx's smooth round robin over the peers for which part is true.
func nginxTurn(peers []*nginxPeer, part func(*nginxPeer) bool) *nginxPeer {
	var best *nginxPeer
	total := 0
	for _, p := range peers {
		if p.tried || p.cfg.Down || !part(p) {
			continue
		}
		p.current += p.cfg.Weight
		total += p.cfg.Weight
		if best == nil || p.current > best.current {
			best = p
		}
	}
	if best != nil {
		best.current -= total
		best.tried = true
	}
	return best
}

// walk returns the peers that one session tries when every try fails.
func (n *nginxPool) walk(key string) []string {
	for _, p := range append(slices.Clone(n.peers), n.backup...) {
		p.tried = false
	}
	hash := crc32.ChecksumIEEE([]byte(key))
	i := 0
	for i < len(n.points) && n.points[i].hash < hash {
		i++
	}
	var list []string
	tries := 0
	for {
		p := n.pick(&i, &tries)
		if p == nil {
			return list
		}
		list = append(list, p.cfg.identity())
	}
}

func (n *nginxPool) pick(i, tries *int) *nginxPeer {
	every := func(*nginxPeer) bool { return true }
	single := len(n.peers) == 1 && len(n.backup) == 0
	for *tries <= 20 && !single {
		name := n.points[*i%len(n.points)].server
		if p := nginxTurn(n.peers, func(p *nginxPeer) bool { return p.cfg.Address == name }); p != nil {
			return p
		}
		*i++
		*tries++
	}
	if p := nginxTurn(n.peers, every); p != nil {
		return p
	}
	return nginxTurn(n.backup, every)
}

func TestRingIsNginx(t *testing.T) {
	rnd := rand.New(rand.NewPCG(9, 10))
	for round := range 100 {
		servers := randomServers(rnd)
		p := mustPool(t, Config{Policy: NGINXHash, Servers: servers})
		n := newNginxPool(servers)
		for _, c := range clients(20) {
			want := n.walk(c.String())
			got, _ := walk(p, c)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Fatalf("round %d, %v on %+v (-nginx +got):\n%s", round, c, servers, diff)
			}
		}
	}
}

// randomServers returns up to 12 servers; some are down, some are backups and
// some share an address.
func randomServers(rnd *rand.Rand) []ServerConfig {
	servers := make([]ServerConfig, 1+rnd.IntN(12))
	forms := []string{"10.0.0.%d:443", "chat%d.example.com", "[2001:db8::%d]:8065", "2001:db8::%d", "unix:/run/%d.sock"}
	for i := range servers {
		servers[i] = ServerConfig{
			Name:    fmt.Sprint("s", i),
			Address: fmt.Sprintf(forms[rnd.IntN(len(forms))], rnd.IntN(15)),
			Weight:  rnd.IntN(5),
			Down:    rnd.IntN(4) == 0,
			Backup:  i > 0 && rnd.IntN(5) == 0,
		}
	}
	return servers
}

// Servers with the same address share its points and are picked in rotation.
func TestRingSharesAnAddress(t *testing.T) {
	p := mustPool(t, Config{Policy: NGINXHash, Servers: []ServerConfig{
		{Name: "a1", Address: "10.0.0.1:443", Weight: 2},
		{Name: "a2", Address: "10.0.0.1:443"},
	}})
	var got []string
	for range 6 {
		got = append(got, choice(t, p, netip.MustParseAddr("192.0.2.1")))
	}
	if diff := cmp.Diff([]string{"a1", "a2", "a1", "a1", "a2", "a1"}, got); diff != "" {
		t.Errorf("rotation (-want +got):\n%s", diff)
	}
}

// nginx before 1.13.6 took very long on a ring of heavy servers that were all
// down (fixed there by the limit on steps); a pick must fail quickly.
func TestHeavyRingAllDownFailsFast(t *testing.T) {
	p := mustPool(t, Config{Policy: NGINXHash, Servers: []ServerConfig{
		{Address: "10.0.0.1:443", Weight: 10000, Down: true},
		{Address: "10.0.0.2:443", Weight: 10000, Down: true},
	}})
	start := time.Now()
	for _, c := range clients(1000) {
		s := Selection{Client: c}
		if _, err := p.Pick(&s, 0); !errors.Is(err, ErrAllDown) {
			t.Fatalf("Pick: %v, want ErrAllDown", err)
		}
		if s.steps != maxSteps+1 {
			t.Fatalf("the pick passed over %d points, want %d", s.steps, maxSteps+1)
		}
	}
	if took := time.Since(start); took > time.Second {
		t.Errorf("1000 picks took %v", took)
	}
}
