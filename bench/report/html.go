package report

import (
	"embed"
	"html/template"
	"io"
	"slices"

	"culvert/bench/result"
)

//go:embed page/page.html page/style.css
var pageFiles embed.FS

// page is the data of the template.
type page struct {
	*result.Report
	Style      template.CSS
	Provenance string
	Legend     []key
	Bars       []barRow
	Met, Of    int
	Groups     []group
}

// key is a peer with its colour.
type key struct {
	Name, Version string
	Class         string
}

// group is a section of the page.
type group struct {
	Name, Title string
	Charts      []chart
	Tables      []sheet
}

// HTML writes r as a self-contained page.
func HTML(w io.Writer, r *result.Report) error {
	t, err := template.New("page.html").Funcs(template.FuncMap{"number": number, "spread": spread}).ParseFS(pageFiles, "page/page.html")
	if err != nil {
		return err
	}
	style, err := pageFiles.ReadFile("page/style.css")
	if err != nil {
		return err
	}
	p := &page{Report: r, Style: template.CSS(style), Provenance: provenance(r), Bars: bars(r), Groups: groupsOf(r)}
	for i, peer := range r.Peers {
		p.Legend = append(p.Legend, key{peer.Name, peer.Version, class(i)})
	}
	for _, b := range p.Bars {
		if b.Verdict != result.Unknown {
			p.Of++
		}
		if b.Verdict == result.Met || b.Verdict == result.MetWithinSpread {
			p.Met++
		}
	}
	return t.Execute(w, p)
}

// Good reports whether the bar is met; it sets the colour.
func (b barRow) Good() bool {
	return b.Verdict == result.Met || b.Verdict == result.MetWithinSpread
}

// RatioTo is ratioTo for the template.
func (b barRow) RatioTo() string { return b.ratioTo() }

// VerdictText is the verdict as text, for the template.
func (b barRow) VerdictText() string { return b.verdict() }

// groupsOf puts the workloads of a group together, in the order of the report.
func groupsOf(r *result.Report) []group {
	var list []group
	for i := range r.Workloads {
		w := &r.Workloads[i]
		at := slices.IndexFunc(list, func(g group) bool { return g.Name == w.Group })
		if at < 0 {
			list = append(list, group{Name: w.Group, Title: w.GroupTitle})
			at = len(list) - 1
		}
		list[at].Tables = append(list[at].Tables, newSheet(r, w))
	}
	for i := range list {
		list[i].Charts = chartsOf(r, list[i].Name)
	}
	return list
}

// sheet is a workload's table.
type sheet struct {
	Title, Name string
	Heads       []string
	Rows        [][]string
}

func newSheet(r *result.Report, w *result.Workload) sheet {
	s := sheet{Title: w.Title, Name: w.Name, Heads: []string{"", label(w.Headline()) + ", " + w.Headline().Unit, "quartiles", r.Peers[0].Name + " to it"}}
	for _, m := range w.Metrics[1:] {
		s.Heads = append(s.Heads, label(m)+", "+m.Unit)
	}
	for _, p := range w.Peers(r) {
		head := w.Summary(w.Headline().Name, p)
		row := []string{p, number(head.Median), spread(head), "-"}
		if ratio := w.Ratio(w.Headline().Name, r.Peers[0].Name, p); p != r.Peers[0].Name && ratio.N > 0 {
			row[3] = ratioCell(ratio)
		}
		for _, m := range w.Metrics[1:] {
			row = append(row, number(w.Summary(m.Name, p).Median))
		}
		s.Rows = append(s.Rows, row)
	}
	return s
}
