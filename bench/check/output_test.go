package check

import (
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

// twoRounds is the output of two runs of go test, one after the other.
const twoRounds = `goos: linux
goarch: amd64
pkg: culvert/sniff
cpu: Some CPU @ 3.00GHz
BenchmarkParse/517-2         	  152662	       150.0 ns/op	3382.46 MB/s	       0 B/op	       0 allocs/op
BenchmarkParse/reference-2   	   43812	       600 ns/op	 943.64 MB/s	       0 B/op	       0 allocs/op
PASS
ok  	culvert/sniff	0.589s
goos: linux
goarch: amd64
pkg: culvert/sniff
cpu: Some CPU @ 3.00GHz
BenchmarkParse/517-2         	  152662	       250.0 ns/op	3382.46 MB/s	      64 B/op	       2 allocs/op
BenchmarkParse/reference-2   	   43812	       500 ns/op	 943.64 MB/s	       0 B/op	       0 allocs/op
PASS
ok  	culvert/sniff	0.589s
`

// mustRead reads a successful run.
func mustRead(t testing.TB, text string) *output {
	t.Helper()
	o, err := readOutput(strings.NewReader(text), func(line string) { t.Errorf("strange line %q", line) })
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func TestRoundsOfABenchmarkAreCollected(t *testing.T) {
	o := mustRead(t, twoRounds)
	parse, ref := name{"culvert/sniff", "BenchmarkParse/517"}, name{"culvert/sniff", "BenchmarkParse/reference"}
	want := &output{
		names: []name{parse, ref},
		rounds: map[name][]figures{
			parse: {{150, 0, 0}, {250, 64, 2}},
			ref:   {{600, 0, 0}, {500, 0, 0}},
		},
		arch: "amd64", cpu: "Some CPU @ 3.00GHz",
	}
	if diff := cmp.Diff(want, o, cmp.AllowUnexported(output{}, figures{})); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestLineOfABenchmark(t *testing.T) {
	for _, tt := range []struct {
		name, line string
		bench      string // "" for a line that is something else
		want       figures
	}{
		{"usual", "BenchmarkAdd-2 \t 1353386\t 17.71 ns/op\t 48 B/op\t 1 allocs/op", "BenchmarkAdd", figures{17.71, 48, 1}},
		{"one processor", "BenchmarkAdd 1 2 ns/op 3 B/op 4 allocs/op", "BenchmarkAdd", figures{2, 3, 4}},
		{"64 processors", "BenchmarkAdd/a-64 1 2 ns/op 3 B/op 4 allocs/op", "BenchmarkAdd/a", figures{2, 3, 4}},
		{"dash in the name", "BenchmarkPick/16/client-address-2 1 2 ns/op 3 B/op 4 allocs/op", "BenchmarkPick/16/client-address", figures{2, 3, 4}},
		{"dash and one processor", "BenchmarkPick/client-address 1 2 ns/op 3 B/op 4 allocs/op", "BenchmarkPick/client-address", figures{2, 3, 4}},
		{"other units between", "BenchmarkAdd-2 1 9 MB/s 2 ns/op 8 p99-ns 3 B/op 4 allocs/op", "BenchmarkAdd", figures{2, 3, 4}},
		{"any order", "BenchmarkAdd-2 1 4 allocs/op 3 B/op 2 ns/op", "BenchmarkAdd", figures{2, 3, 4}},
		{"large figures", "BenchmarkAdd-2 1 1e+12 ns/op 3 B/op 4 allocs/op", "BenchmarkAdd", figures{1e12, 3, 4}},
		{"empty", "", "", figures{}},
		{"name alone", "BenchmarkAdd-2", "", figures{}},
		{"name and a word of the test", "BenchmarkAdd-2 hello", "", figures{}},
		{"no count", "BenchmarkAdd-2 x 2 ns/op", "", figures{}},
		{"negative count", "BenchmarkAdd-2 -1 2 ns/op", "", figures{}},
		{"no number", "BenchmarkAdd-2 1 x ns/op 3 B/op 4 allocs/op", "", figures{}},
		{"odd", "BenchmarkAdd-2 1 2 ns/op 3 B/op 4", "", figures{}},
		{"another word", "benchmarkAdd-2 1 2 ns/op 3 B/op 4 allocs/op", "", figures{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bench, f, ok, err := parseResult(tt.line)
			if err != nil || ok != (tt.bench != "") || bench != tt.bench || f != tt.want {
				t.Errorf("got %q %v %v %v, want %q %v", bench, f, ok, err, tt.bench, tt.want)
			}
		})
	}
}

func TestFigureThatCannotBeComparedIsAnError(t *testing.T) {
	for _, tt := range []struct{ name, line, want string }{
		{"no memory", "BenchmarkAdd-2 1 2 ns/op", "line 2: BenchmarkAdd-2: no B/op: run go test with -benchmem"},
		{"no time", "BenchmarkAdd-2 1 3 B/op 4 allocs/op", "no ns/op"},
		{"no allocations", "BenchmarkAdd-2 1 2 ns/op 3 B/op", "no allocs/op"},
		{"NaN", "BenchmarkAdd-2 1 NaN ns/op 3 B/op 4 allocs/op", "NaN ns/op"},
		{"infinite", "BenchmarkAdd-2 1 Inf ns/op 3 B/op 4 allocs/op", "+Inf ns/op"},
		{"negative", "BenchmarkAdd-2 1 2 ns/op -3 B/op 4 allocs/op", "-3 B/op"},
		{"does not fit", "BenchmarkAdd-2 1 2 ns/op 3 B/op 9223372036854775808 allocs/op", "allocs/op"},
	} {
		_, err := readOutput(strings.NewReader("pkg: p\n"+tt.line+"\n"), func(string) {})
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q", tt.name, err, tt.want)
		}
	}
}

func TestFailedRunIsNoticedAndItsLinesAreKept(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		failed     bool
		strange    string
	}{
		{"all well", twoRounds, false, ""},
		{"a benchmark", "pkg: p\n--- FAIL: BenchmarkAdd\n    add_test.go:7: wrong facts\n", true,
			"--- FAIL: BenchmarkAdd\n    add_test.go:7: wrong facts\n"},
		{"the build", "FAIL\tculvert/l4 [build failed]\n", true, "FAIL\tculvert/l4 [build failed]\n"},
		{"a panic", "panic: oh\n", true, "panic: oh\n"},
		{"other output", "hello: world\n", false, "hello: world\n"},
		{"no benchmarks", "?   \tculvert/x\t[no test files]\n", false, "?   \tculvert/x\t[no test files]\n"},
	} {
		var strange strings.Builder
		o, err := readOutput(strings.NewReader(tt.text), func(line string) { fmt.Fprintln(&strange, line) })
		if err != nil || o.failed != tt.failed || strange.String() != tt.strange {
			t.Errorf("%s: %v, failed %v, want %v; strange %q, want %q", tt.name, err, o.failed, tt.failed, strange.String(), tt.strange)
		}
	}
}

func TestInputThatCannotBeRead(t *testing.T) {
	broken := errors.New("broken pipe")
	if _, err := readOutput(iotest.ErrReader(broken), nil); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	endless := io.LimitReader(strings.NewReader(strings.Repeat("x", maxLine+1)), maxLine+1)
	if _, err := readOutput(endless, nil); err == nil {
		t.Error("a line without end was accepted")
	}
}

// result returns a line with the given time.
func result(bench string, nanos float64) string {
	return fmt.Sprintf("%s-2 1000 %v ns/op 0 B/op 0 allocs/op\n", bench, nanos)
}

func TestReferenceIsTheNearest(t *testing.T) {
	o := mustRead(t, "pkg: p\n"+result("BenchmarkA/reference", 1)+result("BenchmarkA/x/reference", 1)+
		result("BenchmarkA/x/1", 1)+result("BenchmarkC/reference/1", 1)+
		"pkg: q\n"+result("BenchmarkB/reference", 1))
	for _, tt := range []struct{ name, pkg, bench, want string }{
		{"beside it", "p", "BenchmarkA/x/1", "BenchmarkA/x/reference"},
		{"beside its parent", "p", "BenchmarkA/y/1", "BenchmarkA/reference"},
		{"beside its parent's parent", "p", "BenchmarkA/y/z/1", "BenchmarkA/reference"},
		{"of one on its own", "p", "BenchmarkA", ""},
		{"of another benchmark", "p", "BenchmarkD/1", ""},
		{"of another package", "p", "BenchmarkB/1", ""},
		{"that was a parent", "p", "BenchmarkC/1", ""},
	} {
		if got := o.reference(name{tt.pkg, tt.bench}); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestRatioIsTakenRoundByRound(t *testing.T) {
	for _, tt := range []struct {
		name         string
		ours, theirs []float64
		want         []float64
		err          string
	}{
		{"one round", []float64{30}, []float64{10}, []float64{3}, ""},
		{"a slow minute, in which medians of the times would give 1", []float64{20, 100, 300}, []float64{10, 100, 100}, []float64{1, 2, 3}, ""},
		{"fewer of the reference", []float64{1, 2}, []float64{1}, nil, "measured 2 times, and its reference BenchmarkA/reference 1 times"},
		{"none of the reference", []float64{1}, nil, nil, "0 times"},
		{"reference takes no time", []float64{1}, []float64{0}, nil, "takes no time"},
		{"benchmark takes no time", []float64{0}, []float64{1}, nil, "takes no time"},
	} {
		var text strings.Builder
		for _, v := range tt.ours {
			text.WriteString(result("BenchmarkA/x", v))
		}
		for _, v := range tt.theirs {
			text.WriteString(result("BenchmarkA/reference", v))
		}
		got, err := mustRead(t, text.String()).ratios(name{"", "BenchmarkA/x"}, "BenchmarkA/reference")
		if (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) || !cmp.Equal(got, tt.want) {
			t.Errorf("%s: got %v, %v, want %v, %q", tt.name, got, err, tt.want, tt.err)
		}
	}
}

func TestMedian(t *testing.T) {
	for _, tt := range []struct {
		in   []float64
		want float64
	}{
		{[]float64{7}, 7},
		{[]float64{1, 2}, 1.5},
		{[]float64{1, 2, 9}, 2},
		{[]float64{1, 2, 4, 9}, 3},
	} {
		if got := median(tt.in); got != tt.want {
			t.Errorf("median(%v) = %v, want %v", tt.in, got, tt.want)
		}
	}
}

// FuzzReadOutput checks that every benchmark that is read has a name and figures
// that can be compared, and is read the same after it is printed again.
func FuzzReadOutput(f *testing.F) {
	f.Add(twoRounds)
	f.Add("pkg: p\nBenchmarkA-2 1 NaN ns/op 0 B/op 0 allocs/op\n")
	f.Add("BenchmarkA-2-2 1 1e300 ns/op 0x1p-2 B/op 1_0 allocs/op\nFAIL\n")
	f.Fuzz(func(t *testing.T, text string) {
		o, err := readOutput(strings.NewReader(text), func(string) {})
		if err != nil {
			return
		}
		if len(o.names) != len(o.rounds) {
			t.Fatalf("%d names, %d benchmarks", len(o.names), len(o.rounds))
		}
		for _, n := range o.names {
			for _, f := range o.rounds[n] {
				checkResult(t, n, f)
			}
			if allocs, bytes := o.memory(n); allocs < 0 || bytes < 0 {
				t.Errorf("%s: %d allocations, %d bytes", n, allocs, bytes)
			}
		}
	})
}

func checkResult(t *testing.T, n name, f figures) {
	if !strings.HasPrefix(n.Benchmark, "Benchmark") || strings.ContainsAny(n.Benchmark, " \t\n") {
		t.Errorf("name %q", n.Benchmark)
	}
	for _, v := range []float64{f.nanos, f.bytes, f.allocs} {
		if math.IsNaN(v) || math.IsInf(v, 0) || v < 0 {
			t.Errorf("%s: %v", n, f)
		}
	}
	line := fmt.Sprintf("%s-2 1 %v ns/op %v B/op %v allocs/op", n.Benchmark, f.nanos, f.bytes, f.allocs)
	if bench, again, ok, err := parseResult(line); bench != n.Benchmark || again != f || !ok || err != nil {
		t.Errorf("%q came back as %q %v %v %v", line, bench, again, ok, err)
	}
}
