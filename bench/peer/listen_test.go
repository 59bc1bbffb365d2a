package peer

import (
	"maps"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
)

func TestOwnListenerIsFound(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := ln.Addr().String()
	inodes, err := listening(addr)
	if err != nil || len(inodes) != 1 {
		t.Fatalf("got %v, %v, want one socket", inodes, err)
	}
	if !owns(os.Getpid(), inodes) {
		t.Error("it is not this process's")
	}
	if owns(os.Getppid(), inodes) {
		t.Error("it is the parent's")
	}
	if owns(os.Getpid(), map[string]bool{"1": true}) {
		t.Error("another socket is this process's too")
	}
	if !taken(addr) {
		t.Error("the address is free")
	}
	ln.Close()
	if inodes, err := listening(addr); err != nil || len(inodes) != 0 {
		t.Errorf("got %v, %v after the close", inodes, err)
	}
}

func TestListeningReadsOnlyListeners(t *testing.T) {
	const table = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:61A8 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 11 1 0000000000000000 100 0 0 10 0
   1: 0200007F:61A8 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 12 1 0000000000000000 100 0 0 10 0
   2: 0100007F:61A8 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 13 1 0000000000000000 100 0 0 10 0
   3: 0100007F:61A8 0100007F:9C40 01 00000000:00000000 00:00000000 00000000     0        0 14 1 0000000000000000 100 0 0 10 0
`
	tests := []struct {
		name, addr string
		want       []string
	}{
		{"two of one address", "127.0.0.1:25000", []string{"11", "13"}},
		{"another address", "127.0.0.2:25000", []string{"12"}},
		{"another port", "127.0.0.1:25001", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := listeningIn(strings.NewReader(table), tt.addr)
			if err != nil {
				t.Fatal(err)
			}
			if inodes := slices.Sorted(maps.Keys(got)); !slices.Equal(inodes, tt.want) {
				t.Errorf("got %v, want %v", inodes, tt.want)
			}
		})
	}
	if _, err := listeningIn(strings.NewReader(table), "[::1]:25000"); err == nil {
		t.Error("IPv6 is not in this table")
	}
}

func TestFreeAddrIsBelowTheEphemeralPorts(t *testing.T) {
	for range 20 {
		addr, err := freeAddr()
		if err != nil {
			t.Fatal(err)
		}
		if got := int(netip.MustParseAddrPort(addr).Port()); got >= firstEphemeral() {
			t.Errorf("port %d, ephemeral ones begin at %d", got, firstEphemeral())
		}
	}
}

func TestPortRange(t *testing.T) {
	tests := []struct {
		name                 string
		ephemeral, low, high int
	}{
		{"the kernel's default", 32768, 25000, 32768},
		{"widened", 15000, 10000, 15000},
		{"no room", 1024, 25000, 32768},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if low, high := portRange(tt.ephemeral); low != tt.low || high != tt.high {
				t.Errorf("got %d to %d, want %d to %d", low, high, tt.low, tt.high)
			}
		})
	}
}
