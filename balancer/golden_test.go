package balancer

import (
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files instead of comparing with them")

// Instances of different versions must map clients to the same servers. A
// change of the golden file moves live clients.
func TestP16MappingIsPinned(t *testing.T) {
	servers := []ServerConfig{
		{Address: "10.0.0.1:443"},
		{Address: "10.0.0.12:443", Weight: 2},
		{Address: "[2001:db8:feed::a:b:c]:443", Weight: 3},
		{Name: "chat4", Address: "chat4.example.com:443", Weight: 2},
		{Address: "a-rather-long-host-name-for-a-server.europe-west.example.com:8065"},
		{Address: "10.0.0.6:443", Weight: 1000},
		{Address: "10.0.0.7:443", Weight: 1000},
	}
	for _, policy := range []Policy{ClientAddress, Maglev} {
		for _, n := range []int{5, 7} {
			name := fmt.Sprintf("%s-%d.golden", policy, n)
			t.Run(name, func(t *testing.T) {
				p := mustPool(t, Config{Policy: policy, Servers: servers[:n]})
				compareGolden(t, filepath.Join("testdata", name), mapping(t, p))
			})
		}
	}
}

// mapping lists 64 clients with the first two servers that each would try.
func mapping(t *testing.T, p *Pool) string {
	var b strings.Builder
	list := append(clients(62), netip.Addr{}, netip.MustParseAddr("fe80::1%eth0"))
	for _, c := range list {
		order, ok := p.Order(c, 0)
		if !ok {
			t.Fatalf("no order for %v", c)
		}
		fmt.Fprintf(&b, "%v %s %s\n", c, order[0].Name(), order[1].Name())
	}
	return b.String()
}

func compareGolden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); diff != "" {
		t.Errorf("the mapping changed (-want +got):\n%s", diff)
	}
}
