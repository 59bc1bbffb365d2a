package report

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"culvert/bench/result"
)

// sample is a report with one workload of each kind of chart.
func sample() *result.Report {
	cpu := []result.Metric{{Name: "cpu", Unit: "us/conn"}, {Name: "rate", Unit: "1/s", Higher: true}}
	r := &result.Report{
		Schema: result.SchemaVersion, Started: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Command: []string{"culvert-bench", "run"},
		Machine: result.Machine{CPU: "A <fast> one", Cores: 2, Kernel: "6.1", Congestion: "cubic"}, Options: result.Options{Rounds: 3, Seconds: 1.5, Workers: 2},
		Peers:    []result.Peer{{Name: "culvert", Version: "1"}, {Name: "nginx", Version: "1.22.1"}, {Name: "haproxy", Version: "<script>alert(1)</script>"}},
		Problems: []string{"envoy: not found"},
	}
	closed := result.Workload{
		Name: "connections/closed", Group: "connections", GroupTitle: "New connections", Title: "32 at a time", Metrics: cpu,
		Bars: []result.Bar{{Metric: "cpu", Against: "nginx", Max: 1, Goal: 0.75}},
	}
	fill(&closed, 30, 40, 50)
	r.Workloads = append(r.Workloads, closed)
	for _, x := range []float64{20, 500, 20000} {
		w := result.Workload{Name: "messages/" + number(x), Group: "messages", GroupTitle: "Messages", Title: number(x), X: x, XLabel: "messages/s", Metrics: cpu}
		fill(&w, 100/x, 110/x, 120/x)
		r.Workloads = append(r.Workloads, w)
	}
	return r
}

func fill(w *result.Workload, costs ...float64) {
	for i, peer := range []string{"culvert", "nginx", "haproxy"} {
		for round, f := range []float64{0.9, 1, 1.1} {
			v := map[string]float64{"cpu": costs[i] * f, "rate": 1e6 / costs[i]}
			w.Samples = append(w.Samples, result.Sample{Peer: peer, Round: round, Values: v})
		}
	}
}

func TestLineSaysCostRatioAndVerdict(t *testing.T) {
	r := sample()
	var b bytes.Buffer
	Line(&b, r, &r.Workloads[0])
	for _, want := range []string{
		"New connections: 32 at a time  [connections/closed]",
		"CPU, us/conn", "rate, 1/s",
		"nginx", "40.0", "38.0 to 42.0", "0.75", "25,000",
		"bar: cpu at most 1.00 of nginx: 0.750 (0.750 to 0.750), met, and the goal of 0.750",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is missing in\n%s", want, b.String())
		}
	}
}

func TestErrorsOfClientsAreShown(t *testing.T) {
	r := sample()
	r.Workloads[0].Samples[4].Error = "connection refused"
	var b bytes.Buffer
	Line(&b, r, &r.Workloads[0])
	if want := "errors of nginx, the first: connection refused"; !strings.Contains(b.String(), want) {
		t.Errorf("%q is missing in\n%s", want, b.String())
	}
}

func TestNumber(t *testing.T) {
	tests := []struct {
		in   float64
		want string
	}{
		{0, "0"}, {0.4567, "0.457"}, {0.0004, "0.000"}, {1, "1.00"}, {9.876, "9.88"}, {12.34, "12.3"}, {999.6, "1,000"}, {1234, "1,230"},
		{1234567, "1,230,000"}, {-1234, "-1,230"},
	}
	for _, tt := range tests {
		if got := number(tt.in); got != tt.want {
			t.Errorf("number(%v) = %q, want %q", tt.in, got, tt.want)
		}
	}
}

func TestPageNeedsNothingElse(t *testing.T) {
	page := html(t, sample())
	if m := regexp.MustCompile(`(?i)(src|href)\s*=\s*"[^#"]|url\(|@import|https?://`).FindString(page); m != "" {
		t.Errorf("the page loads something: %q", m)
	}
}

func TestPageEscapesWhatPeersSay(t *testing.T) {
	if page := html(t, sample()); strings.Contains(page, "<script") || strings.Contains(page, "<fast>") {
		t.Error("text of a peer is markup in the page")
	}
}

