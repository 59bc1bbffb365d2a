package report

import (
	"fmt"
	"math"
	"slices"

	"culvert/bench/result"
)

// Measures of a chart, in CSS pixels of its own coordinates.
const (
	chartWidth = 860
	labelWidth = 250 // left of bars, for the names of workloads and peers
	barHeight  = 15
	barGap     = 4
	rowGap     = 18
	lineHeight = 260 // of a line chart's area
	axisHeight = 34
	rightSpace = 90 // for the figure after a bar, and the name after a line
)

// chart is a chart of one metric: bars for unrelated workloads, lines for
// workloads with x values.
type chart struct {
	Title         string
	Width, Height float64
	Ticks         []tick // vertical lines of bars, horizontal ones of lines
	XTicks        []tick // of lines
	XLabel        string
	Bars          []bar
	Lines         []line
	Labels        []mark // names of workloads beside their bars
	Area          area
}

// area is the area of the data.
type area struct{ Left, Top, Right, Bottom float64 }

type tick struct {
	At    float64
	Label string
}

type mark struct {
	X, Y float64
	Text string
}

// bar is a figure with its quartiles as a whisker.
type bar struct {
	X, Y, W, H  float64
	Low, High   float64
	Class, Peer string
	Label, Tip  string
}

type line struct {
	Class, Peer string
	Points      []point
	Path        string
	End         mark
}

type point struct {
	X, Y, Low, High float64
	Tip             string
}

// class returns the CSS class of peer i, which sets its colour.
func class(i int) string { return fmt.Sprintf("p%d", i%8) }

// classOf returns the peer's class; variants of the subject have their own
// class.
func classOf(r *result.Report, peer string) string {
	i := slices.IndexFunc(r.Peers, func(p result.Peer) bool { return p.Name == peer })
	if i < 0 {
		return "variant"
	}
	return class(i)
}

// chartsOf returns the charts of a group's headlines: one for each series, and
// one for each metric that is the headline of only some workloads.
func chartsOf(r *result.Report, group string) []chart {
	sets := map[string][]*result.Workload{}
	var order []string
	for i := range r.Workloads {
		w := &r.Workloads[i]
		if w.Group != group {
			continue
		}
		head := w.Headline()
		kind := fmt.Sprintf("%s|%s|%s|%s", w.Series, head.Name, head.Unit, w.XLabel)
		if sets[kind] == nil {
			order = append(order, kind)
		}
		sets[kind] = append(sets[kind], w)
	}
	var charts []chart
	for _, kind := range order {
		set := sets[kind]
		if set[0].X > 0 && len(set) > 2 {
			charts = append(charts, lineChart(r, set))
		} else {
			charts = append(charts, barChart(r, set))
		}
	}
	return charts
}

func chartTitle(w *result.Workload) string {
	m := w.Headline()
	better := "less is better"
	if m.Higher {
		better = "more is better"
	}
	title := fmt.Sprintf("%s, %s (%s)", label(m), m.Unit, better)
	if w.Series != "" {
		title = w.Series + ": " + title
	}
	return title
}

// highest is the largest value of m that a chart of set shows.
func highest(r *result.Report, set []*result.Workload, m result.Metric) float64 {
	top := 0.0
	for _, w := range set {
		for _, p := range w.Peers(r) {
			if s := w.Summary(m.Name, p); s.N > 0 {
				top = max(top, s.High)
			}
		}
	}
	return top
}

// barChart returns a chart with a row for each workload and a bar for each peer.
func barChart(r *result.Report, set []*result.Workload) chart {
	c := chart{Title: chartTitle(set[0]), Width: chartWidth, Area: area{Left: labelWidth, Top: 6, Right: chartWidth - rightSpace}}
	m := set[0].Headline()
	steps, top := ticks(highest(r, set, m), 6)
	scale := (c.Area.Right - c.Area.Left) / top
	y := c.Area.Top
	for _, w := range set {
		y += 14
		c.Labels = append(c.Labels, mark{0, y, w.Title})
		y += 6
		for _, p := range w.Peers(r) {
			s := w.Summary(m.Name, p)
			if s.N == 0 {
				continue
			}
			c.Bars = append(c.Bars, newBar(c.Area.Left, y, scale, s, p, classOf(r, p), m))
			y += barHeight + barGap
		}
		y += rowGap - barGap
	}
	c.Area.Bottom = y - rowGap + 8
	c.Height = c.Area.Bottom + axisHeight
	for _, v := range steps {
		c.Ticks = append(c.Ticks, tick{c.Area.Left + v*scale, tickLabel(v)})
	}
	return c
}

func newBar(left, y, scale float64, s result.Stat, peer, class string, m result.Metric) bar {
	return bar{
		X: left, Y: y, W: s.Median * scale, H: barHeight, Low: left + s.Low*scale, High: left + s.High*scale, Class: class, Peer: peer,
		Label: number(s.Median), Tip: fmt.Sprintf("%s: %s %s (%s)", peer, number(s.Median), m.Unit, spread(s)),
	}
}

// ticks returns at most n round numbers from 0 to above top, and the largest.
func ticks(top float64, n int) ([]float64, float64) {
	if top <= 0 || math.IsNaN(top) {
		return []float64{0, 1}, 1
	}
	step := math.Pow10(int(math.Floor(math.Log10(top / float64(n)))))
	for _, f := range []float64{1, 2, 2.5, 5, 10} {
		if top/(step*f) <= float64(n) {
			step *= f
			break
		}
	}
	var list []float64
	for i := 0; ; i++ {
		v := float64(i) * step
		list = append(list, v)
		if v >= top {
			return list, v
		}
	}
}
