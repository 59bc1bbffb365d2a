package check

import (
	"bufio"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
)

// maxLine bounds a line of input, in bytes.
const maxLine = 1 << 20

// name identifies a benchmark. Its JSON keys are those of the baseline.
type name struct {
	Package   string `json:"package"`   // import path
	Benchmark string `json:"benchmark"` // without the number of processors
}

func (n name) String() string { return n.Package + " " + n.Benchmark }

// figures are the results of one round of a benchmark, per operation.
type figures struct{ nanos, bytes, allocs float64 }

// output is the output of go test -bench, of one run or several.
type output struct {
	names  []name // in order of first appearance
	rounds map[name][]figures
	arch   string // GOARCH
	cpu    string
	failed bool // a test binary did not build, failed or panicked
}

// readOutput reads until the end of in. It passes lines that are not part of a
// successful run to strange, because they contain the reason of a failure.
func readOutput(in io.Reader, strange func(line string)) (*output, error) {
	o := &output{rounds: map[name][]figures{}}
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, maxLine)
	pkg := ""
	for n := 1; lines.Scan(); n++ {
		line := lines.Text()
		if p, ok := strings.CutPrefix(line, "pkg: "); ok {
			pkg = p
			continue
		}
		known, err := o.add(pkg, line)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		if !known {
			strange(line)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read the output of go test: %w", err)
	}
	return o, nil
}

// add processes a line, and reports whether it is part of a successful run.
func (o *output) add(pkg, line string) (known bool, err error) {
	key, value, _ := strings.Cut(line, ": ")
	switch key {
	case "goarch":
		o.arch = value
		return true, nil
	case "cpu":
		o.cpu = value
		return true, nil
	case "goos":
		return true, nil
	}
	if line == "PASS" || strings.HasPrefix(line, "ok ") {
		return true, nil
	}
	for _, bad := range []string{"FAIL", "--- FAIL", "panic:"} {
		o.failed = o.failed || strings.HasPrefix(line, bad)
	}
	bench, f, ok, err := parseResult(line)
	if ok {
		o.record(name{pkg, bench}, f)
	}
	return ok, err
}

func (o *output) record(n name, f figures) {
	if o.rounds[n] == nil {
		o.names = append(o.names, n)
	}
	o.rounds[n] = append(o.rounds[n], f)
}

// parseResult reads the line of a benchmark: its name, how often it ran, and
// pairs of value and unit
// (https://go.googlesource.com/proposal/+/master/design/14313-benchmark-format.md).
// ok is false when the line is something else. It is an error when a figure
// that the comparison needs is missing.
func parseResult(line string) (bench string, f figures, ok bool, err error) {
	fields := strings.Fields(line)
	if len(fields) < 4 || !strings.HasPrefix(fields[0], "Benchmark") {
		return "", f, false, nil
	}
	values, ok := parseValues(fields[1:])
	if !ok {
		return "", f, false, nil
	}
	f, err = newFigures(values)
	if err != nil {
		return "", f, false, fmt.Errorf("%s: %w", fields[0], err)
	}
	return withoutProcs(fields[0]), f, true, nil
}

// parseValues reads a count and the values that follow it, by their unit.
func parseValues(fields []string) (map[string]float64, bool) {
	if _, err := strconv.ParseUint(fields[0], 10, 63); err != nil || len(fields)%2 != 1 {
		return nil, false
	}
	values := map[string]float64{}
	for i := 1; i < len(fields); i += 2 {
		v, err := strconv.ParseFloat(fields[i], 64)
		if err != nil {
			return nil, false
		}
		values[fields[i+1]] = v
	}
	return values, true
}

func newFigures(values map[string]float64) (f figures, err error) {
	for _, want := range []struct {
		unit string
		to   *float64
	}{{"ns/op", &f.nanos}, {"B/op", &f.bytes}, {"allocs/op", &f.allocs}} {
		v, ok := values[want.unit]
		if !ok {
			return f, fmt.Errorf("no %s: run go test with -benchmem", want.unit)
		}
		if !(v >= 0 && v < math.MaxInt64) { // nor NaN
			return f, fmt.Errorf("%v %s", v, want.unit)
		}
		*want.to = v
	}
	return f, nil
}

// withoutProcs removes the "-8" that go test appends to a name when
// GOMAXPROCS is 8. With one processor it appends nothing, so names must not
// end like that themselves.
func withoutProcs(bench string) string {
	i := strings.LastIndexByte(bench, '-')
	if i < 0 {
		return bench
	}
	if _, err := strconv.ParseUint(bench[i+1:], 10, 32); err != nil {
		return bench
	}
	return bench[:i]
}
