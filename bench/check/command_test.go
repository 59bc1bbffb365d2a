package check

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// command runs Command with a baseline's file.
func command(file, in string, args ...string) (string, error) {
	var out strings.Builder
	err := Command(append([]string{"-baseline", file}, args...), strings.NewReader(in), &out)
	return out.String(), err
}

func TestWhatWasAcceptedPassesAndWhatIsWorseFails(t *testing.T) {
	file := filepath.Join(t.TempDir(), "baseline.json")
	slower := strings.NewReplacer("150.0 ns/op", "950 ns/op", "250.0 ns/op", "950 ns/op").Replace(twoRounds)
	faster := strings.NewReplacer("150.0 ns/op", "50 ns/op", "250.0 ns/op", "50 ns/op").Replace(twoRounds)
	elsewhere := strings.ReplaceAll(slower, "Some CPU", "Other CPU")
	const advice = "To accept the new figures: make bench-baseline, and commit the file.\n"
	for _, tt := range []struct { // in this order: each continues from the baseline of those before
		name, in string
		args     []string
		out      string // %s stands for the file
		err      string
	}{
		{"no baseline yet", twoRounds, nil, "", "no such file"},
		{"first baseline", twoRounds, []string{"-update"},
			"accepted: culvert/sniff BenchmarkParse/517: measured, but not in the baseline\n" + file + ": 1 benchmarks\n", ""},
		{"the same", twoRounds, nil, "1 benchmarks cost no more than the baseline allows\n", ""},
		{"slower", slower, nil, "WORSE: culvert/sniff BenchmarkParse/517: takes 1.74 of BenchmarkParse/reference (1.58 to 1.9 in 2 rounds), " +
			"the baseline has 0.375 and allows 0.562 (factor 1.5)\n" + advice, "1 figures are not what the baseline allows"},
		{"slower elsewhere", elsewhere, nil, "WORSE: culvert/sniff BenchmarkParse/517: takes 1.74 of BenchmarkParse/reference (1.58 to 1.9 in 2 rounds), " +
			"the baseline has 0.375 and allows 0.562 (factor 1.5)\n" +
			"The baseline comes from another machine (amd64, Some CPU @ 3.00GHz; this is amd64, Other CPU @ 3.00GHz): ratios may differ.\n" +
			advice, "1 figures are not what the baseline allows"},
		{"faster", faster, nil, "better: culvert/sniff BenchmarkParse/517: takes 0.0917 of BenchmarkParse/reference (0.0833 to 0.1 in 2 rounds), " +
			"the baseline has 0.375 and allows 0.562 (factor 1.5)\n" + advice + "1 benchmarks cost no more than the baseline allows\n", ""},
		{"slower is accepted", slower, []string{"-update"}, "accepted: culvert/sniff BenchmarkParse/517: takes 1.74 of BenchmarkParse/reference (1.58 to 1.9 in 2 rounds), " +
			"the baseline has 0.375 and allows 0.562 (factor 1.5)\n" + file + ": 1 benchmarks\n", ""},
		{"and passes", slower, nil, "1 benchmarks cost no more than the baseline allows\n", ""},
	} {
		out, err := command(file, tt.in, tt.args...)
		if out != tt.out || (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%s: got %v and\n%s\nwant %q and\n%s", tt.name, err, out, tt.err, tt.out)
		}
	}
}

// An incomplete run must neither pass nor become the baseline.
func TestRunThatIsNotWholeIsNotCompared(t *testing.T) {
	file := filepath.Join(t.TempDir(), "baseline.json")
	if _, err := command(file, twoRounds, "-update"); err != nil {
		t.Fatal(err)
	}
	before, _ := os.ReadFile(file)
	lacking := strings.Replace(twoRounds, "BenchmarkParse/reference-2", "BenchmarkOther-2", 1)
	for _, tt := range []struct {
		name, in, out, err string
	}{
		{"empty", "", "", "no benchmark in the input"},
		{"no benchmarks", "PASS\nok  \tp\t0.1s\n", "", "no benchmark in the input"},
		{"failed", twoRounds + "--- FAIL: BenchmarkX\n    x_test.go:1: wrong facts\nFAIL\n", "x_test.go:1: wrong facts\n", "a benchmark failed"},
		{"did not build", twoRounds + "FAIL\tculvert/l4 [build failed]\n", "culvert/l4 [build failed]\n", "a benchmark failed"},
		{"without -benchmem", "BenchmarkX 1 2 ns/op\n", "", "run go test with -benchmem"},
		{"a round without its reference", lacking, "", "measured 2 times, and its reference BenchmarkParse/reference 1 times"},
	} {
		for _, args := range [][]string{nil, {"-update"}} {
			out, err := command(file, tt.in, args...)
			text := out
			if err != nil {
				text += err.Error()
			}
			if err == nil || !strings.Contains(text, tt.err) || !strings.Contains(out, tt.out) {
				t.Errorf("%s %v: got %v and %q, want %q and %q", tt.name, args, err, out, tt.err, tt.out)
			}
		}
		if after, _ := os.ReadFile(file); string(after) != string(before) {
			t.Errorf("%s: the baseline was replaced", tt.name)
		}
	}
}

func TestBadBaselineIsLeftAlone(t *testing.T) {
	file := filepath.Join(t.TempDir(), "baseline.json")
	const text = `{"benchmarks":[{"package":"p"}]}`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := command(file, twoRounds, "-update"); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("got %v", err)
	}
	if after, _ := os.ReadFile(file); string(after) != text {
		t.Error("it was replaced")
	}
}

func TestBaselineThatCannotBeWritten(t *testing.T) {
	file := filepath.Join(t.TempDir(), "none", "baseline.json")
	if _, err := command(file, twoRounds, "-update"); err == nil || !strings.Contains(err.Error(), "write the baseline") {
		t.Errorf("got %v", err)
	}
}

func TestCommandLine(t *testing.T) {
	for _, tt := range []struct {
		name     string
		args     []string
		out, err string
	}{
		{"help", []string{"-h"}, "culvert-bench check [flags]", flag.ErrHelp.Error()},
		{"unknown flag", []string{"-updat"}, "", "not defined: -updat"},
		{"a file", []string{"out.txt"}, "", `unexpected argument "out.txt"`},
	} {
		out, err := command("unused", "", tt.args...)
		if err == nil || !strings.Contains(err.Error(), tt.err) || !strings.Contains(out, tt.out) {
			t.Errorf("%s: got %v and %q, want %q and %q", tt.name, err, out, tt.err, tt.out)
		}
		if errors.Is(err, flag.ErrHelp) != (tt.name == "help") {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}
