package check

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
)

// DefaultBaseline is the committed baseline, from the root of the repository.
const DefaultBaseline = "bench/check/baseline.json"

const usage = `usage: go test -run '^$' -bench . -benchmem PACKAGE... | culvert-bench check [flags]

Compares what benchmarks allocate, and their times relative to their
references, with a baseline. Fails when something became more expensive.
`

// options are the command line.
type options struct {
	baseline string // file
	update   bool
}

// Command is "culvert-bench check": it reads the output of go test -bench
// from in, and compares it with a baseline or, with -update, makes that the
// baseline. The findings are written to out. The error is nil if there are none,
// and flag.ErrHelp if only the usage was requested.
//
// The input may contain several rounds, the output of one go test after the
// other: the first figures of a benchmark are compared with the first ones of its
// reference, and so on.
func Command(args []string, in io.Reader, out io.Writer) error {
	opts, err := parseOptions(args, out)
	if err != nil {
		return err
	}
	measured, err := readMeasured(in, out)
	if err != nil {
		return err
	}
	base, err := readBaseline(opts.baseline)
	if opts.update && errors.Is(err, fs.ErrNotExist) {
		base, err = &baseline{}, nil
	}
	if err != nil {
		return fmt.Errorf("read the baseline: %w", err)
	}
	if opts.update {
		return measured.update(base, opts.baseline, out)
	}
	return measured.report(base, out)
}

func parseOptions(args []string, out io.Writer) (*options, error) {
	opts := &options{}
	flags := flag.NewFlagSet("check", flag.ContinueOnError)
	flags.SetOutput(out)
	flags.Usage = func() {
		fmt.Fprint(out, usage)
		flags.PrintDefaults()
	}
	flags.StringVar(&opts.baseline, "baseline", DefaultBaseline, "the baseline's `file`")
	flags.BoolVar(&opts.update, "update", false, "accept what was measured as the baseline")
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	if flags.NArg() > 0 {
		return nil, fmt.Errorf("unexpected argument %q: the output of go test is read from standard input", flags.Arg(0))
	}
	return opts, nil
}

// readMeasured reads a successful run. For a failed run it prints the reason.
func readMeasured(in io.Reader, out io.Writer) (*output, error) {
	o, err := readOutput(in, func(line string) { fmt.Fprintln(out, line) })
	switch {
	case err != nil:
		return nil, err
	case o.failed:
		return nil, errors.New("a benchmark failed or did not build: nothing was compared")
	case len(o.names) == 0:
		return nil, errors.New("no benchmark in the input: nothing was compared")
	}
	return o, nil
}

// update writes the measured figures as the baseline, and prints the changes.
func (o *output) update(old *baseline, file string, out io.Writer) error {
	base, err := o.accept(old)
	if err != nil {
		return err
	}
	v := o.compare(old)
	printLines(out, "accepted: ", append(v.worse, v.better...))
	if err := base.write(file); err != nil {
		return fmt.Errorf("write the baseline: %w", err)
	}
	fmt.Fprintf(out, "%s: %d benchmarks\n", file, len(base.Benchmarks))
	return nil
}

// report prints how o compares with base.
func (o *output) report(base *baseline, out io.Writer) error {
	v := o.compare(base)
	printLines(out, "better: ", v.better)
	printLines(out, "WORSE: ", v.worse)
	if len(v.better)+len(v.worse) > 0 {
		o.printAdvice(base, out)
	}
	if len(v.worse) > 0 {
		return fmt.Errorf("%d figures are not what the baseline allows", len(v.worse))
	}
	fmt.Fprintf(out, "%d benchmarks cost no more than the baseline allows\n", len(base.Benchmarks))
	return nil
}

func (o *output) printAdvice(base *baseline, out io.Writer) {
	if o.arch != base.Arch || o.cpu != base.CPU {
		fmt.Fprintf(out, "The baseline comes from another machine (%s, %s; this is %s, %s): ratios may differ.\n", base.Arch, base.CPU, o.arch, o.cpu)
	}
	fmt.Fprintln(out, "To accept the new figures: make bench-baseline, and commit the file.")
}

func printLines(out io.Writer, prefix string, lines []string) {
	for _, l := range lines {
		fmt.Fprintf(out, "%s%s\n", prefix, l)
	}
}
