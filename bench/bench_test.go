package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"culvert/bench/origin"
	"culvert/bench/peer"
	"culvert/bench/result"
)

// TestMain makes the test binary run as the processes that the harness starts
// from its own program.
func TestMain(m *testing.M) {
	commands := map[string]func([]string) error{"origin": origin.Command, "relay": peer.RelayCommand}
	if len(os.Args) > 1 && commands[os.Args[1]] != nil {
		if err := commands[os.Args[1]](os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// options are those of a short run with all peers that are installed. In CI all
// peers with a Debian package must be installed.
func options(t *testing.T, only ...string) Options {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	o := Options{Self: self, Rounds: 1, Length: 100 * time.Millisecond, Workers: 2, Only: only}
	for _, p := range peer.Known(self) {
		switch {
		case p.Optional:
			continue
		case p.Name == "culvert":
			p = p.WithBinary(buildCulvert(t))
		case p.Find() != nil && os.Getenv("CI") == "true":
			t.Fatal(p.Find())
		case p.Find() != nil:
			continue
		}
		o.Peers = append(o.Peers, p)
	}
	return o
}

func buildCulvert(t *testing.T) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "culvert")
	if out, err := exec.Command("go", "build", "-o", binary, "culvert/cmd/culvert").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return binary
}

// One workload of each kind is measured on every peer, without errors, and has
// its headline metric.
func TestWorkloadsOnEveryPeer(t *testing.T) {
	o := options(t, "connections/2000", "handshakes", "bulk/up/4", "messages/200B/500", "messages/beside-bulk", "responses/64KiB",
		"idle/1000", "failover/refused", "failover/killed", "reload", "growth/servers/100", "termination", "unprivileged/connections/closed")
	r, err := Run(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Problems) > 0 {
		t.Errorf("problems: %s", strings.Join(r.Problems, "\n"))
	}
	want := 21 // reload is two of them, termination eight
	if os.Getuid() != 0 {
		want-- // nothing to compare with
	}
	if len(r.Workloads) != want {
		t.Errorf("%d workloads were measured, want %d", len(r.Workloads), want)
	}
	for i := range r.Workloads {
		checkSamples(t, &r.Workloads[i])
	}
}

// countsFailures are workloads whose headline is a number of failures, which is
// best 0.
func countsFailures(w *result.Workload) bool { return w.Group == "failover" || w.Group == "reload" }

func checkSamples(t *testing.T, w *result.Workload) {
	t.Helper()
	for _, s := range w.Samples {
		v, ok := s.Values[w.Headline().Name]
		if s.Peer != direct && (!ok || v <= 0 && !countsFailures(w)) {
			t.Errorf("%s: %s has %v for %s", w.Name, s.Peer, s.Values, w.Headline().Name)
		}
		if s.Values["errors"] > 0 && w.Group != "reload" && w.Name != "connections/2000" { // which a slow machine cannot do
			t.Errorf("%s: %s had errors, the first: %s", w.Name, s.Peer, s.Error)
		}
	}
}

func TestNothingStaysBehind(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	o := options(t, "messages/200B/saturated")
	ctx, cancel := context.WithCancel(context.Background())
	o.Progress = func(s string) {
		if strings.Contains(s, o.Peers[len(o.Peers)-1].Name) {
			cancel() // as Ctrl-C does, in the middle
		}
	}
	if _, err := Run(ctx, o); !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v, want to be cancelled", err)
	}
	if left, _ := filepath.Glob(filepath.Join(os.TempDir(), "culvert-bench-*")); len(left) > 0 {
		t.Errorf("files stay: %v", left)
	}
	children, err := os.ReadFile(fmt.Sprintf("/proc/self/task/%d/children", os.Getpid()))
	if err == nil && len(children) > 0 {
		t.Errorf("processes stay: %s", children)
	}
}

func TestMissingPeerIsALineAndTheOthersAreMeasured(t *testing.T) {
	o := options(t, "connections/closed")
	for _, p := range peer.Known(o.Self) {
		if p.Name == "envoy" {
			o.Peers = append(o.Peers, p.WithBinary("/nonexistent/envoy"))
		}
	}
	r, err := Run(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Problems) != 1 || !strings.Contains(r.Problems[0], "envoy") {
		t.Errorf("problems: %q, want one line about envoy", r.Problems)
	}
	if len(r.Workloads) != 1 || len(r.Workloads[0].Samples) != len(o.Peers)-1 {
		t.Errorf("got %+v, want the others measured", r.Workloads)
	}
}

func TestUnknownWorkload(t *testing.T) {
	if _, err := Run(context.Background(), Options{Only: []string{"nosuch"}}); err == nil || !strings.Contains(err.Error(), "culvert-bench list") {
		t.Errorf("got %v", err)
	}
}

func TestNamesAreUniqueAndEveryGroupCanBeChosen(t *testing.T) {
	seen := map[string]bool{}
	for _, w := range groups() {
		if seen[w.Name] || w.Group == "" || w.GroupTitle == "" || w.Title == "" || len(w.Metrics) == 0 || w.measure == nil {
			t.Errorf("%q is there twice, or not complete", w.Name)
		}
		seen[w.Name] = true
		if len(chosen([]string{w.Group})) == 0 && w.Group != "unprivileged" {
			t.Errorf("group %s chooses nothing", w.Group)
		}
	}
	if n := len(chosen([]string{"messages/64B"})); n != 2 {
		t.Errorf("%d workloads begin with messages/64B, want 2", n)
	}
}
