package report

import (
	"fmt"
	"io"
	"text/tabwriter"

	"culvert/bench/result"
)

// Line writes the results of w: one line for each peer, with the headline's
// median and quartiles, the subject's ratio to the peer, and the medians of the
// other metrics; then the bars.
func Line(out io.Writer, r *result.Report, w *result.Workload) {
	head := w.Headline()
	subject := r.Peers[0].Name
	fmt.Fprintf(out, "\n%s: %s  [%s]\n", w.GroupTitle, w.Title, w.Name)
	t := tabwriter.NewWriter(out, 0, 8, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(t, "\t%s, %s\tquartiles\t%s to it\tquartiles\t", label(head), head.Unit, subject)
	for _, m := range w.Metrics[1:] {
		fmt.Fprintf(t, "%s, %s\t", label(m), m.Unit)
	}
	fmt.Fprintln(t)
	for _, p := range w.Peers(r) {
		s := w.Summary(head.Name, p)
		fmt.Fprintf(t, "%s\t%s\t%s\t", p, number(s.Median), spread(s))
		if ratio := w.Ratio(head.Name, subject, p); p != subject && ratio.N > 0 {
			fmt.Fprintf(t, "%.2f\t%.2f to %.2f\t", ratio.Median, ratio.Low, ratio.High)
		} else {
			fmt.Fprint(t, "\t\t")
		}
		for _, m := range w.Metrics[1:] {
			fmt.Fprintf(t, "%s\t", number(w.Summary(m.Name, p).Median))
		}
		fmt.Fprintln(t)
	}
	t.Flush()
	for _, p := range w.Peers(r) {
		if e := w.FirstError(p); e != "" {
			fmt.Fprintf(out, "  errors of %s, the first: %s\n", p, e)
		}
	}
	for _, b := range w.Bars {
		fmt.Fprintf(out, "  bar: %s\n", sentence(w.Judge(b, subject), head))
	}
}

// Bars writes all bars with their measured values.
func Bars(out io.Writer, r *result.Report) {
	t := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	fmt.Fprint(t, "\nbar\tat most\tof\tmeasured\tquartiles\t\n")
	for _, row := range bars(r) {
		fmt.Fprintf(t, "%s, %s\t%s\t%s\t%s\t%s\t%s\n", row.Workload, row.Metric, number(row.Max), row.ratioTo(), number(row.Value.Median), spread(row.Value), row.verdict())
	}
	t.Flush()
}

// barRow is a bar with its workload.
type barRow struct {
	Workload string
	result.Judgement
}

func bars(r *result.Report) []barRow {
	var rows []barRow
	for i := range r.Workloads {
		w := &r.Workloads[i]
		for _, b := range w.Bars {
			rows = append(rows, barRow{w.Name, w.Judge(b, r.Peers[0].Name)})
		}
	}
	return rows
}

// ratioTo returns what the bar is a ratio to, as text.
func (b barRow) ratioTo() string {
	switch {
	case b.Against == result.Absolute:
		return "(the figure itself)"
	case b.Against == result.Best && b.Peer != "":
		return "the better, " + b.Peer
	case b.Against == result.Best:
		return "the better of nginx and haproxy"
	}
	return b.Against
}

func (b barRow) verdict() string {
	if b.AtGoal {
		return fmt.Sprintf("%s, and the goal of %s", b.Verdict, number(b.Goal))
	}
	return b.Verdict.String()
}

// sentence describes a judgement in one sentence.
func sentence(j result.Judgement, head result.Metric) string {
	row := barRow{Judgement: j}
	what := fmt.Sprintf("%s at most %s of %s", j.Metric, number(j.Max), row.ratioTo())
	if j.Against == result.Absolute {
		what = fmt.Sprintf("%s at most %s %s", j.Metric, number(j.Max), head.Unit)
	}
	if j.Value.N == 0 {
		return what + ": " + j.Verdict.String()
	}
	return fmt.Sprintf("%s: %s (%s), %s", what, number(j.Value.Median), spread(j.Value), row.verdict())
}
