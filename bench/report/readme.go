package report

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"culvert/bench/result"
)

// The markers around the table in a README.
const (
	begin = "<!-- bench:begin -->\n"
	end   = "<!-- bench:end -->"
)

var errMarkers = errors.New("the lines <!-- bench:begin --> and <!-- bench:end --> are missing, or the wrong way round")

// UpdateReadme returns old with the table of r between its markers.
func UpdateReadme(old []byte, r *result.Report) ([]byte, error) {
	head, rest, ok := bytes.Cut(old, []byte(begin))
	if !ok {
		return nil, errMarkers
	}
	_, tail, ok := bytes.Cut(rest, []byte(end))
	if !ok {
		return nil, errMarkers
	}
	var b bytes.Buffer
	b.Write(head)
	b.WriteString(begin)
	table(&b, r)
	b.WriteString(end)
	b.Write(tail)
	return b.Bytes(), nil
}

// table returns a table of the workloads with bars, and the conditions of the
// run.
func table(w io.Writer, r *result.Report) {
	subject := r.Peers[0].Name
	fmt.Fprintf(w, "\n| work | | %s | nginx | HAProxy | to nginx | to HAProxy |\n|---|---|---|---|---|---|---|\n", subject)
	for i := range r.Workloads {
		l := &r.Workloads[i]
		if len(l.Bars) == 0 {
			continue
		}
		m := l.Headline()
		fmt.Fprintf(w, "| %s, %s | %s | %s | %s | %s | %s | %s |\n", l.GroupTitle, l.Title, m.Unit,
			number(l.Summary(m.Name, subject).Median), number(l.Summary(m.Name, "nginx").Median), number(l.Summary(m.Name, "haproxy").Median),
			ratioCell(l.Ratio(m.Name, subject, "nginx")), ratioCell(l.Ratio(m.Name, subject, "haproxy")))
	}
	fmt.Fprintf(w, "\n%s\n", provenance(r))
}

func ratioCell(s result.Stat) string {
	if s.N == 0 {
		return "-"
	}
	return fmt.Sprintf("%.2f (%.2f to %.2f)", s.Median, s.Low, s.High)
}

// provenance describes the machine and the versions of r in one paragraph.
func provenance(r *result.Report) string {
	var b bytes.Buffer
	m := r.Machine
	fmt.Fprintf(&b, "Medians and quartiles of %d rounds of %s s, %s, on %d cores of %s, Linux %s, congestion control %s; ",
		r.Options.Rounds, number(r.Options.Seconds), r.Started.Format("2 January 2006"), m.Cores, m.CPU, m.Kernel, m.Congestion)
	for i, p := range r.Peers {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(p.Name)
		if p.Version != "" {
			b.WriteString(" " + p.Version)
		}
	}
	b.WriteString(".")
	return b.String()
}