// A chart is well-formed, has a bar or a point for every peer, and no element is
// outside its area.
func TestPicturesHoldEveryPeer(t *testing.T) {
	pictures := regexp.MustCompile(`(?s)<svg.*?</svg>`).FindAllString(html(t, sample()), -1)
	if len(pictures) != 2 {
		t.Fatalf("%d pictures, want 2", len(pictures))
	}
	for i, want := range []map[string]int{{"rect": 3}, {"circle": 9}} {
		got := elements(t, pictures[i])
		for name, n := range want {
			if got[name] != n {
				t.Errorf("picture %d has %d %s, want %d", i, got[name], name, n)
			}
		}
		if strings.Contains(pictures[i], "NaN") || strings.Contains(pictures[i], "Inf") {
			t.Errorf("picture %d has places that are none", i)
		}
	}
}

func html(t *testing.T, r *result.Report) string {
	t.Helper()
	var b bytes.Buffer
	if err := HTML(&b, r); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func elements(t *testing.T, svg string) map[string]int {
	t.Helper()
	count := map[string]int{}
	for d := xml.NewDecoder(strings.NewReader(svg)); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return count
		}
		if err != nil {
			t.Fatal(err)
		}
		if e, ok := token.(xml.StartElement); ok {
			count[e.Name.Local]++
		}
	}
}

func TestTicksAreRoundAndReachTheTop(t *testing.T) {
	for _, top := range []float64{0.003, 0.7, 1, 9.9, 10, 123, 99999} {
		steps, last := ticks(top, 6)
		if last < top || len(steps) > 8 || len(steps) < 3 {
			t.Errorf("up to %v there are %v", top, steps)
		}
	}
}

func TestReadmeIsChangedBetweenItsMarkersOnly(t *testing.T) {
	got, err := UpdateReadme([]byte("before\n"+begin+"old\n"+end+"\nafter\n"), sample())
	if err != nil {
		t.Fatal(err)
	}
	s := string(got)
	if !strings.HasPrefix(s, "before\n"+begin) || !strings.HasSuffix(s, end+"\nafter\n") || strings.Contains(s, "old") {
		t.Errorf("got %s", s)
	}
	if want := "| New connections, 32 at a time | us/conn | 30.0 | 40.0 | 50.0 | 0.75 (0.75 to 0.75) | 0.60 (0.60 to 0.60) |"; !strings.Contains(s, want) {
		t.Errorf("%q is missing in %s", want, s)
	}
	again, err := UpdateReadme(got, sample())
	if err != nil || !bytes.Equal(again, got) {
		t.Errorf("a second time it is %s, %v", again, err)
	}
}

func TestReadmeWithoutMarkers(t *testing.T) {
	for _, text := range []string{"nothing", begin + "no end", end + "\n" + begin} {
		if _, err := UpdateReadme([]byte(text), sample()); !errors.Is(err, errMarkers) {
			t.Errorf("%q: got %v", text, err)
		}
	}
}

func TestChangesInWords(t *testing.T) {
	before, after := sample(), sample()
	for i := range after.Workloads[0].Samples {
		if s := &after.Workloads[0].Samples[i]; s.Peer == "culvert" {
			s.Values["cpu"] *= 2
		}
	}
	more := result.Compare(before, after)
	for i := range more.Changes {
		more.Changes[i].RatioP = 0.01
	}
	var b bytes.Buffer
	Changes(&b, more)
	if !strings.Contains(b.String(), "worse: 2.00") {
		t.Errorf("got %s", b.String())
	}
	b.Reset()
	Changes(&b, result.Compare(before, before))
	if !strings.Contains(b.String(), "none shown (1.00)") {
		t.Errorf("got %s", b.String())
	}
}

func TestProgressIsForTerminalsOnly(t *testing.T) {
	f, err := os.Create(t.TempDir() + "/out")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	p := NewProgress(f)
	p.Show("round %d", 1)
	p.Clear()
	if info, err := f.Stat(); err != nil || info.Size() != 0 {
		t.Errorf("%v bytes were written, %v", info.Size(), err)
	}
}
