package bench

import (
	"bytes"
	"context"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// buildCulvert builds the program under measurement.
func buildCulvert(t *testing.T) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "culvert")
	out, err := exec.Command("go", "build", "-o", binary, "culvert/cmd/culvert").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return binary
}

// installed returns the peers that are on this machine. In CI all have to be.
func installed(t *testing.T) []Peer {
	t.Helper()
	var peers []Peer
	for _, p := range Peers() {
		if _, err := exec.LookPath(p.Binary); err == nil {
			peers = append(peers, p)
		} else if os.Getenv("CI") == "true" {
			t.Fatalf("%s is not installed", p.Name)
		}
	}
	return peers
}

func TestEveryWorkloadRunsOnEveryPeer(t *testing.T) {
	var out bytes.Buffer
	peers := append([]Peer{Culvert(buildCulvert(t))}, installed(t)...)
	results, err := Run(context.Background(), peers, Options{Rounds: 1, Duration: 500 * time.Millisecond, HalfClose: true, Out: &out})
	if err != nil {
		t.Fatal(err)
	}
	if len(results) != len(Workloads()) {
		t.Errorf("%d results, want one for each of %d workloads", len(results), len(Workloads()))
	}
	for _, r := range results {
		for i, cost := range r.Rounds[0] {
			if r.Workload.idle == 0 && !(cost > 0) {
				t.Errorf("%s costs %v on %s, want more than nothing", r.Workload.Name, cost, r.Peers[i])
			}
		}
		if !strings.Contains(out.String(), r.Workload.Name) {
			t.Errorf("%s was not printed", r.Workload.Name)
		}
	}
}

func TestMissingPeerSaysWhatToInstall(t *testing.T) {
	p := Peer{Name: "nosuch", Binary: "nosuch-proxy", Package: "nosuch-package"}
	if _, err := p.start(setup{}); err == nil || !strings.Contains(err.Error(), "apt-get install nosuch-package") {
		t.Errorf("got %v, want the package's name", err)
	}
}

func TestProcessorTimeGrowsWithWork(t *testing.T) {
	pids := []int{os.Getpid()}
	before, err := cpuTime(pids)
	if err != nil {
		t.Fatal(err)
	}
	for x, end := 0.0, time.Now().Add(50*time.Millisecond); time.Now().Before(end); {
		x += math.Sqrt(float64(time.Now().UnixNano()))
	}
	after, err := cpuTime(pids)
	if err != nil || after <= before {
		t.Errorf("processor time went from %v to %v, %v", before, after, err)
	}
}

func TestFamilyIncludesChildren(t *testing.T) {
	cmd := exec.Command("sh", "-c", "sleep 60 & wait")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	var pids []int
	for end := time.Now().Add(10 * time.Second); len(pids) < 2 && time.Now().Before(end); {
		pids = family(cmd.Process.Pid)
	}
	if len(pids) != 2 {
		t.Fatalf("got %v, want the shell and its child", pids)
	}
	if p, err := os.FindProcess(pids[1]); err == nil {
		_ = p.Kill()
	}
}

func TestMedian(t *testing.T) {
	tests := []struct {
		name string
		in   []float64
		want float64
	}{
		{"one", []float64{3}, 3},
		{"odd", []float64{9, 1, 5}, 5},
		{"even", []float64{4, 1, 2, 3}, 2.5},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := median(tt.in); got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}
