package result

import (
	"bytes"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// work makes a workload of one metric, "cpu", from each peer's rounds.
func work(name string, rounds map[string][]float64) Workload {
	w := Workload{Name: name, Metrics: []Metric{{Name: "cpu", Unit: "us"}}}
	for peer, values := range rounds {
		for i, v := range values {
			w.Samples = append(w.Samples, Sample{Peer: peer, Round: i, Values: map[string]float64{"cpu": v}})
		}
	}
	return w
}

func report(workloads ...Workload) *Report {
	return &Report{Schema: SchemaVersion, Peers: []Peer{{Name: "culvert"}, {Name: "nginx"}, {Name: "haproxy"}}, Workloads: workloads}
}

func TestStat(t *testing.T) {
	tests := []struct {
		name string
		in   []float64
		want Stat
	}{
		{"one", []float64{3}, Stat{3, 3, 3, 1}},
		{"odd", []float64{9, 1, 5}, Stat{5, 3, 7, 3}},
		{"even", []float64{4, 1, 2, 3}, Stat{2.5, 1.75, 3.25, 4}},
		{"none", nil, Stat{math.NaN(), math.NaN(), math.NaN(), 0}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, NewStat(tt.in), cmpopts.EquateNaNs()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// Ratios are computed within a round, because a slow round affects both.
func TestRatiosAreTakenRoundByRound(t *testing.T) {
	w := work("x", map[string][]float64{"culvert": {1, 10, 100}, "nginx": {2, 20, 200}})
	if got, want := w.Ratio("cpu", "culvert", "nginx"), (Stat{0.5, 0.5, 0.5, 3}); got != want {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestRoundsOfOneAloneHaveNoRatio(t *testing.T) {
	w := work("x", map[string][]float64{"culvert": {1, 2, 3}, "nginx": {2}})
	if got := w.Ratio("cpu", "culvert", "nginx"); got.N != 1 {
		t.Errorf("got %v, want one round", got)
	}
}

func TestJudge(t *testing.T) {
	rounds := map[string][]float64{"culvert": {8, 9, 10}, "nginx": {10, 10, 10}, "haproxy": {20, 20, 20}}
	tests := []struct {
		name string
		bar  Bar
		want Verdict
		peer string
		goal bool
	}{
		{"met", Bar{Metric: "cpu", Against: "nginx", Max: 0.9}, Met, "nginx", false},
		{"within the spread", Bar{Metric: "cpu", Against: "nginx", Max: 0.86}, MetWithinSpread, "nginx", false},
		{"missed", Bar{Metric: "cpu", Against: "nginx", Max: 0.8}, Missed, "nginx", false},
		{"the better is the harder", Bar{Metric: "cpu", Against: Best, Max: 0.8}, Missed, "nginx", false},
		{"goal", Bar{Metric: "cpu", Against: "haproxy", Max: 1, Goal: 0.5}, Met, "haproxy", true},
		{"the figure itself", Bar{Metric: "cpu", Against: Absolute, Max: 9}, Met, "", false},
		{"the figure itself, missed", Bar{Metric: "cpu", Against: Absolute, Max: 8}, Missed, "", false},
		{"no such peer", Bar{Metric: "cpu", Against: "envoy", Max: 1}, Unknown, "", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := work("x", rounds)
			got := w.Judge(tt.bar, "culvert")
			if got.Verdict != tt.want || got.Peer != tt.peer || got.AtGoal != tt.goal {
				t.Errorf("got %v to %q, goal %v; want %v to %q, goal %v", got.Verdict, got.Peer, got.AtGoal, tt.want, tt.peer, tt.goal)
			}
		})
	}
}

// The probabilities are those of R's wilcox.test(a, b).
func TestMannWhitney(t *testing.T) {
	tests := []struct {
		name string
		a, b []float64
		want float64
	}{
		{"apart", []float64{1, 2, 3, 4, 5}, []float64{6, 7, 8, 9, 10}, 0.007937},
		{"apart, the other way", []float64{6, 7, 8, 9, 10}, []float64{1, 2, 3, 4, 5}, 0.007937},
		{"mixed", []float64{1, 3, 5, 7}, []float64{2, 4, 6, 8}, 0.6857},
		{"three and three, apart", []float64{1, 2, 3}, []float64{4, 5, 6}, 0.1},
		{"of unequal size", []float64{1, 2}, []float64{3, 4, 5, 6}, 0.1333},
		{"all alike", []float64{1, 1, 1}, []float64{1, 1, 1}, 1},
		{"none", nil, []float64{1}, 1},
		{"ties", []float64{1, 2, 2, 3}, []float64{2, 4, 5, 6}, 0.1038},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := mannWhitney(tt.a, tt.b); math.Abs(got-tt.want) > 5e-4 {
				t.Errorf("got %.6f, want %.6f", got, tt.want)
			}
		})
	}
}

// A machine that is slower in the second run affects both equally.
func TestSlowerMachineIsNoChange(t *testing.T) {
	before := report(work("x", map[string][]float64{"culvert": {9, 10, 11, 10.5, 9.5}, "nginx": {10, 11, 12.2, 11.4, 10.6}}))
	after := report(work("x", map[string][]float64{"culvert": {18, 20, 22, 21, 19}, "nginx": {20.1, 22, 24.2, 23.1, 20.8}}))
	c := Compare(before, after).Changes
	if len(c) != 1 || c[0].P >= Alpha || c[0].Shown() {
		t.Errorf("got %+v, want a figure that changed and a ratio that did not", c)
	}
}

func TestDearerSubjectIsAChange(t *testing.T) {
	nginx := []float64{10, 10.1, 10.2, 10.3, 10.4}
	before := report(work("x", map[string][]float64{"culvert": {9, 9.1, 9.2, 9.3, 9.5}, "nginx": nginx}))
	after := report(work("x", map[string][]float64{"culvert": {12, 12.2, 12.1, 12.5, 12.4}, "nginx": nginx}))
	c := Compare(before, after).Changes
	if len(c) != 1 || !c[0].Shown() || c[0].Factor() < 1.2 {
		t.Errorf("got %+v, want a change to more", c)
	}
}

func TestOtherMachineIsWarnedOf(t *testing.T) {
	a, b := report(), report()
	b.Machine.Kernel = "7.0"
	if w := Compare(a, b).Warnings; len(w) != 1 || !strings.Contains(w[0], "kernel") {
		t.Errorf("got %v, want a warning of the kernel", w)
	}
}

func TestReadsWhatItWrote(t *testing.T) {
	r := report(work("x", map[string][]float64{"culvert": {1, 2}}))
	r.Workloads[0].Samples[0].Values["p99"] = math.Inf(1) // not a number in JSON
	var b bytes.Buffer
	if err := r.Write(&b); err != nil {
		t.Fatal(err)
	}
	got, err := Read(&b)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(r, got); diff != "" {
		t.Error(diff)
	}
}

func TestReadRefuses(t *testing.T) {
	tests := []struct{ name, in, want string }{
		{"nonsense", "hello", "not a report"},
		{"another version", `{"schema": 7}`, "version 7"},
		{"no peers", `{"schema": 1}`, "no peers"},
		{"no metrics", `{"schema": 1, "peers": [{"name": "a"}], "workloads": [{"name": "w"}]}`, `"w" has no metrics`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := Read(strings.NewReader(tt.in)); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

// An accepted report can be written, read again, judged and compared.
func FuzzRead(f *testing.F) {
	var b bytes.Buffer
	w := work("x", map[string][]float64{"culvert": {1, 2}, "nginx": {2, 3}})
	w.Bars = []Bar{{Metric: "cpu", Against: Best, Max: 1}}
	_ = report(w).Write(&b)
	f.Add(b.Bytes())
	f.Add([]byte(`{"schema": 1, "peers": [{}]}`))
	f.Fuzz(func(t *testing.T, in []byte) {
		r, err := Read(bytes.NewReader(in))
		if err != nil {
			return
		}
		var out bytes.Buffer
		if err := r.Write(&out); err != nil {
			t.Fatal(err)
		}
		again, err := Read(&out)
		if err != nil {
			t.Fatal(err)
		}
		Compare(r, again)
		for i := range r.Workloads {
			for _, b := range r.Workloads[i].Bars {
				r.Workloads[i].Judge(b, r.Peers[0].Name)
			}
		}
	})
}
