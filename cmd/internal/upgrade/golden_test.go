package upgrade

import (
	"encoding/hex"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"culvert/balancer"
	"culvert/l4"
)

var update = flag.Bool("update", false, "rewrite testdata/messages.golden: only with a new Version, or before a release")

// TestMessagesKeepTheirBytes holds every message against the bytes that it had.
// When it fails, what an upgrade sends has changed its meaning, and old and new
// processes refuse each other. That is right if it was meant: run with -update
// then. It encodes in a process of its own, because gob numbers types as they come.
func TestMessagesKeepTheirBytes(t *testing.T) {
	if os.Getenv("UPGRADE_GOLDEN") != "" {
		printMessages()
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run", "^TestMessagesKeepTheirBytes$")
	cmd.Env = append(os.Environ(), "UPGRADE_GOLDEN=1")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	got, _, _ := strings.Cut(string(out), "PASS\n")
	const golden = "testdata/messages.golden"
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	for i, line := range strings.Split(string(want), "\n") {
		lines := strings.Split(got, "\n")
		if i >= len(lines) || lines[i] != line {
			t.Fatalf("line %d of the messages differs from %s:\ngot  %.300s\nwant %.300s", i+1, golden, strings.Join(lines[min(i, len(lines)):min(i+1, len(lines))], ""), line)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d bytes of messages, %s has %d", len(got), golden, len(want))
	}
}

// printMessages prints what messages are made of, and one of each kind in hex.
func printMessages() {
	fmt.Print(describe())
	at := time.Duration(1234567890)
	offer := Offer{
		Version: Version, Format: "0011223344556677", Clock: at, At: 2 * at, Keys: []string{"127.0.0.1:443"},
		Pools: []Pool{{Name: "chat", Servers: []balancer.ServerState{{Name: "a", Address: "10.0.0.1:443", Causes: balancer.Drained | balancer.Unhealthy, WarmAt: at, SlowStart: at}}}},
	}
	for _, m := range []struct {
		kind    kind
		payload any
	}{
		{kindHello, hello{Version, 4711, "0011223344556677"}},
		{kindOffer, offer},
		{kindReady, []string{"127.0.0.1:443"}},
		{kindFailed, "no port is free"},
		{kindBatch, everyPhase(at)},
		{kindGot, nil},
		{kindDone, uint64(4711)},
		{kindTaken, nil},
		{kindCommit, nil},
		{kindServing, nil},
	} {
		fmt.Printf("%s %s\n", m.kind, hex.EncodeToString(bytesOf(m.kind, m.payload)))
	}
}

// bytesOf returns what send writes.
func bytesOf(k kind, payload any) []byte {
	a, b, err := links()
	if err != nil {
		panic(err)
	}
	defer b.conn.Close()
	go func() {
		if err := a.send(k, payload); err != nil {
			panic(err)
		}
		_ = a.conn.Close()
	}()
	m, err := b.receive()
	if err != nil {
		panic(err)
	}
	return append([]byte{byte(m.kind >> 8), byte(m.kind)}, m.body...)
}

// everyPhase is a connection in each phase that is handed over, by the values
// that they have on the wire.
func everyPhase(at time.Duration) (all []*l4.Handover) {
	for _, phase := range []uint8{1, 2, 3, 4, 6, 7} {
		h := &l4.Handover{
			ID: 7, Phase: phase, TLS: true, Header: true, Settled: true, First: l4.Server,
			Ends:  [2]l4.HandoverEnd{{Open: true, Blocked: true}, {Open: true, Urgent: true, Unix: true, Broken: true}},
			Flows: [2]l4.HandoverFlow{{State: 1, Bytes: 9}, {State: 2, Bytes: 10}},
			Tries: []l4.Try{{Server: "b", Reason: l4.ReasonRefused, Duration: at}},
			Hello: 1, Connect: 2, FirstByte: 3, Start: at, Active: at,
			Client: netip.MustParseAddrPort("192.0.2.7:4711"), Local: netip.MustParseAddrPort("192.0.2.1:443"),
			ServerName: "chat.example.com", ALPN: "h2", Listener: "[::]:443", ListenerName: "public", Route: "chat.example.com",
			Pool: "chat", Server: "a", Address: "10.0.0.1:443", Target: "10.0.0.1:443",
			Session: l4.Session{IdleTimeout: at, HalfCloseTimeout: at, Lifetime: at, KeepHalfClose: l4.SwitchOff},
			Search:  &l4.HandoverSearch{Hello: []byte("hello"), Tried: []string{"b"}, Tries: 1, Picked: at, Since: at, Limit: at, SlotAt: at, Replay: true, Why: l4.ReasonRefused},
			Ending:  &l4.HandoverEnding{By: l4.Client, Reason: l4.ReasonClosed, Until: at, Discarded: 5},
		}
		h.Flows[0].Pending = []byte("up")
		all = append(all, h)
	}
	return all
}
