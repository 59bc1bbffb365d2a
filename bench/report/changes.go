package report

import (
	"fmt"
	"io"
	"text/tabwriter"

	"culvert/bench/result"
)

// Changes writes the change of each workload between two runs, and whether it is
// more than noise.
func Changes(out io.Writer, c result.Comparison) {
	for _, w := range c.Warnings {
		fmt.Fprintln(out, "note:", w)
	}
	t := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "workload\tfigure\told\tnew\tratio to\told\tnew\tchange\tp\t")
	for _, ch := range c.Changes {
		p := ch.P
		if ch.To != "" {
			p = ch.RatioP
		}
		fmt.Fprintf(t, "%s\t%s, %s\t%s\t%s\t%s\t%s\t%s\t%s\t%.3f\n", ch.Workload, label(ch.Metric), ch.Metric.Unit,
			number(ch.Old.Median), number(ch.New.Median), ch.To, ratioOf(ch.To, ch.OldRatio), ratioOf(ch.To, ch.NewRatio), inWords(ch), p)
	}
	t.Flush()
	fmt.Fprintf(out, "A change is shown where chance alone would bring it in less than %.0f %% of cases (Mann-Whitney), judged by the\nratio to a peer within each run, where there is one.\n", 100*result.Alpha)
}

func ratioOf(to string, s result.Stat) string {
	if to == "" {
		return "-"
	}
	return number(s.Median)
}

// inWords describes the direction of a change.
func inWords(c result.Change) string {
	factor := c.Factor()
	switch {
	case !c.Shown():
		return fmt.Sprintf("none shown (%s)", number(factor))
	case (factor < 1) != c.Metric.Higher:
		return "better: " + number(factor)
	}
	return "worse: " + number(factor)
}
