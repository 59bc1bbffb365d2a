package check

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestBaselineIsALineABenchmark(t *testing.T) {
	base := &baseline{Arch: "amd64", CPU: `Some "CPU"`, Benchmarks: []entry{
		{name: name{"p", "BenchmarkA/x"}, Reference: "BenchmarkA/reference", Ratio: 0.123, Factor: 1.5},
		{name: name{"p", "BenchmarkB"}, Allocs: 7, Bytes: 280},
	}}
	const want = `{
"arch": "amd64",
"cpu": "Some \"CPU\"",
"benchmarks": [
{"package":"p","benchmark":"BenchmarkA/x","allocs":0,"bytes":0,"reference":"BenchmarkA/reference","ratio":0.123,"factor":1.5},
{"package":"p","benchmark":"BenchmarkB","allocs":7,"bytes":280}
]
}
`
	dir := t.TempDir()
	file := filepath.Join(dir, "baseline.json")
	if err := base.write(file); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(file)
	if diff := cmp.Diff(want, string(got)); err != nil || diff != "" {
		t.Errorf("%v, -want +got:\n%s", err, diff)
	}
	back, err := readBaseline(file)
	if diff := cmp.Diff(base, back, cmp.AllowUnexported(entry{})); err != nil || diff != "" {
		t.Errorf("%v, -want +got:\n%s", err, diff)
	}
	if left, _ := os.ReadDir(dir); len(left) != 1 {
		t.Errorf("%d files are left, want 1", len(left))
	}
}

func TestBaselineThatMakesNoSense(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"not JSON", `{`, "unexpected EOF"},
		{"misspelled key", `{"benchmarks":[{"package":"p","benchmark":"B","faktor":2}]}`, `unknown field "faktor"`},
		{"no name", `{"benchmarks":[{"package":"p"}]}`, "no benchmark's name"},
		{"negative allocations", `{"benchmarks":[{"package":"p","benchmark":"B","allocs":-1}]}`, "p B: less than nothing"},
		{"negative bytes", `{"benchmarks":[{"package":"p","benchmark":"B","bytes":-1}]}`, "p B: less than nothing"},
		{"ratio to nothing", `{"benchmarks":[{"package":"p","benchmark":"B","ratio":1}]}`, "p B: a ratio needs a reference"},
		{"factor of nothing", `{"benchmarks":[{"package":"p","benchmark":"B","factor":2}]}`, "p B: a ratio needs a reference"},
		{"no ratio", `{"benchmarks":[{"package":"p","benchmark":"B","reference":"R","factor":2}]}`, "p B: a reference needs a ratio"},
		{"no factor", `{"benchmarks":[{"package":"p","benchmark":"B","reference":"R","ratio":2}]}`, "a factor of at least 1"},
		{"factor below 1", `{"benchmarks":[{"package":"p","benchmark":"B","reference":"R","ratio":2,"factor":0.9}]}`, "a factor of at least 1"},
		{"twice", `{"benchmarks":[{"package":"p","benchmark":"B"},{"package":"p","benchmark":"B"}]}`, "p B is there twice"},
	} {
		file := filepath.Join(t.TempDir(), "baseline.json")
		if err := os.WriteFile(file, []byte(tt.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := readBaseline(file); err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), file) {
			t.Errorf("%s: got %v, want %q and the file", tt.name, err, tt.want)
		}
	}
}

func TestMissingBaselineIsToldFromABadOne(t *testing.T) {
	if _, err := readBaseline(filepath.Join(t.TempDir(), "none.json")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

func TestAcceptKeepsFactorsAndRoundsRatios(t *testing.T) {
	text := "goarch: amd64\ncpu: X\npkg: p\n" + result("BenchmarkA/x", 123456) + result("BenchmarkA/y", 1) +
		result("BenchmarkA/reference", 100000) + result("BenchmarkB", 3)
	old := &baseline{Benchmarks: []entry{
		{name: name{"p", "BenchmarkA/x"}, Reference: "BenchmarkA/reference", Ratio: 7, Factor: 2.5},
		{name: name{"p", "BenchmarkGone"}},
	}}
	got, err := mustRead(t, text).accept(old)
	if err != nil {
		t.Fatal(err)
	}
	want := &baseline{Arch: "amd64", CPU: "X", Benchmarks: []entry{
		{name: name{"p", "BenchmarkA/x"}, Reference: "BenchmarkA/reference", Ratio: 1.23, Factor: 2.5},
		{name: name{"p", "BenchmarkA/y"}, Reference: "BenchmarkA/reference", Ratio: 0.00001, Factor: DefaultFactor},
		{name: name{"p", "BenchmarkB"}},
	}}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(entry{})); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// TestCommittedBaseline checks the file, which may have been edited by hand.
func TestCommittedBaseline(t *testing.T) {
	base, err := readBaseline("baseline.json")
	if err != nil {
		t.Fatal(err)
	}
	ratios := map[string]int{}
	for _, e := range base.Benchmarks {
		if e.Reference != "" {
			ratios[e.Package]++
		}
	}
	for _, pkg := range []string{"culvert/sniff", "culvert/balancer", "culvert/l4", "culvert/cmd/internal/accesslog"} {
		if ratios[pkg] == 0 {
			t.Errorf("no ratio of package %s", pkg)
		}
	}
}
