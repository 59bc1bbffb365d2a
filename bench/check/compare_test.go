package check

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// measured is a run of BenchmarkA/x with its reference, of three rounds in
// which the ratio is 1.9, 2 and 2.4.
func measured(t testing.TB, allocs, bytes int) *output {
	text := "pkg: p\n"
	for _, nanos := range []float64{190, 240, 200} {
		text += result("BenchmarkA/reference", 100)
		text += fmt.Sprintf("BenchmarkA/x-2 1000 %v ns/op %d B/op %d allocs/op\n", nanos, bytes, allocs)
	}
	return mustRead(t, text)
}

func TestCompare(t *testing.T) {
	listed := func(change func(*entry)) entry {
		e := entry{name: name{"p", "BenchmarkA/x"}, Allocs: 2, Bytes: 64, Reference: "BenchmarkA/reference", Ratio: 2, Factor: 1.5}
		change(&e)
		return e
	}
	asIs := listed(func(*entry) {})
	tests := []struct {
		name          string
		allocs, bytes int
		base          []entry
		worse, better []string
	}{
		{"the same", 2, 64, []entry{asIs}, nil, nil},
		{"one more allocation", 3, 64, []entry{asIs}, []string{"p BenchmarkA/x: 3 allocs/op, the baseline has 2"}, nil},
		{"one less", 1, 64, []entry{asIs}, nil, []string{"p BenchmarkA/x: 1 allocs/op, the baseline has 2"}},
		{"first allocation", 1, 8, []entry{listed(func(e *entry) { e.Allocs, e.Bytes = 0, 0 })},
			[]string{"p BenchmarkA/x: 1 allocs/op, the baseline has 0"}, nil},
		{"many allocations, one more", 101, 64, []entry{listed(func(e *entry) { e.Allocs = 100 })}, nil, nil},
		{"many allocations, more than 2 %", 103, 64, []entry{listed(func(e *entry) { e.Allocs = 100 })},
			[]string{"p BenchmarkA/x: 103 allocs/op, the baseline has 100 and allows 102"}, nil},
		{"bytes of a pool", 2, 81, []entry{asIs}, nil, nil},
		{"more bytes", 2, 82, []entry{asIs}, []string{"p BenchmarkA/x: 82 B/op, the baseline has 64 and allows 81"}, nil},
		{"less bytes", 2, 46, []entry{asIs}, nil, []string{"p BenchmarkA/x: 46 B/op, the baseline has 64 and allows 81"}},
		{"2 % of many bytes", 2, 10216, []entry{listed(func(e *entry) { e.Bytes = 10000 })}, nil, nil},
		{"ratio at its limit", 2, 64, []entry{listed(func(e *entry) { e.Ratio, e.Factor = 1, 2 })}, nil, nil},
		{"ratio above it", 2, 64, []entry{listed(func(e *entry) { e.Ratio, e.Factor = 1, 1.8 })},
			[]string{"p BenchmarkA/x: takes 2 of BenchmarkA/reference (1.9 to 2.4 in 3 rounds), the baseline has 1 and allows 1.8 (factor 1.8)"}, nil},
		{"ratio as far below", 2, 64, []entry{listed(func(e *entry) { e.Ratio = 3.7 })}, nil,
			[]string{"p BenchmarkA/x: takes 2 of BenchmarkA/reference (1.9 to 2.4 in 3 rounds), the baseline has 3.7 and allows 5.55 (factor 1.5)"}},
		{"ratio somewhat below", 2, 64, []entry{listed(func(e *entry) { e.Ratio = 2.9 })}, nil, nil},
		{"no ratio listed", 2, 64, []entry{listed(func(e *entry) { e.Reference, e.Ratio, e.Factor = "", 0, 0 })}, nil, nil},
		{"reference that is gone", 2, 64, []entry{listed(func(e *entry) { e.Reference = "BenchmarkZ/reference" })},
			[]string{"p BenchmarkA/x was measured 3 times, and its reference BenchmarkZ/reference 0 times"}, nil},
		{"benchmark that is gone", 2, 64, []entry{asIs, listed(func(e *entry) { e.Package = "q" })},
			[]string{"q BenchmarkA/x: in the baseline, but was not measured"}, nil},
		{"new benchmark", 2, 64, nil, []string{"p BenchmarkA/x: measured, but not in the baseline"}, nil},
		{"all at once", 3, 100, []entry{listed(func(e *entry) { e.Ratio = 1 })}, []string{
			"p BenchmarkA/x: 3 allocs/op, the baseline has 2",
			"p BenchmarkA/x: 100 B/op, the baseline has 64 and allows 81",
			"p BenchmarkA/x: takes 2 of BenchmarkA/reference (1.9 to 2.4 in 3 rounds), the baseline has 1 and allows 1.5 (factor 1.5)",
		}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := measured(t, tt.allocs, tt.bytes).compare(&baseline{Benchmarks: tt.base})
			if diff := cmp.Diff(&verdict{tt.worse, tt.better}, got, cmp.AllowUnexported(verdict{})); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// A single slow round, or a single round with more allocations, is not a
// regression.
func TestSpoiledRoundIsNoRegression(t *testing.T) {
	const good = "BenchmarkA/x 1000 40 ns/op 32 B/op 1 allocs/op\nBenchmarkA/reference 1000 100 ns/op 0 B/op 0 allocs/op\n"
	const spoiled = "BenchmarkA/x 1000 900 ns/op 900 B/op 9 allocs/op\nBenchmarkA/reference 1000 100 ns/op 0 B/op 0 allocs/op\n"
	o := mustRead(t, good+spoiled+good)
	e := entry{name: o.names[0], Allocs: 1, Bytes: 32, Reference: o.names[1].Benchmark, Ratio: 0.4, Factor: 1.01}
	if v := o.compare(&baseline{Benchmarks: []entry{e}}); len(v.worse)+len(v.better) > 0 {
		t.Errorf("got %v", v)
	}
}
